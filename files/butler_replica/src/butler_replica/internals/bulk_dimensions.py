"""Inserting very many dimension records with regions.

The public ``Registry.insertDimensionData`` inserts regions and their overlaps
with the common sky pixelization row by row, and PostgreSQL looks up four
foreign keys for each row: most of the 50 ms and more that the detector
regions of one visit cost. Here PostgreSQL gets the rows by COPY and, where
there are many, checks the foreign keys once, at the end; SQLite gets tuples
without SQLAlchemy in between.

Where a release lacks the private API that this uses, the public one is used
and a warning says so.
"""

from __future__ import annotations

__all__ = ["BulkInsertion", "Records", "bulk_insertion", "insert_records"]

import abc
import base64
import csv
import io
import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler, DimensionRecord
from lsst.sphgeom import Region

from .foreign_keys import foreign_keys_at_end

Records = Mapping[str, Sequence[DimensionRecord]]
"""Records by dimension element, in an order that can be inserted."""

_LOG = logging.getLogger(__name__)

CHECK_AT_END = 50_000
"""Number of new records from which foreign keys are checked at the end."""

_PLAIN_TYPES = {"int", "string", "region"}


class _Load(NamedTuple):
    """A statement and the rows that it takes."""

    statement: str
    rows: Any


class _Tables(NamedTuple):
    """Tables of a dimension element with regions."""

    main: sqlalchemy.Table
    overlaps: sqlalchemy.Table


def insert_records(butler: Butler, records: Records) -> None:
    """Insert new records, element by element.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    records : `~collections.abc.Mapping`
        Records by dimension element, in an order that can be inserted.
    """
    for element, of_element in records.items():
        if of_element:
            butler.registry.insertDimensionData(butler.dimensions[element], *of_element, conform=False)


class BulkInsertion:
    """Inserts records with the public API.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    """

    def __init__(self, butler: Butler) -> None:
        self._butler = butler

    def prepare(self, records: Records) -> Any:
        """Do what can be done before the database is needed; may run in any thread.

        Parameters
        ----------
        records : `~collections.abc.Mapping`
            Records by dimension element, in an order that can be inserted.

        Returns
        -------
        prepared : `object`
            What `write` takes.
        """
        return records

    def write(self, prepared: Any) -> None:
        """Insert records.

        Parameters
        ----------
        prepared : `object`
            What `prepare` returned.
        """
        insert_records(self._butler, prepared)


class _DirectInsertion(BulkInsertion):
    """Inserts the rows of which there are many through the database's own driver.

    That is the overlaps of regions, and the records themselves if they have
    nothing but integers, strings and a region.
    """

    def __init__(
        self, butler: Butler, tables: Mapping[str, _Tables], database: Any, connection: sqlalchemy.Connection
    ) -> None:
        super().__init__(butler)
        self._tables = tables
        self._database = database
        self._connection = connection

    @abc.abstractmethod
    def _load(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> _Load:
        """Make the statement for some rows."""

    @abc.abstractmethod
    def _execute(self, cursor: Any, load: _Load) -> None:
        """Execute a statement."""

    def prepare(self, records: Records) -> Any:
        return [
            (element, of_element, self._loads(element, of_element) if element in self._tables else None)
            for element, of_element in records.items()
        ]

    def write(self, prepared: Any) -> None:
        cursor = self._connection.connection.cursor()
        for element, records, loads in prepared:
            if loads is None:
                insert_records(self._butler, {element: records})
                continue
            if not self._is_plain(element):
                self._insert_main(element, records)
            for load in loads:
                try:
                    self._execute(cursor, load)
                except self._connection.dialect.loaded_dbapi.Error as error:
                    # As SQLAlchemy raises it, for those who say what to do about it.
                    raise sqlalchemy.exc.DBAPIError(load.statement, None, error) from error

    def _is_plain(self, name: str) -> bool:
        return {column.type for column in self._butler.dimensions[name].schema.all} <= _PLAIN_TYPES

    def _insert_main(self, name: str, records: Sequence[DimensionRecord]) -> None:
        """Insert records without their overlaps."""
        rows = [record.toDict() for record in records]
        if self._butler.dimensions[name].temporal is not None:
            for row in rows:
                self._database.getTimespanRepresentation().update(row.pop("timespan"), result=row)
        self._database.insert(self._tables[name].main, *rows)

    def _loads(self, name: str, records: Sequence[DimensionRecord]) -> list[_Load]:
        """Make the rows of overlaps and, of plain records, those of the records."""
        element = self._butler.dimensions[name]
        quoted = self._database.dialect.identifier_preparer.format_table
        loads = []
        if self._is_plain(name):
            columns = [column for column in element.schema.names if column != "region"]
            values = operator.attrgetter(*columns)
            rows = [(*values(record), _encoded(record.region)) for record in records]
            loads.append(self._load(quoted(self._tables[name].main), [*columns, "region"], rows))
        skypix = self._butler.dimensions.commonSkyPix
        envelope, system, level = skypix.pixelization.envelope, skypix.system.name, skypix.level
        columns = ["skypix_system", "skypix_level", *element.required.names, "skypix_index"]
        rows = [
            (system, level, *record.dataId.required_values, index)
            for record in records
            if record.region is not None
            for begin, end in envelope(record.region)
            for index in range(begin, end)
        ]
        loads.append(self._load(quoted(self._tables[name].overlaps), columns, rows))
        return loads


def _encoded(region: Region | None) -> str | None:
    return None if region is None else base64.b64encode(region.encode()).decode("ascii")


class _PostgresInsertion(_DirectInsertion):
    def _load(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> _Load:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        text.seek(0)
        return _Load(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT csv)", text)

    def _execute(self, cursor: Any, load: _Load) -> None:
        cursor.copy_expert(load.statement, load.rows)


class _SqliteInsertion(_DirectInsertion):
    def _load(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> _Load:
        places = ", ".join("?" * len(columns))
        return _Load(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)

    def _execute(self, cursor: Any, load: _Load) -> None:
        cursor.executemany(load.statement, load.rows)


_DRIVERS = {
    ("postgresql", "psycopg2"): _PostgresInsertion,
    ("sqlite", "pysqlite"): _SqliteInsertion,
}


@contextmanager
def bulk_insertion(butler: Butler, elements: Sequence[str], n_records: int) -> Iterator[BulkInsertion]:
    """Insert many records in one transaction.

    On PostgreSQL, from ``CHECK_AT_END`` records on, the foreign keys of the
    tables are taken away at the beginning of the transaction and put back at
    its end, which checks all rows at once, if nobody else is connected to the
    database: until the transaction ends, others would wait for these tables.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, writeable.
    elements : `~collections.abc.Sequence` [ `str` ]
        Dimension elements with regions of which there are many new records.
    n_records : `int`
        Number of these records, roughly.

    Yields
    ------
    insertion : `BulkInsertion`
        Takes the records, those of other elements too; none of them may be in
        the repository.
    """
    with butler.transaction():
        private = _private_api(butler, elements)
        if private is None:
            yield BulkInsertion(butler)
            return
        database, tables = private
        driver = (database.dialect.name, database.dialect.driver)
        with database._transaction() as (_, connection):
            insertion = _DRIVERS[driver](butler, tables, database, connection)
            if driver[0] == "postgresql" and n_records >= CHECK_AT_END:
                quoted = database.dialect.identifier_preparer.format_table
                names = [quoted(table) for pair in tables.values() for table in pair]
                with foreign_keys_at_end(connection, names):
                    yield insertion
            else:
                yield insertion


def _private_api(butler: Butler, elements: Sequence[str]) -> tuple[Any, dict[str, _Tables]] | None:
    """Find the database and the tables of elements; `None` says to use the public API."""
    try:
        registry = butler._registry  # type: ignore[attr-defined]
        database, manager = registry._db, registry._managers.dimensions
        if (database.dialect.name, database.dialect.driver) not in _DRIVERS:
            return None
        tables = {name: _Tables(manager._tables[name], manager._overlap_tables[name][1]) for name in elements}
        database._transaction, database.insert, database.getTimespanRepresentation  # noqa: B018
    except (AttributeError, KeyError) as error:
        _LOG.warning(
            "This release of lsst-daf-butler is not the one that fast insertion knows (%s); "
            "dimension records are inserted with the public API, several times slower.",
            error,
        )
        return None
    return database, tables
