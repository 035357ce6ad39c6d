"""What an export says of datasets that are there already: their associations, and nothing else."""

from __future__ import annotations

__all__ = ["ASSOCIATED", "associated", "associations_only", "restrict_associations"]

import uuid
from collections.abc import Container, Iterator
from dataclasses import replace

from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
    Timespan,
)

from ..exports.model import ExportFile

ASSOCIATED = {CollectionType.TAGGED, CollectionType.CALIBRATION}
"""Types of the collections that datasets are associated with."""


def associated(
    butler: Butler, dataset_type: DatasetType, collection: str
) -> Iterator[tuple[DatasetRef, Timespan | None]]:
    """Yield what is in a TAGGED or CALIBRATION collection of one dataset type.

    ``Registry.queryDatasetAssociations`` takes a name with ``*``, ``?`` or ``[`` for a glob, twice.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    dataset_type : `lsst.daf.butler.DatasetType`
        Dataset type.
    collection : `str`
        Name of the collection.

    Yields
    ------
    ref : `lsst.daf.butler.DatasetRef`
        Dataset.
    timespan : `lsst.daf.butler.Timespan` or `None`
        When it is valid; of a TAGGED collection all times.
    """
    with butler.query() as query:
        result = query.join_dataset_search(dataset_type, [collection]).general(
            dataset_type.dimensions,
            dataset_fields={dataset_type.name: {"dataset_id", "run", "collection", "timespan"}},
            find_first=False,
        )
        for _, refs, row in result.iter_tuples(dataset_type):
            yield refs[0], row[f"{dataset_type.name}.timespan"]


def associations_only(butler: Butler, export: ExportFile) -> tuple[ExportFile, dict[uuid.UUID, DatasetRef]]:
    """Return of an export the associations of datasets that a repository has.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    export : `~butler_replica.exports.model.ExportFile`
        What the export says.

    Returns
    -------
    associations : `~butler_replica.exports.model.ExportFile`
        As of `restrict_associations`.
    there : `dict` [ `uuid.UUID`, `lsst.daf.butler.DatasetRef` ]
        The datasets of the export that the repository has.
    """
    named = {one for block in export.blocks for record in block.records for one in record.ids}
    kinds = dict.fromkeys((block.dataset_type, block.run) for block in export.blocks)
    there = {ref.id: ref for kind in kinds for ref in _datasets(butler, *kind) if ref.id in named}
    others = map(butler.get_dataset, set(export.associated()) - named)
    there |= {ref.id: ref for ref in others if ref is not None}
    return restrict_associations(export, there), there


def restrict_associations(export: ExportFile, ids: Container[uuid.UUID]) -> ExportFile:
    """Return of an export the associations of some datasets, and nothing else.

    Parameters
    ----------
    export : `~butler_replica.exports.model.ExportFile`
        What the export says.
    ids : `~collections.abc.Container` [ `uuid.UUID` ]
        The datasets.

    Returns
    -------
    associations : `~butler_replica.exports.model.ExportFile`
        The TAGGED and CALIBRATION collections that they are associated with,
        and those associations.
    """
    tags = {name: [one for one in every if one in ids] for name, every in export.tags.items()}
    ranges = {
        name: [one._replace(ids=[each for each in one.ids if each in ids]) for one in every]
        for name, every in export.certifications.items()
    }
    tags = {name: every for name, every in tags.items() if every}
    ranges = {name: every for name, every in ranges.items() if any(one.ids for one in every)}
    return replace(
        export,
        dimensions={},
        dataset_types={},
        blocks=[],
        collections={name: item for name, item in export.collections.items() if name in {*tags, *ranges}},
        tags=tags,
        certifications=ranges,
    )


def _datasets(butler: Butler, dataset_type: str, run: str) -> list[DatasetRef]:
    try:
        with butler.query() as query:
            return list(query.datasets(dataset_type, collections=run, find_first=False))
    except (MissingDatasetTypeError, MissingCollectionError):
        return []
