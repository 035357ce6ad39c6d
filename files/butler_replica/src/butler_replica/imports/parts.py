"""The datasets of an export in parts of some thousand, and their data IDs column by column."""

from __future__ import annotations

__all__ = ["Block", "Part", "Parts"]

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType, DimensionGroup

from ..dimensions.lookup import data_id_text
from ..exports.model import DatasetBlock, ExportFile
from ..exports.records import RecordChunk
from ..exports.values import data_id_value
from ..internals import StagedDataset, State


class Block(NamedTuple):
    """Datasets of one type and run."""

    number: int
    """Position of type and run among those of the export."""

    block: DatasetBlock
    dimensions: DimensionGroup
    names: tuple[str, ...]
    """Required dimensions."""

    types: tuple[type, ...]
    """Their Python types."""


class Part(NamedTuple):
    """Some thousand datasets of a block."""

    block: Block
    chunk: RecordChunk
    number: int
    """Position of the first of them in the export."""

    in_block: int
    """Artifacts of the block before them."""

    def columns(self) -> list[Sequence[Any]]:
        """Return the values of each required dimension, of the type that it has.

        Returns
        -------
        columns : `list` [ `~collections.abc.Sequence` ]
            In the order of the required dimensions.

        Raises
        ------
        ValueError, TypeError
            Raised if a data ID lacks one, or has a value of the wrong kind.
        """
        keys, values = self.chunk.keys, self.chunk.values
        positions = [keys.index(name) for name in self.block.names]
        return [
            _converted([row[position] for row in values], kind)
            for position, kind in zip(positions, self.block.types, strict=True)
        ]

    def first_bad_data_id(self, error: Exception) -> tuple[int, dict[str, Any], Exception]:
        """Return the first data ID that `columns` cannot take.

        Parameters
        ----------
        error : `Exception`
            What `columns` raised.

        Returns
        -------
        number : `int`
            Number of its record in the block, from 1 on.
        data_id : `dict` [ `str`, `object` ]
            The data ID.
        reason : `Exception`
            What is wrong with it.
        """
        chunk = self.chunk
        for values, artifact in zip(chunk.values, chunk.artifact_of_each(), strict=True):
            data_id = dict(zip(chunk.keys, values, strict=True))
            try:
                self.data_id(data_id)
            except (KeyError, ValueError, TypeError) as reason:
                return self.in_block + artifact + 1, data_id, reason
        return self.in_block + 1, dict(zip(chunk.keys, chunk.values[0], strict=True)), error

    def data_id(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a data ID with the required dimensions alone, each of the type that it has."""
        return {
            name: data_id_value(values[name], kind)
            for name, kind in zip(self.block.names, self.block.types, strict=True)
        }

    def dataset(self, columns: Sequence[Sequence[Any]], n: int) -> StagedDataset:
        """Return one of the datasets as it is staged: `columns` are those of the part."""
        values = tuple(column[n] for column in columns)
        dataset_id = uuid.UUID(bytes=self.chunk.ids[n])
        return StagedDataset(self.number + n, self.block.number, dataset_id, State.NEW, values)


class Parts:
    """The datasets of an export, which can be gone through again and again.

    Parameters
    ----------
    export : `~butler_replica.exports.model.ExportFile`
        The export.
    dataset_types : `~collections.abc.Mapping` [ `str`, `lsst.daf.butler.DatasetType` ]
        Those of its blocks.
    """

    def __init__(self, export: ExportFile, dataset_types: Mapping[str, DatasetType]) -> None:
        self._types = dataset_types
        numbers: dict[tuple[str, str], int] = {}
        self._blocks = [
            self._block(block, numbers.setdefault((block.dataset_type, block.run), len(numbers)))
            for block in export.blocks
        ]
        self.groups = list(numbers)
        """Dataset type and run of each block number."""

    def _block(self, block: DatasetBlock, number: int) -> Block:
        dimensions = self._types[block.dataset_type].dimensions
        of_universe = dimensions.universe.dimensions
        names = tuple(dimensions.required)
        types = tuple(of_universe[name].primaryKey.getPythonType() for name in names)
        return Block(number, block, dimensions, names, types)

    def __iter__(self) -> Iterator[Part]:
        number = 0
        for block in self._blocks:
            in_block = 0
            for chunk in block.block.records.chunks():
                yield Part(block, chunk, number, in_block)
                number += len(chunk.ids)
                in_block += len(chunk.paths)

    def ref(self, dataset: StagedDataset) -> DatasetRef:
        """Return the reference of a dataset."""
        dataset_type, run = self.groups[dataset.block]
        kind = self._types[dataset_type]
        data_id = DataCoordinate.from_required_values(kind.dimensions, dataset.values)
        return DatasetRef(kind, data_id, run, id=dataset.id, conform=False)

    def text(self, dataset: StagedDataset) -> str:
        """Return the dataset type and data ID of a dataset, for a message."""
        return f"{self.groups[dataset.block][0]} {data_id_text(self.ref(dataset).dataId)}"


def _converted(column: list[Any], kind: type) -> list[Any]:
    """Return the values of a dimension, of its type; most often they are that already."""
    if set(map(type, column)) != {kind}:
        column = [value if type(value) is kind else data_id_value(value, kind) for value in column]
    for value in (min(column), max(column)) if kind is int else set(column):
        data_id_value(value, kind)
    return column
