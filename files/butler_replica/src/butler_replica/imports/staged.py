"""Comparing and inserting datasets set by set, in temporary tables of the repository's database.

For exports of any size: some thousand datasets are in memory at a time.
"""

from __future__ import annotations

__all__ = ["StagedDatasets"]

import uuid
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np
from lsst.daf.butler import DatasetRef
from lsst.utils.iteration import chunk_iterable
from numpy.typing import NDArray
from typing_extensions import override

from ..artifacts.finder import FoundArtifact
from ..artifacts.rewriting import OUTSIDE
from ..dimensions.lookup import data_id_text
from ..exports.values import check_formatter
from ..internals import StagedRow, Staging, State
from .datasets import LISTED, DatasetContext, MissingArtifact, PlannedDatasets, Transferable
from .parts import Part, Parts
from .staged_artifacts import Placing, StagedArtifacts, are_wanted

_ASSOCIATED_BATCH = 10_000
"""Associated datasets that are looked up at a time."""


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
        self._parts = Parts(context.export, context.dataset_types)
        self._states: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        """State of each dataset; empty where all are stored."""

        placing = Placing(self._recorded_in_place, self._placed, self._default_formatter)
        self._artifacts = StagedArtifacts(context, self._parts, placing)

    # Planning

    @override
    def require_records(self) -> None:
        needed: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
        self._staging.tables.begin(self._parts.groups)
        for part in self._parts:
            block = part.block
            columns = self._columns(part)
            for name in block.names:
                required = self._butler.dimensions[name].required.names
                keys = (columns[block.names.index(key)] for key in required)
                needed[block.block.dataset_type, name].update(zip(*keys, strict=True))
            self._check_formatters(part)
            self._stage(part, columns)
            self._tell((part.number + len(part.chunk.ids)) // 2)
        for (dataset_type, name), wanted in needed.items():
            self._context.records.require_keys(name, wanted, dataset_type)

    def _columns(self, part: Part) -> list[Sequence[Any]]:
        try:
            return part.columns()
        except (ValueError, TypeError) as error:
            number, data_id, reason = part.first_bad_data_id(error)
            block = part.block
            raise self._bad_data_id(block.block, number, data_id, block.names, reason) from error

    def _check_formatters(self, part: Part) -> None:
        named = {formatter for formatter in part.chunk.formatters if formatter is not None}
        for formatter in named:
            check_formatter(self._export.path, formatter)
        self.formatters |= named

    def _stage(self, part: Part, columns: list[Sequence[Any]]) -> None:
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
            raise self._taken(self._parts.text(taken), self._parts.groups[taken.block][1], taken.id)
        if State.NEW in states:
            for conflict in comparison.conflicts():
                assert conflict.other is not None  # noqa: S101
                run = self._parts.groups[conflict.block][1]
                raise self._conflict(self._parts.text(conflict), run, conflict.id, conflict.other)
        for (block, state), count in counts.items():
            if state is State.NEW:
                self.inserted[self._parts.groups[block]] += count
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
        for part in self._parts:
            found: list[FoundArtifact | None] = [None] * len(part.chunk.paths)
            if wanted := are_wanted(part, self._states):
                self._look(part, wanted, found, lost, changes)
                self._check_taken(part, wanted, found)
            self._artifacts.add(found)
            self._tell((self._export.n_datasets + part.number) // 2)
        self.inserted = +self.inserted
        self._staging.tables.set_states(changes)

    def _look(
        self,
        part: Part,
        wanted: list[bool],
        found: list[FoundArtifact | None],
        lost: Set[int],
        changes: Mapping[State, array[int]],
    ) -> None:
        for n, artifact in enumerate(part.chunk.artifact_of_each()):
            if not wanted[n]:
                continue
            one = found[artifact]
            if one is None:
                one = found[artifact] = self._find(part.chunk.paths[artifact])
            number = part.number + n
            if number in lost:
                if one.size is None:
                    self._states[number] = State.STORED
                    continue
                changes[State.REGISTERED].append(number)
                self.artifacts_renewed += 1
                self.artifacts_added -= 1
            is_new = self._states[number] == State.NEW
            if one.size is not None:
                self._note_found(one.source, is_new)
                continue
            self._note_missing(part, n, one.source or str(part.chunk.paths[artifact]), one.reason)
            if is_new:
                state = self._count_bare(part.block.number)
                changes[state].append(number)
                self._states[number] = state

    def _check_taken(self, part: Part, wanted: list[bool], found: list[FoundArtifact | None]) -> None:
        """Refuse artifacts that the datastore does not take."""
        columns, names = part.columns(), part.block.names
        kind = self._parts.groups[part.block.number][0]
        instruments = columns[names.index("instrument")] if "instrument" in names else None
        for n, artifact in enumerate(part.chunk.artifact_of_each()):
            one = found[artifact]
            if wanted[n] and one is not None and one.size is not None:
                instrument = None if instruments is None else instruments[n]
                self._check_accepted(
                    kind,
                    instrument,
                    lambda n=n: self._parts.ref(part.dataset(columns, n)),  # type: ignore[misc]
                )

    def _note_found(self, source: str, is_new: bool) -> None:
        if self._options.transfer == "none":
            # Raises where it lies outside the repository.
            self._recorded_in_place(source)
        self.stored += 1
        self.artifacts_added += not is_new

    def _count_bare(self, block: int) -> State:
        """Count a new dataset whose artifact is missing, and return what becomes of it."""
        if self._options.missing != "skip":
            return State.BARE
        self.inserted[self._parts.groups[block]] -= 1
        return State.LEFT_OUT

    def _note_missing(self, part: Part, n: int, path: str, reason: str) -> None:
        self.n_missing += 1
        self.outside += reason.startswith(OUTSIDE)
        if len(self.missing) < LISTED:
            data_id = part.data_id(dict(zip(part.chunk.keys, part.chunk.values[n], strict=True)))
            self.missing.append(
                MissingArtifact(*self._parts.groups[part.block.number], data_id, path, reason)
            )

    def _check_repeated(self) -> None:
        """Refuse contradictions within the export."""
        pair = self._staging.comparison.contradiction()
        if pair is None:
            return
        one, other = pair
        if one.id == other.id:
            raise self._used_twice(one.id)
        data_id = data_id_text(self._parts.ref(one).dataId)
        raise self._repeated(data_id, self._parts.groups[one.block][0], one.id, other.id)

    @override
    def associated(self, ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, DatasetRef | None]:
        found: dict[uuid.UUID, DatasetRef | None] = {}
        for chunk in chunk_iterable(ids, _ASSOCIATED_BATCH):
            for dataset in self._staging.tables.datasets(chunk):
                left_out = self._states.size > 0 and self._states[dataset.number] == State.LEFT_OUT
                found[dataset.id] = None if left_out else self._parts.ref(dataset)
        return found

    # Doing

    @override
    def transferables(self) -> Iterator[Transferable]:
        """Return the artifacts that are to be brought; what the datastore is to know of them is noted on the way."""
        return self._artifacts.bring(self._states) if self.stored else iter(())

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
            firsts[dataset.block].append(self._parts.ref(dataset))
        self._staging.insertion.insert(firsts)

    @override
    def insert_artifact_records(self) -> None:
        if self.artifacts_added or self.artifacts_renewed:
            self._staging.insertion.forget_records()
        if self.stored:
            self._staging.insertion.insert_records(self._artifacts.records())

    @override
    def close(self) -> None:
        self._staging.tables.close()
