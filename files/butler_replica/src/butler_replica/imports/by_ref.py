"""Comparing and inserting datasets with the butler's own methods, one `DatasetRef` each.

For exports of some hundred datasets, and for what `butler_replica.imports.staged` cannot.
"""

from __future__ import annotations

__all__ = ["DatasetsByRef"]

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType, MissingCollectionError
from lsst.utils.iteration import chunk_iterable
from typing_extensions import override

from .. import internals
from ..artifacts.rewriting import OUTSIDE
from ..dimensions.lookup import data_id_text
from ..exports.model import DatasetBlock, DatasetRecord
from ..exports.values import check_artifact, data_id_value
from .datasets import LISTED, DatasetContext, MissingArtifact, PlannedDatasets, Transferable

_CHUNK = 10_000
"""Data IDs in one query."""


class _Artifact(NamedTuple):
    """An artifact that is to become the repository's."""

    refs: tuple[DatasetRef, ...]
    """The datasets that it holds."""

    transfer: Transferable
    recorded: str
    """What the datastore notes: a path relative to its root, or a URI."""

    formatter: str


class DatasetsByRef(PlannedDatasets):
    """The datasets of one export as `DatasetRef` objects.

    Parameters
    ----------
    context : `~butler_replica.imports.datasets.DatasetContext`
        What they are planned with.
    """

    def __init__(self, context: DatasetContext) -> None:
        super().__init__(context)
        self._groups: list[list[tuple[DatasetRef, ...]]] = []
        self._seen: dict[uuid.UUID, DatasetRef] = {}
        self._data_ids: dict[tuple[str, str], dict[tuple[Any, ...], uuid.UUID]] = defaultdict(dict)
        self._new: dict[tuple[str, str], dict[uuid.UUID, DatasetRef]] = defaultdict(dict)
        self._artifacts: dict[uuid.UUID, _Artifact] = {}
        self._refs: dict[uuid.UUID, DatasetRef | None] = {}
        self._again: set[uuid.UUID] = set()
        """Datasets that are there and get a datastore record."""

    @override
    def require_records(self) -> None:
        self._groups = [self._make_refs(block) for block in self._export.blocks]

    @override
    def compare(self) -> None:
        for block, groups in zip(self._export.blocks, self._groups, strict=True):
            self._compare_block(block, groups)
        self._groups.clear()
        self._seen.clear()
        self._data_ids.clear()
        self._check_ids()
        for (dataset_type, run), refs in self._new.items():
            self.inserted[dataset_type, run] = len(refs)
        self.stored = sum(len(artifact.refs) for artifact in self._artifacts.values())
        self._check_missing()

    @override
    def associated(self, ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, DatasetRef | None]:
        return {one: self._refs[one] for one in ids if one in self._refs}

    @override
    def transferables(self) -> Iterator[Transferable]:
        for artifact in self._artifacts.values():
            yield artifact.transfer

    @override
    def transaction(self) -> AbstractContextManager[None]:
        return self._butler.transaction()

    @override
    def insert(self) -> None:
        for refs in self._new.values():
            internals.insert_datasets(self._butler, list(refs.values()))

    @override
    def insert_artifact_records(self) -> None:
        internals.forget_artifacts(self._butler, self._again)
        internals.insert_artifact_records(
            self._butler,
            {
                ref.id: (
                    artifact.recorded,
                    artifact.formatter,
                    ref.datasetType.storageClass_name,
                    artifact.transfer.size,
                )
                for artifact in self._artifacts.values()
                for ref in artifact.refs
            },
        )

    @override
    def close(self) -> None:
        """Do nothing: nothing is kept in the database."""

    def _make_refs(self, block: DatasetBlock) -> list[tuple[DatasetRef, ...]]:
        dataset_type = self._context.dataset_types[block.dataset_type]
        dimensions = dataset_type.dimensions
        names = tuple(dimensions.required)
        types = tuple(self._butler.dimensions.dimensions[name].primaryKey.getPythonType() for name in names)
        groups = []
        seen = self._data_ids[block.dataset_type, block.run]
        for number, record in enumerate(block.records, 1):
            if record.formatter is not None:
                self.formatters.add(record.formatter)
            group = []
            for dataset_id, data_id in zip(record.ids, record.data_ids, strict=True):
                try:
                    values: tuple[Any, ...] = tuple(
                        data_id_value(value, kind)
                        for value, kind in zip((data_id[name] for name in names), types, strict=True)
                    )
                except (KeyError, ValueError, TypeError) as error:
                    raise self._bad_data_id(block, number, data_id, names, error) from error
                coordinate = DataCoordinate.from_required_values(dimensions, values)
                other = seen.setdefault(values, dataset_id)
                if other != dataset_id:
                    raise self._repeated(data_id_text(coordinate), block.dataset_type, other, dataset_id)
                ref = DatasetRef(dataset_type, coordinate, block.run, id=dataset_id, conform=False)
                same = self._seen.setdefault(dataset_id, ref)
                if (same, same.run) != (ref, ref.run):
                    raise self._used_twice(dataset_id)
                group.append(ref)
            groups.append(tuple(group))
        self._context.records.require(dimensions, seen, block.dataset_type)
        return groups

    def _compare_block(self, block: DatasetBlock, groups: list[tuple[DatasetRef, ...]]) -> None:
        dataset_type = self._context.dataset_types[block.dataset_type]
        there = self._existing(dataset_type, block.run, [ref for group in groups for ref in group])
        registered = [ref for group in groups for ref in group if ref.id in there]
        known = internals.stored_datasets(self._butler, registered)
        unstored = {ref.id for ref in registered} - known
        recorded = internals.recorded_paths(self._butler, known)
        lost = {dataset_id for dataset_id, path in recorded.items() if self._is_lost(path)}
        for group, record in zip(groups, block.records, strict=True):
            source, size, reason = self._find(record.path)
            # What the export repeats counts once.
            refs = [ref for ref in dict.fromkeys(group) if ref.id not in self._refs]
            for ref in refs:
                if ref.id in there:
                    self.present += 1
                if size is None and (ref.id not in there or ref.id in unstored):
                    self._note_missing(ref, record, source, reason)
            added = [ref for ref in refs if ref.id not in there]
            if size is None and self._options.missing == "skip":
                self._refs.update((ref.id, None) for ref in added)
                added = []
            self._refs.update((ref.id, ref) for ref in refs if ref.id not in self._refs)
            if added:
                self._new[block.dataset_type, block.run].update((ref.id, ref) for ref in added)
            stored = tuple(ref for ref in refs if ref.id not in there or ref.id in unstored or ref.id in lost)
            if size is not None and stored:
                self._artifacts[stored[0].id] = self._place(group[0], stored, record, source, size)
                self._again.update({ref.id for ref in stored} & there)
                renewed = sum(ref.id in lost for ref in stored)
                self.artifacts_renewed += renewed
                self.artifacts_added += len(stored) - len(added) - renewed

    def _existing(self, dataset_type: DatasetType, run: str, refs: list[DatasetRef]) -> set[uuid.UUID]:
        """Ids of those datasets that are there; another id for a data ID is an error."""
        if not self._context.is_known(dataset_type.name, run):
            return set()
        wanted = {ref.dataId.required_values: ref for ref in refs}
        there: set[uuid.UUID] = set()
        for chunk in chunk_iterable([ref.dataId for ref in refs], _CHUNK):
            try:
                with self._butler.query() as query:
                    joined = query.join_data_coordinates(chunk) if dataset_type.dimensions.names else query
                    found = list(joined.datasets(dataset_type, collections=run, find_first=False))
            except MissingCollectionError:
                return set()
            for existing in found:
                ref = wanted[existing.dataId.required_values]
                if existing.id != ref.id:
                    what = f"{dataset_type.name} {data_id_text(ref.dataId)}"
                    raise self._conflict(what, run, ref.id, existing.id)
                there.add(ref.id)
        return there

    def _note_missing(self, ref: DatasetRef, record: DatasetRecord, source: str, reason: str) -> None:
        self.n_missing += 1
        self.outside += reason.startswith(OUTSIDE)
        if len(self.missing) < LISTED:
            self.missing.append(
                MissingArtifact(
                    ref.datasetType.name,
                    ref.run,
                    dict(ref.dataId.required),
                    source or str(record.path),
                    reason,
                )
            )

    def _place(
        self, first: DatasetRef, refs: tuple[DatasetRef, ...], record: DatasetRecord, source: str, size: int
    ) -> _Artifact:
        """Return where an artifact goes and what the datastore notes of it."""
        if self._options.transfer in ("direct", "none"):
            target, recorded = source, self._recorded_in_place(source)
        else:
            expanded = first.expanded(self._context.records.expand(first.dataId))
            recorded, target = self._placed(
                internals.template_path(self._butler, expanded),
                source,
                lambda: f"{first.datasetType.name} {data_id_text(first.dataId)} in run {first.run}",
            )
        self._check_accepted(first.datasetType.name, first.dataId.get("instrument"), lambda: first)
        formatter = record.formatter or self._default_formatter(first)
        check_artifact(self._export.path, recorded, formatter)
        return _Artifact(refs, Transferable(target, source, size), recorded, formatter)

    def _check_ids(self) -> None:
        """Refuse ids that the repository has for something else."""
        new = {one: ref for refs in self._new.values() for one, ref in refs.items()}
        for dataset_id in internals.known_dataset_ids(self._butler, new):
            ref = new[dataset_id]
            raise self._taken(f"{ref.datasetType.name} {data_id_text(ref.dataId)}", ref.run, dataset_id)
