"""Checking foreign keys once, at the end, instead of row by row."""

from __future__ import annotations

__all__ = ["foreign_keys_at_end"]

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy
import sqlalchemy.exc

from .connections import known_connections

_LOG = logging.getLogger(__name__)

_LOCK_TIMEOUT = "300ms"
"""How long others queue behind a lock that is waited for; less than ``deadlock_timeout``, so that none of them dies."""

_PATIENCE_SECONDS = 60.0
"""How long locks are tried to be had where the user wants the tables for this process alone."""

_PAUSE_SECONDS = 2.0
"""From one try to the next: others go on meanwhile."""

_NO_LOCK = ("55P03", "40P01")
"""SQLSTATEs of a lock that cannot be had now, and of a deadlock."""


@contextmanager
def foreign_keys_at_end(
    connection: sqlalchemy.Connection, tables: Sequence[str], *, exclusive: bool = False
) -> Iterator[None]:
    """Take the foreign keys of PostgreSQL tables away, and put them back at the end.

    Putting them back checks all rows at once; a row that violates one is an
    error then. Until the transaction ends, other sessions wait for these
    tables and those that the keys refer to, even to read them. So keys stay
    where other sessions are connected to the database, unless the caller
    wants the tables for itself; and where the tables cannot be had, or are
    not this user's.

    Parameters
    ----------
    connection : `sqlalchemy.Connection`
        A connection in a transaction that holds no lock yet on which others
        could wait.
    tables : `~collections.abc.Sequence` [ `str` ]
        Quoted names of the tables.
    exclusive : `bool`, optional
        Let other sessions wait.
    """
    statements: list[str] = []
    if exclusive or _is_alone(connection):
        statements = _take_away(connection, tables, _PATIENCE_SECONDS if exclusive else 0.0)
    yield
    for statement in statements:
        connection.exec_driver_sql(statement)


def _is_alone(connection: sqlalchemy.Connection) -> bool:
    """Whether no other client is connected to the database; everybody may know of others that they are there."""
    ours = [one.get_backend_pid() for one in known_connections() if not one.closed]
    others = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL "
        "AND pid <> pg_backend_pid() AND pid <> ALL (%(ours)s)",
        {"ours": ours},
    ).scalar_one()
    if others:
        _LOG.info("Foreign keys are checked row by row, since %d other sessions use the database.", others)
    return not others


def _take_away(connection: sqlalchemy.Connection, tables: Sequence[str], patience: float) -> list[str]:
    """Drop the foreign keys of tables; return the statements that put them back."""
    keys = connection.exec_driver_sql(
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid), "
        "confrelid::regclass::text FROM pg_constraint "
        "WHERE contype = 'f' AND conrelid = ANY (%(tables)s::regclass[]) ORDER BY 1, 2",
        {"tables": list(tables)},
    ).all()
    if not keys:
        return []
    # In one order, all at once: two sessions that do so never wait for each other.
    locked = sorted({key[0] for key in keys} | {key[3] for key in keys})
    statements = [f"LOCK TABLE {', '.join(locked)} IN ACCESS EXCLUSIVE MODE"]
    statements += [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name, _, _ in keys]
    deadline = time.monotonic() + patience
    while error := _tried(connection, statements):
        reason = str(error.orig).strip()
        if getattr(error.orig, "pgcode", "") not in _NO_LOCK or time.monotonic() >= deadline:
            _LOG.warning(
                "Foreign keys are checked row by row, which is slower, since the server says: %s", reason
            )
            return []
        _LOG.warning("Waiting for other sessions to let go of the tables: %s", reason)
        time.sleep(_PAUSE_SECONDS)
    return [f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}" for table, name, definition, _ in keys]


def _tried(connection: sqlalchemy.Connection, statements: Sequence[str]) -> sqlalchemy.exc.DBAPIError | None:
    """Execute statements in a savepoint; return the error that undid them."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("SET LOCAL lock_timeout = DEFAULT")
    except sqlalchemy.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return error
    return None
