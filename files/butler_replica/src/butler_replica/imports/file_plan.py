"""What importing one export file changes."""

from __future__ import annotations

__all__ = ["FilePlan"]

from dataclasses import dataclass, field
from pathlib import Path

from lsst.daf.butler import DatasetRef, DatasetType, DimensionRecord, Timespan

from ..exports.model import CollectionItem
from .datasets import PlannedDatasets


@dataclass
class FilePlan:
    """What importing one export file changes."""

    export: Path
    found: int
    """Datasets in the export."""

    datasets: PlannedDatasets = field(init=False)
    dimension_records: dict[str, list[DimensionRecord]] = field(default_factory=dict)
    dataset_types: list[DatasetType] = field(default_factory=list)
    collections: list[CollectionItem] = field(default_factory=list)
    docs: dict[str, str] = field(default_factory=dict)
    """Documentation for collections, chains aside, that have none."""

    tags: dict[str, list[DatasetRef]] = field(default_factory=dict)
    certifications: dict[str, list[tuple[Timespan, list[DatasetRef]]]] = field(default_factory=dict)
    associations_dropped: int = 0
    """Associations of datasets that were left out."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Children that the export gives to each chain."""

    notices: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether there is anything to do, chains aside."""
        return any(
            (
                self.dimension_records,
                self.dataset_types,
                self.collections,
                self.docs,
                self.datasets.changed,
                self.tags,
                self.certifications,
            )
        )
