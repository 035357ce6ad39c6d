"""Artifacts of datasets that are inserted set by set: those that were found, and what the datastore is to know."""

from __future__ import annotations

__all__ = ["Placing", "StagedArtifacts", "are_wanted"]

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from lsst.daf.butler import DatasetRef
from numpy.typing import NDArray

from ..artifacts.finder import FoundArtifact
from ..exports.records import Spool
from ..exports.values import check_artifact
from ..internals import StagedDataset, State, TemplatePaths
from .datasets import DatasetContext, Transferable
from .parts import Block, Part, Parts

_WITHOUT_RECORD = (State.NEW, State.REGISTERED)
"""States of datasets whose artifacts the datastore does not know."""


class Placing(NamedTuple):
    """How artifacts are placed and recorded, which both ways of importing share."""

    in_place: Callable[[str], str]
    """Returns what is recorded of an artifact that stays where it is."""

    in_repository: Callable[[str, str, Callable[[], str]], tuple[str, str]]
    """Returns what is recorded of one that is brought, and its path, for a formatted template and a source."""

    default_formatter: Callable[[DatasetRef], str]
    """Returns the formatter of a dataset for which the export names none."""


def are_wanted(part: Part, states: NDArray[np.uint8]) -> list[bool]:
    """Return for each dataset of a part whether its artifact is wanted; nothing where none is."""
    wanted = np.isin(states[part.number : part.number + len(part.chunk.ids)], _WITHOUT_RECORD)
    return wanted.tolist() if wanted.any() else []


class StagedArtifacts:
    """The artifacts that were found for the datasets of an export.

    Parameters
    ----------
    context : `~butler_replica.imports.datasets.DatasetContext`
        What the datasets are planned with.
    parts : `Parts`
        The datasets.
    placing : `Placing`
        How artifacts are placed.
    """

    def __init__(self, context: DatasetContext, parts: Parts, placing: Placing) -> None:
        self._context = context
        self._parts = parts
        self._placing = placing
        self._found = Spool()
        self._places: list[tuple[int, int]] = []
        """Where in the spool the source and size of each artifact are, by part."""

        self._records = Spool()
        self._record_places: list[tuple[int, int]] = []

    def add(self, found: Sequence[FoundArtifact | None]) -> None:
        """Keep what was found for the next part, by artifact; `None` where that was not looked for."""
        kept = [None if one is None else (one.source, one.size) for one in found]
        self._places.append(self._found.write(kept))

    def bring(self, states: NDArray[np.uint8]) -> Iterator[Transferable]:
        """Yield the artifacts that are wanted.

        Parameters
        ----------
        states : `numpy.ndarray`
            State of each dataset.

        Yields
        ------
        artifact : `Transferable`
            An artifact; `records` knows of it afterwards.
        """
        self._records = Spool()
        self._record_places.clear()
        templates: dict[int, TemplatePaths] = {}
        for part, place in zip(self._parts, self._places, strict=True):
            wanted = are_wanted(part, states)
            if wanted:
                block = part.block
                if block.number not in templates:
                    templates[block.number] = self._template(block)
                yield from self._bring_part(part, self._found.read(place), wanted, templates[block.number])

    def records(self) -> Iterator[list[tuple[str, str, str, str, int]]]:
        """Yield what the datastore is to know of the artifacts that `bring` has yielded, some thousand at a time."""
        return (self._records.read(place) for place in self._record_places)

    def _template(self, block: Block) -> TemplatePaths:
        dataset_type = self._context.dataset_types[block.block.dataset_type]
        return TemplatePaths(
            self._context.butler, dataset_type, block.block.run, self._context.records.expand
        )

    def _bring_part(
        self,
        part: Part,
        found: list[tuple[str, int | None] | None],
        wanted: list[bool],
        template: TemplatePaths,
    ) -> Iterator[Transferable]:
        chunk = part.chunk
        storage_class = self._context.dataset_types[part.block.block.dataset_type].storageClass_name
        columns = part.columns()
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
                recorded, target = self._place(part, columns, first, source, template)
                formatter = chunk.formatters[artifact] or self._placing.default_formatter(
                    self._parts.ref(part.dataset(columns, n))
                )
                check_artifact(self._context.export.path, recorded, formatter)
                yield Transferable(target, source, size)
            records.append((chunk.ids[n].hex(), recorded, formatter, storage_class, size))
        if records:
            self._record_places.append(self._records.write(records))

    def _place(
        self, part: Part, columns: Sequence[Sequence[Any]], n: int, source: str, template: TemplatePaths
    ) -> tuple[str, str]:
        """Return what is recorded of the artifact of a dataset, and its path."""
        if self._context.options.transfer in ("direct", "none"):
            return self._placing.in_place(source), source
        formatted = template.path(tuple([column[n] for column in columns]), part.chunk.ids[n])
        return self._placing.in_repository(formatted, source, functools.partial(self._name, part, columns, n))

    def _name(self, part: Part, columns: Sequence[Sequence[Any]], n: int) -> str:
        dataset: StagedDataset = part.dataset(columns, n)
        return f"{self._parts.text(dataset)} in run {self._parts.groups[dataset.block][1]}"
