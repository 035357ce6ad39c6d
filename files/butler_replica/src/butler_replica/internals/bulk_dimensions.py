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

import base64
import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy
from lsst.daf.butler import Butler, DimensionRecord
from lsst.sphgeom import Region
from typing_extensions import override

from .drivers import Driver, Load, driver_of
from .foreign_keys import foreign_keys_at_end

Records = Mapping[str, Sequence[DimensionRecord]]
"""Records by dimension element, in an order that can be inserted."""

_LOG = logging.getLogger(__name__)

KEYS_AT_END_FROM = 50_000
"""Number of new records from which foreign keys are checked at the end."""

_PLAIN_TYPES = {"int", "string", "region"}


class _Tables(NamedTuple):
    """Tables of a dimension element with regions."""

    main: sqlalchemy.Table
    overlaps: sqlalchemy.Table


class _Private(NamedTuple):
    """What is used of a repository's private API."""

    database: Any
    driver: Driver
    tables: dict[str, _Tables]


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

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    private : `_Private`
        What is used of it.
    connection : `sqlalchemy.Connection`
        Connection of the transaction.
    """

    def __init__(self, butler: Butler, private: _Private, connection: sqlalchemy.Connection) -> None:
        super().__init__(butler)
        self._database = private.database
        self._driver = private.driver
        self._tables = private.tables
        self._connection = connection

    @override
    def prepare(self, records: Records) -> Any:
        return [
            (element, of_element, self._loads(element, of_element) if element in self._tables else None)
            for element, of_element in records.items()
        ]

    @override
    def write(self, prepared: Any) -> None:
        for element, records, loads in prepared:
            if loads is None:
                insert_records(self._butler, {element: records})
                continue
            if not self._is_plain(element):
                self._insert_main(element, records)
            for load in loads:
                self._driver.load(self._connection, load)

    def _is_plain(self, name: str) -> bool:
        return {column.type for column in self._butler.dimensions[name].schema.all} <= _PLAIN_TYPES

    def _insert_main(self, name: str, records: Sequence[DimensionRecord]) -> None:
        """Insert records without their overlaps."""
        rows = [record.toDict() for record in records]
        if self._butler.dimensions[name].temporal is not None:
            for row in rows:
                self._database.getTimespanRepresentation().update(row.pop("timespan"), result=row)
        self._database.insert(self._tables[name].main, *rows)

    def _loads(self, name: str, records: Sequence[DimensionRecord]) -> list[Load]:
        """Make the rows of overlaps and, of plain records, those of the records."""
        overlaps = self._overlaps(name, records)
        return [self._plain_rows(name, records), overlaps] if self._is_plain(name) else [overlaps]

    def _plain_rows(self, name: str, records: Sequence[DimensionRecord]) -> Load:
        names = self._butler.dimensions[name].schema.names
        columns = [column for column in names if column != "region"]
        values = operator.attrgetter(*columns)
        rows = [(*values(record), _encoded(record.region)) for record in records]
        return self._prepare(self._tables[name].main, [*columns, "region"], rows)

    def _overlaps(self, name: str, records: Sequence[DimensionRecord]) -> Load:
        skypix = self._butler.dimensions.commonSkyPix
        envelope, system, level = skypix.pixelization.envelope, skypix.system.name, skypix.level
        required = self._butler.dimensions[name].required.names
        columns = ["skypix_system", "skypix_level", *required, "skypix_index"]
        rows = [
            (system, level, *record.dataId.required_values, index)
            for record in records
            if record.region is not None
            for begin, end in envelope(record.region)
            for index in range(begin, end)
        ]
        return self._prepare(self._tables[name].overlaps, columns, rows)

    def _prepare(self, table: sqlalchemy.Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> Load:
        quoted = self._database.dialect.identifier_preparer.format_table(table)
        return self._driver.prepare(quoted, columns, rows)


def _encoded(region: Region | None) -> str | None:
    return None if region is None else base64.b64encode(region.encode()).decode("ascii")


@contextmanager
def bulk_insertion(butler: Butler, elements: Sequence[str], n_records: int) -> Iterator[BulkInsertion]:
    """Insert many records in one transaction.

    On PostgreSQL, from ``KEYS_AT_END_FROM`` records on, the foreign keys of the
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
        with private.database._transaction() as (_, connection):
            insertion = _DirectInsertion(butler, private, connection)
            if private.driver.has_removable_keys and n_records >= KEYS_AT_END_FROM:
                quoted = private.database.dialect.identifier_preparer.format_table
                names = [quoted(table) for pair in private.tables.values() for table in pair]
                with foreign_keys_at_end(connection, names):
                    yield insertion
            else:
                yield insertion


def _private_api(butler: Butler, elements: Sequence[str]) -> _Private | None:
    """Return the private API that is used here; `None` where the public one has to do."""
    try:
        registry = butler._registry  # type: ignore[attr-defined]
        database, manager = registry._db, registry._managers.dimensions
        driver = driver_of(database.dialect)
        if driver is None:
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
    return _Private(database, driver, tables)
