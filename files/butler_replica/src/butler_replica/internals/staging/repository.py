"""The tables in which a repository has its datasets; see the package `internals` for what is private here."""

from __future__ import annotations

__all__ = ["MAX_IN", "RepositoryTables"]

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler
from lsst.utils.iteration import chunk_iterable

from ..datasets import file_datastore, supports_temporary_tables
from ..drivers import driver_of
from .model import UnsupportedError

MAX_IN = 1_000
"""Values in one SQL ``IN``."""

_FETCH_BATCH = 10_000
"""Rows of a result that are in memory at a time."""

_KNOWN_COLUMNS = {
    "dataset": {"id", "dataset_type_id", "run_id", "ingest_date"},
    "dataset_location": {"datastore_name", "dataset_id"},
    "records": {"dataset_id", "path", "formatter", "storage_class", "component", "checksum", "file_size"},
    "collection": {"collection_id", "name"},
    "dataset_type": {"id", "name", "tag_association_table"},
}
"""Columns that the statements here know."""

_NO_OTHER_COLUMNS = ("dataset", "dataset_location", "records")
"""Tables that are inserted into: what is known has to be all that there is."""


class RepositoryTables:
    """Tables in which a repository has its datasets, and a connection of their own.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Raises
    ------
    AttributeError
        Raised where the release of lsst-daf-butler lacks what is used here.
    UnsupportedError
        Raised where the repository has something that is not known here.
    """

    def __init__(self, butler: Butler) -> None:
        self._database = database = butler._registry._db  # type: ignore[attr-defined]
        driver = driver_of(database.dialect)
        if driver is None:
            raise UnsupportedError(
                f"the driver {database.dialect.name}+{database.dialect.driver} is not known"
            )
        self.driver = driver
        managers = butler._registry._managers  # type: ignore[attr-defined]
        if managers.obscore is not None:
            raise UnsupportedError("the repository keeps an ObsCore table")
        if getattr(managers.datasets, "_renames", None):
            raise UnsupportedError("butler.yaml renames dataset types")
        if not supports_temporary_tables(butler):
            raise UnsupportedError("butler.yaml, or the login of the database, allows no temporary tables")
        if database._session_connection is not None:
            raise UnsupportedError("a session is open already")
        static = managers.datasets._static
        self._schema = static.dataset.schema
        records = getattr(file_datastore(butler), "_table", None)
        self._names = {
            "dataset": static.dataset.name,
            "dataset_type": static.dataset_type.name,
            "dataset_location": "dataset_location",
            "collection": "collection",
            **({} if records is None else {"records": records._table.name}),
        }
        self.quote = database.dialect.identifier_preparer.quote
        self._own: sqlalchemy.Connection = database._engine.connect()

    def check(self) -> None:
        """Raise `UnsupportedError` if the tables are not those that the statements here know."""
        for table, name in self._names.items():
            found, known = self.columns(name), _KNOWN_COLUMNS[table]
            if not found >= known or (table in _NO_OTHER_COLUMNS and found != known):
                raise UnsupportedError(f"table {name} has other columns than those that are known")

    def close(self) -> None:
        """Close the connection."""
        # Not back into the pool, where the temporary tables would stay.
        self._own.invalidate()
        self._own.close()

    # Names

    @property
    def has_records(self) -> bool:
        """Whether the datastore has a table of records: a repository never written to has none."""
        return "records" in self._names

    def named(self, table: str) -> str:
        """Return how SQL names a table; those of the datasets by what is known of them here."""
        name = self.quote(self._names.get(table, table))
        return str(name if self._schema is None else f"{self.quote(self._schema)}.{name}")

    def columns(self, table: str) -> set[str]:
        """Return the columns that a table has; none where it is not there."""
        with self.connection() as connection:
            try:
                columns = sqlalchemy.inspect(connection).get_columns(table, schema=self._schema)
            except sqlalchemy.exc.NoSuchTableError:
                return set()
        return {column["name"] for column in columns}

    # Statements

    @contextmanager
    def connection(self) -> Iterator[sqlalchemy.Connection]:
        """Keep the connection in a transaction: the one that is open, or one of its own."""
        if self._own.in_transaction():
            yield self._own
        else:
            with self._own.begin():
                yield self._own

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone, and the temporary tables with it."""
        return self._own.invalidated

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Keep transactions of the butler on this connection, with the temporary tables."""
        self._database._session_connection = self._own
        try:
            yield
        finally:
            self._database._session_connection = None

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """Return the rows of a query."""
        with self.connection() as connection:
            return list(connection.execute(sqlalchemy.text(sql), values).all())

    def stream(self, sql: str) -> Iterator[Sequence[Any]]:
        """Yield the rows of a query, some thousand at a time."""
        with self.connection() as connection:
            result = connection.execute(sqlalchemy.text(sql), execution_options={"stream_results": True})
            yield from result.partitions(_FETCH_BATCH)

    def change(self, sql: str, **values: Any) -> None:
        """Execute a statement that returns no rows."""
        with self.connection() as connection:
            connection.execute(sqlalchemy.text(sql), values)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows, tuples of the columns, through the database's driver."""
        with self.connection() as connection:
            self.driver.load(connection, self.driver.prepare(table, columns, rows))

    def lookup(self, table: str, columns: str, names: Iterable[str]) -> dict[str, Sequence[Any]]:
        """Return columns of the rows of a table that have one of some names, by name."""
        sql = sqlalchemy.text(f"SELECT name, {columns} FROM {self.named(table)} WHERE name IN :names")
        sql = sql.bindparams(sqlalchemy.bindparam("names", expanding=True))
        found: dict[str, Sequence[Any]] = {}
        for chunk in chunk_iterable(sorted(names), MAX_IN):
            with self.connection() as connection:
                found.update((row[0], row[1:]) for row in connection.execute(sql, {"names": chunk}))
        return found
