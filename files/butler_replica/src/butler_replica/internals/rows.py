"""Looking at, and removing, very many datasets; see the package for what is private here."""

from __future__ import annotations

__all__ = [
    "ArtifactRecord",
    "DatasetRow",
    "artifact_records",
    "count_orphan_records",
    "dataset_rows",
    "forget_datasets",
    "record_table",
]

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy
from lsst.daf.butler import Butler
from lsst.daf.butler.registry.interfaces import FakeDatasetRef

from .datasets import file_datastore

_ROWS = 10_000
_IN_LIMIT = 1_000


class DatasetRow(NamedTuple):
    """A dataset that is registered, and one of its artifacts."""

    id: uuid.UUID
    dataset_type: str
    run: str
    path: str | None
    """As the datastore records it; `None` without a record."""

    size: int
    """In bytes, as the datastore records it; negative where that is unknown."""

    formatter: str
    """Name of the class that reads the artifact, as the datastore records it; empty without a record."""


class ArtifactRecord(NamedTuple):
    """A datastore record, as it is recorded."""

    path: str
    formatter: str
    component: str | None
    """Of a disassembled dataset, which of its components this is; empty or `None` otherwise."""

    size: int
    """In bytes; negative where that is unknown."""

    checksum: str | None


def _tables(butler: Butler) -> tuple[sqlalchemy.Table, sqlalchemy.Table | None]:
    """Return the tables of datasets and datastore records; a repository never written to lacks the second."""
    registry = butler._registry  # type: ignore[attr-defined]
    records = getattr(file_datastore(butler), "_table", None)
    return registry._managers.datasets._static.dataset, None if records is None else records._table


def record_table(butler: Butler) -> sqlalchemy.Table | None:
    """Return the table of datastore records.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    table : `sqlalchemy.Table` or `None`
        `None` in a repository that was never written to.
    """
    return _tables(butler)[1]


def dataset_rows(butler: Butler, ids: Collection[uuid.UUID] | None = None) -> Iterator[Sequence[DatasetRow]]:
    """Stream the datasets of a repository with the paths of their artifacts.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Collection` [ `uuid.UUID` ], optional
        Only these datasets.

    Yields
    ------
    rows : `~collections.abc.Sequence` [ `DatasetRow` ]
        Some thousand rows, by path; one for each component of a disassembled
        dataset.
    """
    registry = butler._registry  # type: ignore[attr-defined]
    managers = registry._managers
    dataset, records = _tables(butler)
    dataset_type = managers.datasets._static.dataset_type
    source = dataset.join(dataset_type, dataset.columns.dataset_type_id == dataset_type.columns.id)
    recorded: list[sqlalchemy.ColumnElement[Any]] = [sqlalchemy.null()] * 3
    if records is not None:
        source = source.join(records, dataset.columns.id == records.columns.dataset_id, isouter=True)
        recorded = [records.columns[name] for name in ("path", "file_size", "formatter")]
    run, source = managers.collections.lookup_name_sql(
        dataset.columns[managers.collections.getRunForeignKeyName()], source
    )
    query = (
        sqlalchemy.select(dataset.columns.id, dataset_type.columns.name, run, *recorded)
        .select_from(source)
        .execution_options(yield_per=_ROWS)
    )
    if ids is None:
        queries = [query if records is None else query.order_by(recorded[0])]
    else:
        listed = list(ids)
        queries = [
            query.where(dataset.columns.id.in_(listed[start : start + _IN_LIMIT]))
            for start in range(0, len(listed), _IN_LIMIT)
        ]
    for one in queries:
        with registry._db.query(one) as result:
            for rows in result.partitions(_ROWS):
                yield [
                    DatasetRow(one, name, of, path, -1 if size is None else size, formatter or "")
                    for one, name, of, path, size, formatter in rows
                ]


def artifact_records(butler: Butler, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[ArtifactRecord]]:
    """Return the datastore records of datasets.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Collection` [ `uuid.UUID` ]
        The datasets.

    Returns
    -------
    records : `dict` [ `uuid.UUID`, `list` [ `ArtifactRecord` ] ]
        Those of each dataset that has any, by path.
    """
    records = record_table(butler)
    found: dict[uuid.UUID, list[ArtifactRecord]] = {}
    if records is None:
        return found
    columns = records.columns
    query = sqlalchemy.select(
        columns.dataset_id,
        columns.path,
        columns.formatter,
        columns.component,
        columns.file_size,
        columns.checksum,
    )
    listed = list(ids)
    for start in range(0, len(listed), _IN_LIMIT):
        part = query.where(columns.dataset_id.in_(listed[start : start + _IN_LIMIT]))
        with butler._registry._db.query(part) as result:  # type: ignore[attr-defined]
            for one, *record in result:
                found.setdefault(one, []).append(ArtifactRecord(*record))
    for several in found.values():
        several.sort()
    return found


def count_orphan_records(butler: Butler) -> int:
    """Return the number of datastore records without a registered dataset.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    count : `int`
        Number of records.
    """
    dataset, records = _tables(butler)
    if records is None:
        return 0
    query = sqlalchemy.select(sqlalchemy.func.count()).select_from(
        records.join(dataset, dataset.columns.id == records.columns.dataset_id, isouter=True)
    )
    with butler._registry._db.query(query.where(dataset.columns.id.is_(None))) as result:  # type: ignore[attr-defined]
        return int(result.scalar_one())


def forget_datasets(butler: Butler, ids: Collection[uuid.UUID]) -> None:
    """Remove datasets from the registry and the datastore's records, in one transaction.

    No artifact is touched.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Collection` [ `uuid.UUID` ]
        Datasets to remove.
    """
    refs = [FakeDatasetRef(one) for one in ids]
    with butler.transaction():
        butler._datastore.forget(refs)  # type: ignore[arg-type]
        butler._registry._managers.datasets.delete(refs)  # type: ignore[attr-defined]
