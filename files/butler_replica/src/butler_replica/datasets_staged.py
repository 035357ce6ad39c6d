"""Comparing and inserting datasets set by set, in temporary tables of the repository's database.

For exports of any size: some thousand datasets are in memory at a time.
"""

from __future__ import annotations

__all__ = ["StagedDatasets"]

import itertools
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from lsst.daf.butler import DataCoordinate, DatasetRef, DimensionGroup
from lsst.utils.iteration import chunk_iterable
from numpy.typing import NDArray
from typing_extensions import override

from .checks import check_artifact, data_id_value
from .datasets import LISTED, DatasetContext, MissingArtifact, PlannedDatasets, Transferable, data_id_text
from .errors import ExportError
from .exports.model import DatasetBlock
from .exports.records import RecordChunk, Spool
from .internals import StagedDataset, StagedRow, Staging, State, TemplatePaths, runs_have_folders

_ASSOCIATED = 10_000
"""Associated datasets that are looked up at a time."""

_TO_BRING = (State.NEW, State.FIRST, State.REGISTERED)
"""States of datasets whose artifacts the datastore does not know."""


class _Block(NamedTuple):
    """Datasets of one type and run."""

    number: int
    block: DatasetBlock
    dimensions: DimensionGroup
    names: tuple[str, ...]
    """Required dimensions."""

    types: tuple[type, ...]
    """Their Python types."""


class StagedDatasets(PlannedDatasets):
    """The datasets of one export in temporary tables.

    Parameters
    ----------
    context : `~butler_replica.datasets.DatasetContext`
        What they are planned with.
    staging : `~butler_replica.internals.Staging`
        The temporary tables.
    tell : `~collections.abc.Callable`
        Called with the number of datasets that have been looked at.
    """

    def __init__(self, context: DatasetContext, staging: Staging, tell: Callable[[int], None]) -> None:
        super().__init__(context)
        self._staging = staging
        self._tell = tell
        self._groups: list[tuple[str, str]] = []
        """Dataset type and run of each block number."""

        self._blocks = list(self._number_blocks())
        self._found = Spool()
        self._places: list[tuple[int, int]] = []
        """Where in the spool the source and size of each artifact are, by chunk."""

        self._records = Spool()
        self._record_places: list[tuple[int, int]] = []

    def _number_blocks(self) -> Iterator[_Block]:
        numbers: dict[tuple[str, str], int] = {}
        universe = self._butler.dimensions.dimensions
        for block in self._export.blocks:
            dimensions = self._context.dataset_types[block.dataset_type].dimensions
            names = tuple(dimensions.required)
            types = tuple(universe[name].primaryKey.getPythonType() for name in names)
            number = numbers.setdefault((block.dataset_type, block.run), len(numbers))
            yield _Block(number, block, dimensions, names, types)
        self._groups = list(numbers)

    # Planning

    @override
    def require_records(self) -> None:
        needed: dict[str, dict[str, set[tuple[Any, ...]]]] = defaultdict(lambda: defaultdict(set))
        self._staging.begin(self._groups)
        number = 0
        for block in self._blocks:
            in_block = 0
            for chunk in block.block.records.chunks():
                columns = self._columns(block, chunk, in_block)
                for name in block.names:
                    required = self._butler.dimensions[name].required.names
                    positions = [block.names.index(key) for key in required]
                    needed[block.block.dataset_type][name].update(
                        zip(*(columns[p] for p in positions), strict=True)
                    )
                self._stage(block, chunk, columns, number, in_block)
                number += len(chunk.ids)
                in_block += len(chunk.paths)
                self._tell(number)
        for dataset_type, by_dimension in needed.items():
            for name, keys in by_dimension.items():
                self._context.records.require_keys(name, keys, dataset_type)

    def _columns(self, block: _Block, chunk: RecordChunk, in_block: int) -> list[Sequence[Any]]:
        """Values of each required dimension, of the type that it has."""
        try:
            positions = [chunk.keys.index(name) for name in block.names]
            columns = []
            for position, kind in zip(positions, block.types, strict=True):
                column: Sequence[Any] = [values[position] for values in chunk.values]
                if set(map(type, column)) != {kind}:
                    column = [
                        value if type(value) is kind else data_id_value(value, kind) for value in column
                    ]
                for value in (min(column), max(column)) if kind is int else set(column):
                    data_id_value(value, kind)
                columns.append(column)
        except (ValueError, TypeError) as error:
            raise self._first_bad_data_id(block, chunk, in_block, error) from error
        return columns

    def _first_bad_data_id(
        self, block: _Block, chunk: RecordChunk, in_block: int, error: Exception
    ) -> ExportError:
        for values, artifact in zip(chunk.values, chunk.artifact_of_each(), strict=True):
            data_id = dict(zip(chunk.keys, values, strict=True))
            try:
                for name, kind in zip(block.names, block.types, strict=True):
                    data_id_value(data_id[name], kind)
            except (KeyError, ValueError, TypeError) as reason:
                return self._bad_data_id(block.block, in_block + artifact + 1, data_id, block.names, reason)
        return self._bad_data_id(block.block, in_block + 1, chunk.values[0], block.names, error)

    def _stage(
        self, block: _Block, chunk: RecordChunk, columns: list[Sequence[Any]], number: int, in_block: int
    ) -> None:
        """Look for the artifacts of some datasets, and stage them."""
        found = [
            self._find(path, lambda n=position: f"{block.block.dataset_type} record {in_block + n}")  # type: ignore[misc]
            for position, path in enumerate(chunk.paths, 1)
        ]
        self._places.append(self._found.write([(one.source, one.size) for one in found]))
        data_ids = zip(*columns, strict=True) if columns else iter([()] * len(chunk.ids))
        rows = []
        for n, (dataset_id, artifact, values) in enumerate(
            zip(chunk.ids, chunk.artifact_of_each(), data_ids, strict=True), number
        ):
            source, size, reason = found[artifact]
            if size is None:
                source = source or str(chunk.paths[artifact])
                rows.append(StagedRow(n, block.number, dataset_id.hex(), source, reason, values))
            else:
                rows.append(StagedRow(n, block.number, dataset_id.hex(), None, None, values))
        self._staging.add(block.dimensions, rows)

    @override
    def compare(self) -> None:
        staging = self._staging
        staging.refresh()
        self._check_repeated()
        for conflict in staging.conflicts():
            assert conflict.other is not None  # noqa: S101
            raise self._conflict(
                self._text(conflict), self._groups[conflict.block][1], conflict.id, conflict.other
            )
        for taken in staging.taken():
            raise self._taken(self._text(taken), self._groups[taken.block][1], taken.id)
        counts = staging.mark(skip_missing=self._options.missing == "skip")
        for (block, state, is_there), count in counts.items():
            if state is State.NEW:
                self.inserted[self._groups[block]] += count
            if state in (State.STORED, State.REGISTERED):
                self.present += count
            if state is not State.STORED and not is_there:
                self.n_missing += count
            if state in _TO_BRING and is_there:
                self.stored += count
                self.artifacts_added += count if state is State.REGISTERED else 0
        if self.n_missing:
            self.missing = [
                MissingArtifact(
                    *self._groups[row.block],
                    dict(zip(self._dimensions(row.block).required, row.values, strict=True)),
                    row.source,
                    row.reason,
                )
                for row in staging.missing(LISTED)
            ]
        self._check_missing()

    def _dimensions(self, block: int) -> DimensionGroup:
        return self._context.dataset_types[self._groups[block][0]].dimensions

    def _text(self, dataset: StagedDataset) -> str:
        return f"{self._groups[dataset.block][0]} {data_id_text(self._ref(dataset).dataId)}"

    def _check_repeated(self) -> None:
        """Refuse contradictions within the export."""
        pair = self._staging.contradiction()
        if pair is None:
            return
        one, other = pair
        if one.id == other.id:
            raise self._used_twice(one.id)
        data_id = data_id_text(self._ref(one).dataId)
        raise self._repeated(data_id, self._groups[one.block][0], one.id, other.id)

    def _ref(self, dataset: StagedDataset) -> DatasetRef:
        dataset_type, run = self._groups[dataset.block]
        kind = self._context.dataset_types[dataset_type]
        data_id = DataCoordinate.from_required_values(kind.dimensions, dataset.values)
        return DatasetRef(kind, data_id, run, id=dataset.id, conform=False)

    @override
    def associated(self, ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, DatasetRef | None]:
        found: dict[uuid.UUID, DatasetRef | None] = {}
        for chunk in chunk_iterable(ids, _ASSOCIATED):
            for dataset in self._staging.datasets(chunk):
                left_out = dataset.state is State.LEFT_OUT
                found[dataset.id] = None if left_out else self._ref(dataset)
        return found

    # Doing

    @property
    @override
    def places_are_free(self) -> bool:
        runs = {run for _, run in self._groups}
        return runs_have_folders(self._butler) and not any(
            os.path.lexists(f"{self._root}/{run}") for run in runs
        )

    @override
    def transferables(self) -> Iterator[Transferable]:
        """Return the artifacts that are to be brought; what the datastore is to know of them is noted on the way."""
        if not self.stored:
            return iter(())
        return self._bring(self._staging.states(self._export.n_datasets))

    def _bring(self, states: NDArray[np.uint8]) -> Iterator[Transferable]:
        to_bring = np.isin(states, _TO_BRING)
        self._records = Spool()
        self._record_places.clear()
        places = iter(self._places)
        number = 0
        for block in self._blocks:
            dataset_type = self._context.dataset_types[block.block.dataset_type]
            template = TemplatePaths(
                self._butler, dataset_type, block.block.run, self._context.records.expand
            )
            in_block = 0
            for chunk in block.block.records.chunks():
                found = self._found.read(next(places))
                wanted = to_bring[number : number + len(chunk.ids)]
                if wanted.any():
                    yield from self._bring_chunk(block, chunk, found, wanted.tolist(), template, in_block)
                number += len(chunk.ids)
                in_block += len(chunk.paths)

    def _bring_chunk(
        self,
        block: _Block,
        chunk: RecordChunk,
        found: list[tuple[str, int | None]],
        wanted: list[bool],
        template: TemplatePaths,
        in_block: int,
    ) -> Iterator[Transferable]:
        in_place = self._options.transfer in ("direct", "none")
        dataset_type = self._context.dataset_types[block.block.dataset_type]
        storage_class = dataset_type.storageClass_name
        columns = self._columns(block, chunk, in_block)
        starts = None if chunk.counts is None else [0, *itertools.accumulate(chunk.counts)]
        records = []
        placed = -1
        recorded = formatter = ""
        for n, artifact in enumerate(chunk.artifact_of_each()):
            source, size = found[artifact]
            if not wanted[n] or size is None:
                continue
            if artifact != placed:
                placed = artifact
                # The first dataset of an artifact decides where it goes, new or not.
                first = n if starts is None else starts[artifact]
                if in_place:
                    target, recorded = source, self._recorded_in_place(source)
                else:
                    values = tuple(column[first] for column in columns)
                    recorded = template.path(values, chunk.ids[first]) + self._extension(source)
                    target = f"{self._root}/{recorded}"
                formatter = chunk.formatters[artifact] or self._default_formatter(
                    self._ref(self._as_staged(block, chunk, columns, n))
                )
                check_artifact(self._export.path, recorded, formatter)
                yield Transferable(target, source, size)
            records.append((chunk.ids[n].hex(), recorded, formatter, storage_class, size))
        self._record_places.append(self._records.write(records))

    @staticmethod
    def _as_staged(
        block: _Block, chunk: RecordChunk, columns: Sequence[Sequence[Any]], n: int
    ) -> StagedDataset:
        values = tuple(column[n] for column in columns)
        return StagedDataset(n, block.number, uuid.UUID(bytes=chunk.ids[n]), State.NEW, values)

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._staging.joined(), self._butler.transaction():
            yield

    @override
    def insert(self) -> None:
        staging = self._staging
        staging.refresh(analyze=False)
        firsts: dict[int, list[DatasetRef]] = defaultdict(list)
        for dataset in staging.first_datasets():
            firsts[dataset.block].append(self._ref(dataset))
        staging.insert(firsts)

    @override
    def insert_artifact_records(self) -> None:
        if self.stored:
            self._staging.insert_records(
                (self._records.read(place) for place in self._record_places), self.stored
            )

    @override
    def close(self) -> None:
        self._staging.close()
