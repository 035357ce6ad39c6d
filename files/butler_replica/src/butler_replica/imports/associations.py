"""Which datasets an export associates with TAGGED and CALIBRATION collections, beyond what the repository has."""

from __future__ import annotations

__all__ = ["AssociationPlanner"]

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lsst.daf.butler import Butler, DatasetRef, DatasetType, Timespan

from ..collections.associations import associated
from ..dimensions.lookup import data_id_text
from ..errors import ConflictError, ExportError
from ..exports.model import ExportFile
from .datasets import PlannedDatasets
from .definitions import KnownDefinitions
from .file_plan import Associations


class AssociationPlanner:
    """Compares the associations of one export with those of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    export : `~butler_replica.exports.model.ExportFile`
        What the export says.
    known : `~butler_replica.imports.definitions.KnownDefinitions`
        What the repository has.
    way : `~butler_replica.imports.datasets.PlannedDatasets`
        Knows the datasets of the export.
    there : `~collections.abc.Mapping` [ `uuid.UUID`, `lsst.daf.butler.DatasetRef` ]
        Datasets of the repository that the export associates and does not
        bring.
    """

    def __init__(
        self,
        butler: Butler,
        export: ExportFile,
        known: KnownDefinitions,
        way: PlannedDatasets,
        there: Mapping[uuid.UUID, DatasetRef],
    ) -> None:
        self._butler = butler
        self._export = export
        self._known = known
        self._way = way
        self._there = there
        self._n_dropped = 0

    def plan(self) -> Associations:
        """Return the new associations.

        Returns
        -------
        associations : `~butler_replica.imports.file_plan.Associations`
            Those that are to be made, and how many cannot be.

        Raises
        ------
        ExportError
            Raised if neither the export nor the repository has a dataset.
        ConflictError
            Raised if a collection has another dataset in its place.
        """
        tags = self._plan_tags()
        certifications = self._plan_certifications()
        return Associations(tags, certifications, self._n_dropped)

    def _associated(self, ids: Iterable[uuid.UUID], collection: str) -> list[DatasetRef]:
        """Return the datasets of an association, without those that were left out."""
        ids = list(ids)
        refs = []
        known = {**self._there, **self._way.associated(ids)}
        for dataset_id in ids:
            ref = known.get(dataset_id)
            if ref is None and dataset_id not in known:
                ref = self._butler.get_dataset(dataset_id)
                if ref is None:
                    raise ExportError(
                        self._export.path,
                        f"associates dataset {dataset_id} with {collection!r}, which neither the export nor the "
                        "repository has.",
                        remedy="Import the export that has it first.",
                    )
            if ref is None:
                self._n_dropped += 1
            else:
                refs.append(ref)
        return refs

    def _plan_tags(self) -> dict[str, list[DatasetRef]]:
        tags = {}
        for collection, ids in self._export.tags.items():
            refs = self._associated(dict.fromkeys(ids), collection)
            there = {
                (ref.datasetType.name, ref.dataId.required_values): ref.id
                for kind in {ref.datasetType for ref in refs}
                for ref in self._tagged(kind, collection)
            }
            new = []
            for ref in refs:
                existing = there.get((ref.datasetType.name, ref.dataId.required_values))
                if existing is None:
                    new.append(ref)
                elif existing != ref.id:
                    raise ConflictError(
                        f"{self._export.path}: {ref.datasetType.name} {data_id_text(ref.dataId)} in the TAGGED "
                        f"collection {collection!r} is dataset {ref.id} in the export and {existing} in the repository."
                    )
            if new:
                tags[collection] = new
        return tags

    def _tagged(self, kind: DatasetType, collection: str) -> Iterable[DatasetRef]:
        if not self._known.has(kind.name, collection):
            return ()
        with self._butler.query() as query:
            return list(query.datasets(kind, collections=collection, find_first=False))

    def _plan_certifications(self) -> dict[str, list[tuple[Timespan, list[DatasetRef]]]]:
        planned: dict[str, list[tuple[Timespan, list[DatasetRef]]]] = {}
        for collection, certifications in self._export.certifications.items():
            groups = [
                (c.timespan, self._associated(dict.fromkeys(c.ids), collection)) for c in certifications
            ]
            there: dict[Any, list[tuple[Timespan, uuid.UUID]]] = defaultdict(list)
            for kind in {ref.datasetType for _, refs in groups for ref in refs}:
                for ref, timespan in self._certified(kind, collection):
                    there[kind.name, ref.dataId.required_values].append((timespan, ref.id))
            for timespan, refs in groups:
                new = []
                for ref in refs:
                    ranges = there[ref.datasetType.name, ref.dataId.required_values]
                    if (timespan, ref.id) in ranges:
                        continue
                    for other, other_id in ranges:
                        if timespan.overlaps(other):
                            raise ConflictError(
                                f"{self._export.path}: {ref.datasetType.name} {data_id_text(ref.dataId)} in the "
                                f"CALIBRATION collection {collection!r}: dataset {ref.id} is valid {timespan} in the "
                                f"export, which overlaps {other} of dataset {other_id}."
                            )
                    ranges.append((timespan, ref.id))
                    new.append(ref)
                if new:
                    planned.setdefault(collection, []).append((timespan, new))
        return planned

    def _certified(self, kind: DatasetType, collection: str) -> Iterable[tuple[DatasetRef, Timespan]]:
        if not self._known.has(kind.name, collection):
            return
        for ref, timespan in associated(self._butler, kind, collection):
            assert timespan is not None  # noqa: S101
            yield ref, timespan
