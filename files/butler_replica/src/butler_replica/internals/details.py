"""All that a repository says of some datasets; see the package for what is private here."""

from __future__ import annotations

__all__ = ["DatasetDetails", "dataset_details"]

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from lsst.daf.butler import Butler, Timespan
from lsst.daf.butler.time_utils import TimeConverter
from lsst.utils.iteration import chunk_iterable
from sqlalchemy.dialects.postgresql import INT8RANGE

from .rows import dataset_rows, record_table

_CHUNK = 1_000
"""Values in one SQL ``IN``."""

_NOT_DIMENSIONS = {"dataset_type_id", "dataset_id", "collection_id"}


@dataclass
class DatasetDetails:
    """A dataset, and everything that goes with it when it leaves the registry."""

    id: uuid.UUID
    dataset_type: str
    run: str
    data_id: dict[str, Any] = field(default_factory=dict)
    """Values of the required dimensions."""

    records: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the datastore, without the dataset's ID; several where it is disassembled."""

    tags: list[str] = field(default_factory=list)
    """TAGGED collections that it is in."""

    ranges: list[tuple[str, Timespan]] = field(default_factory=list)
    """CALIBRATION collections that it is in, each with a validity range."""


def dataset_details(butler: Butler, ids: Collection[uuid.UUID]) -> Iterator[DatasetDetails]:
    """Yield what a repository says of some datasets.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Collection` [ `uuid.UUID` ]
        Datasets; those that are not registered are passed over.

    Yields
    ------
    details : `DatasetDetails`
        Each of them.
    """
    reader = _Reader(butler)
    for chunk in chunk_iterable(ids, _CHUNK):
        yield from reader.read(chunk)


class _Reader:
    """Makes the queries: a handful for a thousand datasets."""

    def __init__(self, butler: Butler) -> None:
        self._butler = butler
        self._database = butler._registry._db  # type: ignore[attr-defined]
        self._managers = butler._registry._managers  # type: ignore[attr-defined]
        self._schema = self._managers.datasets._static.dataset.schema
        self._known: dict[str, sqlalchemy.TableClause] = {}
        self._associations = self._association_tables()

    def read(self, ids: Sequence[uuid.UUID]) -> list[DatasetDetails]:
        found = {
            row.id: DatasetDetails(row.id, row.dataset_type, row.run)
            for rows in dataset_rows(self._butler, ids)
            for row in rows
        }
        self._add_records(found)
        by_type: defaultdict[str, dict[uuid.UUID, DatasetDetails]] = defaultdict(dict)
        for one in found.values():
            by_type[one.dataset_type][one.id] = one
        for name, datasets in by_type.items():
            tags, calibrations = self._associations[name]
            self._add_tags(tags, datasets)
            if calibrations is not None:
                self._add_ranges(calibrations, datasets)
        return list(found.values())

    def _association_tables(self) -> dict[str, tuple[str, str | None]]:
        columns = self._managers.datasets._static.dataset_type.columns
        query = sqlalchemy.select(
            columns.name, columns.tag_association_table, columns.calibration_association_table
        )
        return {name: (tags, calibrations) for name, tags, calibrations in self._rows(query)}

    def _rows(self, query: sqlalchemy.Select[Any]) -> Sequence[sqlalchemy.Row[Any]]:
        with self._database.query(query) as result:
            return list(result.fetchall())

    def _add_records(self, found: dict[uuid.UUID, DatasetDetails]) -> None:
        table = record_table(self._butler)
        if table is None:
            return
        for row in self._rows(table.select().where(table.columns.dataset_id.in_(list(found)))):
            record = {str(name): value for name, value in row._mapping.items()}
            found[record.pop("dataset_id")].records.append(record)

    def _add_tags(self, name: str, datasets: dict[uuid.UUID, DatasetDetails]) -> None:
        table = self._table(name)
        dimensions = [column for column in table.columns if column.name not in _NOT_DIMENSIONS]
        for dataset_id, collection, *values in self._associated(table, datasets, dimensions):
            dataset = datasets[dataset_id]
            if collection == dataset.run:
                dataset.data_id = dict(zip((str(column.name) for column in dimensions), values, strict=True))
            else:
                dataset.tags.append(collection)

    def _add_ranges(self, name: str, datasets: dict[uuid.UUID, DatasetDetails]) -> None:
        table = self._table(name)
        for dataset_id, collection, begin, end in self._associated(table, datasets, _bounds(table)):
            datasets[dataset_id].ranges.append((collection, _timespan(begin, end)))

    def _associated(
        self,
        table: sqlalchemy.TableClause,
        datasets: dict[uuid.UUID, DatasetDetails],
        columns: Sequence[sqlalchemy.ColumnElement[Any]],
    ) -> Sequence[sqlalchemy.Row[Any]]:
        collection, source = self._managers.collections.lookup_name_sql(table.columns.collection_id, table)
        query = sqlalchemy.select(table.columns.dataset_id, collection, *columns).select_from(source)
        return self._rows(query.where(table.columns.dataset_id.in_(list(datasets))))

    def _table(self, name: str) -> sqlalchemy.TableClause:
        if name not in self._known:
            with self._database._engine.connect() as connection:
                found = sqlalchemy.inspect(connection).get_columns(name, schema=self._schema)
            id_type = self._managers.datasets._static.dataset.columns.id.type
            self._known[name] = sqlalchemy.table(
                name,
                *(
                    sqlalchemy.column(c["name"], id_type if c["name"] == "dataset_id" else c["type"])
                    for c in found
                ),
                schema=self._schema,
            )
        return self._known[name]


def _bounds(table: sqlalchemy.TableClause) -> list[sqlalchemy.ColumnElement[Any]]:
    """Return begin and end of a validity range in nanoseconds; empty is the one that ends where it begins."""
    timespan = table.columns.get("timespan")
    if timespan is None or not isinstance(timespan.type, INT8RANGE):
        return [table.columns["timespan_begin"], table.columns["timespan_end"]]
    integer = sqlalchemy.BigInteger()
    empty = sqlalchemy.func.isempty(timespan)
    return [
        sqlalchemy.case((empty, nsec), else_=bound(timespan, type_=integer))
        for bound, nsec in zip(
            (sqlalchemy.func.lower, sqlalchemy.func.upper), Timespan.makeEmpty().nsec, strict=True
        )
    ]


def _timespan(begin: int | None, end: int | None) -> Timespan:
    low, high = Timespan(None, None).nsec
    if (begin, end) == Timespan.makeEmpty().nsec:
        return Timespan.makeEmpty()
    convert = TimeConverter().nsec_to_astropy
    return Timespan(
        None if begin in (None, low) else convert(begin), None if end in (None, high) else convert(end)
    )
