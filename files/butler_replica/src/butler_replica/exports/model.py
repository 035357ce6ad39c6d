"""What an export file says, as plain data.

Nothing here knows a repository. Dimension records are still those of the
universe that the file was written with; `butler_replica.exports.migrate`
turns them into today's.
"""

from __future__ import annotations

__all__ = [
    "Certification",
    "CollectionItem",
    "DatasetBlock",
    "DatasetRecord",
    "DatasetTypeItem",
    "ExportFile",
]

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lsst.daf.butler import CollectionType, Timespan

from .records import DatasetRecord, Records


class DatasetTypeItem(NamedTuple):
    """Definition of a dataset type."""

    name: str
    dimensions: tuple[str, ...]
    storage_class: str
    is_calibration: bool


class CollectionItem(NamedTuple):
    """Definition of a collection."""

    name: str
    type: CollectionType
    doc: str | None
    children: tuple[str, ...]
    """Children in search order; empty unless the collection is CHAINED."""


class Certification(NamedTuple):
    """Datasets of a CALIBRATION collection that share a validity range."""

    timespan: Timespan
    ids: list[uuid.UUID]


@dataclass
class DatasetBlock:
    """Datasets of one dataset type in one run."""

    dataset_type: str
    run: str
    records: Records = field(default_factory=Records)


@dataclass
class ExportFile:
    """The content of one export file."""

    path: Path
    universe_version: int
    universe_namespace: str
    dimensions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Dimension records by element name, as written in the file."""

    collections: dict[str, CollectionItem] = field(default_factory=dict)
    dataset_types: dict[str, DatasetTypeItem] = field(default_factory=dict)
    blocks: list[DatasetBlock] = field(default_factory=list)
    tags: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    """Datasets associated with TAGGED collections, by collection."""

    certifications: dict[str, list[Certification]] = field(default_factory=dict)
    """Validity ranges by CALIBRATION collection."""

    notices: list[str] = field(default_factory=list)
    """What a reader should know of how an old export was read."""

    @property
    def n_datasets(self) -> int:
        """Number of datasets in the file."""
        return sum(block.records.n_datasets for block in self.blocks)

    def associated(self) -> list[uuid.UUID]:
        """Return the datasets of all associations with TAGGED and CALIBRATION collections, one for each association."""
        certified = [one.ids for every in self.certifications.values() for one in every]
        return [one for ids in (*self.tags.values(), *certified) for one in ids]
