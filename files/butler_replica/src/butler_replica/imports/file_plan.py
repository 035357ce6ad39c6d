"""What importing one export file changes: facts, which are known before anything is done."""

from __future__ import annotations

__all__ = ["Associations", "Definitions", "FilePlan"]

from dataclasses import dataclass, field
from pathlib import Path

from lsst.daf.butler import DatasetRef, DatasetType, DimensionRecord, Timespan

from ..exports.model import CollectionItem
from .datasets import DatasetFacts


@dataclass(frozen=True)
class Definitions:
    """Dataset types and collections that an export brings."""

    dataset_types: list[DatasetType] = field(default_factory=list)
    """New ones."""

    collections: list[CollectionItem] = field(default_factory=list)
    """New ones, chains aside."""

    docs: dict[str, str] = field(default_factory=dict)
    """Documentation for collections, chains aside, that have none."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Children that the export gives to each chain."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to register, chains aside."""
        return bool(self.dataset_types or self.collections or self.docs)


@dataclass(frozen=True)
class Associations:
    """Associations of datasets with collections that an export brings."""

    tags: dict[str, list[DatasetRef]] = field(default_factory=dict)
    """New ones by TAGGED collection."""

    certifications: dict[str, list[tuple[Timespan, list[DatasetRef]]]] = field(default_factory=dict)
    """New ones by CALIBRATION collection."""

    n_dropped: int = 0
    """Associations of datasets that are left out."""

    @property
    def count(self) -> int:
        """Number of new associations."""
        certified = [refs for groups in self.certifications.values() for _, refs in groups]
        return sum(map(len, (*self.tags.values(), *certified)))


@dataclass(frozen=True)
class FilePlan:
    """What importing one export file changes."""

    export: Path
    found: int
    """Datasets in the export."""

    dimension_records: dict[str, list[DimensionRecord]]
    """New ones by element, in the order in which they can be inserted."""

    definitions: Definitions
    datasets: DatasetFacts
    associations: Associations
    notices: list[str]
    """What a reader should know."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to do, chains aside."""
        return bool(
            self.dimension_records
            or self.definitions.changed
            or self.datasets.changed
            or self.associations.count
        )
