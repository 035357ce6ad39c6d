"""Loading many rows through the database's own driver: COPY on PostgreSQL, ``executemany`` on SQLite.

SQLAlchemy makes a dictionary and a parameter list of each row, which takes
longer than everything that the database does with it.
"""

from __future__ import annotations

__all__ = ["Driver", "Load", "driver_of"]

import abc
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy
import sqlalchemy.exc
from typing_extensions import override


class Load(NamedTuple):
    """A statement and the rows that it takes."""

    statement: str
    rows: Any
    """As the driver takes them."""


class Driver(abc.ABC):
    """What differs between the drivers of databases.

    Parameters
    ----------
    dialect : `sqlalchemy.Dialect`
        Quotes names.
    """

    uuid_type: str
    """SQL type of dataset IDs."""

    has_removable_keys: bool
    """Whether foreign keys can be taken away and put back."""

    def __init__(self, dialect: sqlalchemy.Dialect) -> None:
        self._quote = dialect.identifier_preparer.quote

    def prepare(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Load:
        """Return the statement that inserts rows; may run in any thread.

        Parameters
        ----------
        table : `str`
            Table, quoted where it has to be.
        columns : `~collections.abc.Sequence` [ `str` ]
            Names of its columns.
        rows : `~collections.abc.Iterable` [ `tuple` ]
            Integers, strings and `None`, in the order of the columns.

        Returns
        -------
        load : `Load`
            What `load` takes, once.
        """
        return self._prepared(table, [self._quote(column) for column in columns], rows)

    def load(self, connection: sqlalchemy.Connection, load: Load) -> None:
        """Insert rows.

        Parameters
        ----------
        connection : `sqlalchemy.Connection`
            A connection in a transaction.
        load : `Load`
            What `prepare` returned.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            Raised if the database refuses them, as SQLAlchemy itself does.
        """
        try:
            self._execute(connection.connection.cursor(), load)
        except connection.dialect.loaded_dbapi.Error as error:
            raise sqlalchemy.exc.DBAPIError(load.statement, None, error) from error

    @abc.abstractmethod
    def analyze(self, connection: sqlalchemy.Connection, table: str) -> None:
        """Count what a table has, for the planner of its queries, where that has to be asked for."""

    @abc.abstractmethod
    def _prepared(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Load:
        """Return the statement for quoted columns."""

    @abc.abstractmethod
    def _execute(self, cursor: Any, load: Load) -> None:
        """Execute a statement."""


class _PostgresDriver(Driver):
    uuid_type = "UUID"
    has_removable_keys = True

    @override
    def analyze(self, connection: sqlalchemy.Connection, table: str) -> None:
        connection.execute(sqlalchemy.text(f"ANALYZE {table}"))

    @override
    def _prepared(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Load:
        # Text and not CSV, as the module csv writes both None and an empty string as nothing.
        text = "".join(["\t".join(map(_copy_text, row)) + "\n" for row in rows])
        return Load(f"COPY {table} ({', '.join(columns)}) FROM STDIN", io.StringIO(text))

    @override
    def _execute(self, cursor: Any, load: Load) -> None:
        cursor.copy_expert(load.statement, load.rows)


class _SqliteDriver(Driver):
    uuid_type = "CHAR(32)"
    has_removable_keys = False

    @override
    def analyze(self, connection: sqlalchemy.Connection, table: str) -> None:
        # The planner needs no counts.
        pass

    @override
    def _prepared(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Load:
        places = ", ".join("?" * len(columns))
        return Load(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)

    @override
    def _execute(self, cursor: Any, load: Load) -> None:
        cursor.executemany(load.statement, load.rows)


_DRIVERS: dict[tuple[str, str], type[Driver]] = {
    ("postgresql", "psycopg2"): _PostgresDriver,
    ("sqlite", "pysqlite"): _SqliteDriver,
}


def driver_of(dialect: sqlalchemy.Dialect) -> Driver | None:
    """Return how rows are loaded into a database.

    Parameters
    ----------
    dialect : `sqlalchemy.Dialect`
        Of its engine.

    Returns
    -------
    driver : `Driver` or `None`
        `None` where the driver of the dialect is not one of those known here.
    """
    found = _DRIVERS.get((dialect.name, dialect.driver))
    return None if found is None else found(dialect)


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _copy_text(value: Any) -> str:
    """Write a value as PostgreSQL's COPY reads it."""
    if value is None:
        return r"\N"
    if type(value) is str:
        return value.translate(_ESCAPES) if _needs_escape(value) else value
    return str(value)


def _needs_escape(value: str) -> bool:
    return "\\" in value or "\t" in value or "\n" in value or "\r" in value
