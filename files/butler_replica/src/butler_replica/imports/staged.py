"""Comparing and inserting datasets set by set, in temporary tables of the repository's database.

For exports of any size: some thousand datasets are in memory at a time.
"""

from __future__ import annotations

__all__ = ["StagedDatasets"]

import functools
import itertools
import uuid
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from lsst.daf.butler import DataCoordinate, DatasetRef, DimensionGroup
from lsst.utils.iteration import chunk_iterable
from numpy.typing import NDArray
from typing_extensions import override

from ..artifacts.finder import FoundArtifact
from ..artifacts.rewriting import OUTSIDE
from ..dimensions.lookup import data_id_text
from ..errors import ExportError
from ..exports.model import DatasetBlock
from ..exports.records import RecordChunk, Spool
from ..exports.values import check_artifact, check_formatter, data_id_value
from ..internals import StagedDataset, StagedRow, Staging, State, TemplatePaths
from .datasets import LISTED, DatasetContext, MissingArtifact, PlannedDatasets, Transferable

_ASSOCIATED = 10_000
"""Associated datasets that are looked up at a time."""

_TO_BRING = (State.NEW, State.REGISTERED)
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


class _Part(NamedTuple):
    """Some thousand datasets of a block."""

    block: _Block
    chunk: RecordChunk
    number: int
    """Position of the first of them in the export."""

    in_block: int
    """Artifacts of the block before them."""


class StagedDatasets(PlannedDatasets):
    """The datasets of one export in temporary tables.

    Parameters
    ----------
    context : `~butler_replica.imports.datasets.DatasetContext`
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
        self._states: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        """State of each dataset; empty where all are stored."""

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
        needed: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
        self._staging.tables.begin(self._groups)
        for part in self._parts():
            block = part.block
            columns = self._columns(part)
            for name in block.names:
                required = self._butler.dimensions[name].required.names
                keys = (columns[block.names.index(key)] for key in required)
                needed[block.block.dataset_type, name].update(zip(*keys, strict=True))
            self._stage(part, columns)
            self._tell((part.number + len(part.chunk.ids)) // 2)
        for (dataset_type, name), wanted in needed.items():
            self._context.records.require_keys(name, wanted, dataset_type)

    def _parts(self) -> Iterator[_Part]:
        number = 0
        for block in self._blocks:
            in_block = 0
            for chunk in block.block.records.chunks():
                yield _Part(block, chunk, number, in_block)
                number += len(chunk.ids)
                in_block += len(chunk.paths)

    def _columns(self, part: _Part) -> list[Sequence[Any]]:
        """Values of each required dimension, of the type that it has."""
        block, chunk = part.block, part.chunk
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
            raise self._first_bad_data_id(part, error) from error
        return columns

    def _first_bad_data_id(self, part: _Part, error: Exception) -> ExportError:
        block, chunk = part.block, part.chunk
        for values, artifact in zip(chunk.values, chunk.artifact_of_each(), strict=True):
            data_id = dict(zip(chunk.keys, values, strict=True))
            try:
                for name, kind in zip(block.names, block.types, strict=True):
                    data_id_value(data_id[name], kind)
            except (KeyError, ValueError, TypeError) as reason:
                number = part.in_block + artifact + 1
                return self._bad_data_id(block.block, number, data_id, block.names, reason)
        return self._bad_data_id(block.block, part.in_block + 1, chunk.values[0], block.names, error)

    def _stage(self, part: _Part, columns: list[Sequence[Any]]) -> None:
        for formatter in {*part.chunk.formatters}:
            if formatter is not None:
                check_formatter(self._export.path, formatter)
                self.formatters.add(formatter)
        ids = [one.hex() for one in part.chunk.ids]
        data_ids: Iterable[tuple[Any, ...]] = zip(*columns, strict=True) if columns else [()] * len(ids)
        self._staging.tables.add(
            part.block.dimensions,
            [
                StagedRow(n, part.block.number, dataset_id, values)
                for n, (dataset_id, values) in enumerate(zip(ids, data_ids, strict=True), part.number)
            ],
        )

    @override
    def compare(self) -> None:
        self._staging.tables.refresh()
        self._check_repeated()
        comparison = self._staging.comparison
        counts = comparison.compare()
        states = {state for _, state in counts}
        if State.TAKEN in states:
            taken = comparison.taken()[0]
            raise self._taken(self._text(taken), self._groups[taken.block][1], taken.id)
        if State.NEW in states:
            for conflict in comparison.conflicts():
                assert conflict.other is not None  # noqa: S101
                run = self._groups[conflict.block][1]
                raise self._conflict(self._text(conflict), run, conflict.id, conflict.other)
        for (block, state), count in counts.items():
            if state is State.NEW:
                self.inserted[self._groups[block]] += count
            else:
                self.present += count
        lost = self._lost() if State.STORED in states else array("q")
        if states - {State.STORED} or lost:
            self._states = self._staging.tables.states(self._export.n_datasets)
            self._states[lost] = State.REGISTERED
            self._find_artifacts(set(lost))
        self._check_missing()

    def _lost(self) -> array[int]:
        """Positions of stored datasets whose artifact is not where the datastore has it."""
        lost = array("q")
        for rows in self._staging.comparison.recorded():
            lost.extend(number for number, path in rows if self._is_lost(path))
        return lost

    def _find_artifacts(self, lost: Set[int]) -> None:
        """Look for the artifacts of datasets that have none in the datastore, or none any more."""
        changes: dict[State, array[int]] = {
            state: array("q") for state in (State.LEFT_OUT, State.BARE, State.REGISTERED)
        }
        for part in self._parts():
            wanted = np.isin(self._states[part.number : part.number + len(part.chunk.ids)], _TO_BRING)
            found: list[FoundArtifact | None] = [None] * len(part.chunk.paths)
            if wanted.any():
                self._look(part, wanted.tolist(), found, lost, changes)
            self._places.append(
                self._found.write([None if one is None else (one.source, one.size) for one in found])
            )
            self._tell((self._export.n_datasets + part.number) // 2)
        self._staging.tables.set_states(changes)

    def _look(
        self,
        part: _Part,
        wanted: list[bool],
        found: list[FoundArtifact | None],
        lost: Set[int],
        changes: Mapping[State, array[int]],
    ) -> None:
        group = self._groups[part.block.number]
        new = State.LEFT_OUT if self._options.missing == "skip" else State.BARE
        for n, artifact in enumerate(part.chunk.artifact_of_each()):
            if not wanted[n]:
                continue
            one = found[artifact]
            if one is None:
                one = found[artifact] = self._find(part.chunk.paths[artifact])
            is_new = self._states[part.number + n] == State.NEW
            if part.number + n in lost:
                if one.size is None:
                    self._states[part.number + n] = State.STORED
                    continue
                changes[State.REGISTERED].append(part.number + n)
                self.artifacts_renewed += 1
                self.artifacts_added -= 1
            if one.size is not None:
                if self._options.transfer == "none":
                    self._recorded_in_place(one.source)
                self.stored += 1
                self.artifacts_added += not is_new
                continue
            self._note_missing(part, n, one.source or str(part.chunk.paths[artifact]), one.reason)
            if is_new:
                changes[new].append(part.number + n)
                self._states[part.number + n] = new
                if new is State.LEFT_OUT:
                    self.inserted[group] -= 1
        self.inserted = +self.inserted

    def _note_missing(self, part: _Part, n: int, path: str, reason: str) -> None:
        self.n_missing += 1
        self.outside += reason.startswith(OUTSIDE)
        if len(self.missing) < LISTED:
            values = dict(zip(part.chunk.keys, part.chunk.values[n], strict=True))
            data_id = {
                name: data_id_value(values[name], kind)
                for name, kind in zip(part.block.names, part.block.types, strict=True)
            }
            self.missing.append(MissingArtifact(*self._groups[part.block.number], data_id, path, reason))

    def _text(self, dataset: StagedDataset) -> str:
        return f"{self._groups[dataset.block][0]} {data_id_text(self._ref(dataset).dataId)}"

    def _check_repeated(self) -> None:
        """Refuse contradictions within the export."""
        pair = self._staging.comparison.contradiction()
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
            for dataset in self._staging.tables.datasets(chunk):
                left_out = self._states.size > 0 and self._states[dataset.number] == State.LEFT_OUT
                found[dataset.id] = None if left_out else self._ref(dataset)
        return found

    # Doing

    @override
    def transferables(self) -> Iterator[Transferable]:
        """Return the artifacts that are to be brought; what the datastore is to know of them is noted on the way."""
        if not self.stored:
            return iter(())
        return self._bring()

    def _bring(self) -> Iterator[Transferable]:
        self._records = Spool()
        self._record_places.clear()
        templates: dict[int, TemplatePaths] = {}
        for part, place in zip(self._parts(), self._places, strict=True):
            wanted = np.isin(self._states[part.number : part.number + len(part.chunk.ids)], _TO_BRING)
            if wanted.any():
                block = part.block
                if block.number not in templates:
                    templates[block.number] = TemplatePaths(
                        self._butler,
                        self._context.dataset_types[block.block.dataset_type],
                        block.block.run,
                        self._context.records.expand,
                    )
                yield from self._bring_part(
                    part, self._found.read(place), wanted.tolist(), templates[block.number]
                )

    def _bring_part(
        self,
        part: _Part,
        found: list[tuple[str, int | None] | None],
        wanted: list[bool],
        template: TemplatePaths,
    ) -> Iterator[Transferable]:
        chunk = part.chunk
        in_place = self._options.transfer in ("direct", "none")
        storage_class = self._context.dataset_types[part.block.block.dataset_type].storageClass_name
        columns = self._columns(part)
        starts = None if chunk.counts is None else [0, *itertools.accumulate(chunk.counts)]
        records = []
        placed = -1
        recorded = formatter = ""
        for n, artifact in enumerate(chunk.artifact_of_each()):
            place = found[artifact]
            if not wanted[n] or place is None or place[1] is None:
                continue
            source, size = place[0], place[1]
            if artifact != placed:
                placed = artifact
                # The first dataset of an artifact decides where it goes, new or not.
                first = n if starts is None else starts[artifact]
                if in_place:
                    target, recorded = source, self._recorded_in_place(source)
                else:
                    values = tuple([column[first] for column in columns])
                    recorded, target = self._placed(
                        template.path(values, chunk.ids[first]),
                        source,
                        functools.partial(self._name, part, columns, first),
                    )
                formatter = chunk.formatters[artifact] or self._default_formatter(
                    self._ref(self._as_staged(part, columns, n))
                )
                check_artifact(self._export.path, recorded, formatter)
                yield Transferable(target, source, size)
            records.append((chunk.ids[n].hex(), recorded, formatter, storage_class, size))
        if records:
            self._record_places.append(self._records.write(records))

    def _name(self, part: _Part, columns: Sequence[Sequence[Any]], n: int) -> str:
        dataset = self._as_staged(part, columns, n)
        return f"{self._text(dataset)} in run {self._groups[dataset.block][1]}"

    @staticmethod
    def _as_staged(part: _Part, columns: Sequence[Sequence[Any]], n: int) -> StagedDataset:
        values = tuple(column[n] for column in columns)
        return StagedDataset(
            part.number + n, part.block.number, uuid.UUID(bytes=part.chunk.ids[n]), State.NEW, values
        )

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        n_new = self.inserted.total()
        with (
            self._staging.joined(),
            self._butler.transaction(),
            self._staging.insertion.inserting(n_new, self.stored, exclusive=self._options.exclusive),
        ):
            yield

    @override
    def insert(self) -> None:
        self._staging.tables.refresh(analyze=False)
        firsts: dict[int, list[DatasetRef]] = defaultdict(list)
        for dataset in self._staging.insertion.first_datasets():
            firsts[dataset.block].append(self._ref(dataset))
        self._staging.insertion.insert(firsts)

    @override
    def insert_artifact_records(self) -> None:
        if self.artifacts_added or self.artifacts_renewed:
            self._staging.insertion.forget_records()
        if self.stored:
            self._staging.insertion.insert_records(self._records.read(place) for place in self._record_places)

    @override
    def close(self) -> None:
        self._staging.tables.close()
