"""Checking foreign keys once, at the end, instead of row by row."""

from __future__ import annotations

__all__ = ["foreign_keys_at_end"]

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy
import sqlalchemy.exc

_LOG = logging.getLogger(__name__)

_LOCK_TIMEOUT = "5s"


@contextmanager
def foreign_keys_at_end(connection: sqlalchemy.Connection, tables: Sequence[str]) -> Iterator[None]:
    """Take the foreign keys of PostgreSQL tables away, and put them back at the end.

    Putting them back checks all rows at once; a row that violates one is an
    error then. Nobody else sees them away: until the transaction ends, other
    sessions wait for these tables. They stay, with a warning, where other
    sessions use the tables or this one does not own them.

    Parameters
    ----------
    connection : `sqlalchemy.Connection`
        A connection in a transaction.
    tables : `~collections.abc.Sequence` [ `str` ]
        Quoted names of the tables.
    """
    statements = _drop(connection, tables)
    yield
    for statement in statements:
        connection.exec_driver_sql(statement)


def _drop(connection: sqlalchemy.Connection, tables: Sequence[str]) -> list[str]:
    """Drop the foreign keys of tables; return the statements that put them back."""
    keys = connection.exec_driver_sql(
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (%(tables)s::regclass[])",
        {"tables": list(tables)},
    ).all()
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            for table, name, _ in keys:
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            connection.exec_driver_sql("SET LOCAL lock_timeout = DEFAULT")
    except sqlalchemy.exc.DBAPIError as error:
        _LOG.warning(
            "Foreign keys are checked row by row, which is slower, since the server says: %s",
            str(error.orig).strip(),
        )
        return []
    return [f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}" for table, name, definition in keys]
