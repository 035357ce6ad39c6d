"""The repository that the sample's exports are written from."""

from __future__ import annotations

__all__ = ["SourceDataset", "SourceRepository"]

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import astropy.time
from lsst.daf.butler import Butler, CollectionType, DatasetIdGenEnum, DatasetRef, DatasetType, Timespan

from ..internals import insert_artifact_records, template_path
from .dataset_types import DATASET_TYPES
from .observations import observe, selected_detectors
from .plan import CALIBRATIONS, CHAINS, DOCS, RUNS, TAGGED_RAWS, Certification, n_processed, plan_datasets


class SourceDataset(NamedTuple):
    """A dataset of the source repository."""

    ref: DatasetRef
    path: str
    """Path of the artifact relative to the repository."""

    folders: tuple[str, ...]
    """Folders of the sample that hold the artifact; none if it is missing."""


class SourceRepository:
    """A repository with all datasets of the sample and none of their artifacts.

    It is what the other site's registry and datastore say: formatters and
    paths are recorded without looking at classes or files.

    Parameters
    ----------
    root : `pathlib.Path`
        Folder in which it is made.
    n_exposures, n_detectors : `int`
        Number of exposures, and of detectors that have datasets.
    """

    def __init__(self, root: Path, n_exposures: int, n_detectors: int) -> None:
        Butler.makeRepo(root)
        self.butler = Butler.from_config(root, writeable=True)
        self.datasets: dict[str, list[SourceDataset]] = {}
        """Datasets by the name of their dataset type."""

        universe = self.butler.dimensions
        observations = observe(universe, n_exposures)
        for element, records in observations.records.items():
            self.butler.registry.insertDimensionData(element, *records)
        for name, kind in DATASET_TYPES.items():
            self.butler.registry.registerDatasetType(
                DatasetType(
                    name,
                    universe.conform(kind.dimensions),
                    kind.storage_class,
                    isCalibration=kind.is_calibration,
                )
            )
        for run in RUNS:
            self.butler.collections.register(run, CollectionType.RUN, DOCS.get(run))
        detectors = selected_detectors(n_detectors)
        for block in plan_datasets(universe, observations, detectors):
            refs = self.butler.registry.insertDatasets(
                block.dataset_type,
                [planned.data_id for planned in block.datasets],
                run=block.run,
                idGenerationMode=DatasetIdGenEnum.DATAID_TYPE_RUN,
            )
            self._add(block.dataset_type, refs, [planned.folders for planned in block.datasets])
        self._associate([exposure.id for exposure in observations.exposures[: n_processed(n_exposures)]])

    def _add(self, name: str, refs: Sequence[DatasetRef], folders: Iterable[tuple[str, ...]]) -> None:
        """Record where the old site had the artifacts of new datasets, and remember the datasets."""
        kind = DATASET_TYPES[name]
        added = [
            SourceDataset(ref, template_path(self.butler, ref) + kind.extension, of_ref)
            for ref, of_ref in zip(refs, folders, strict=True)
        ]
        insert_artifact_records(
            self.butler,
            {d.ref.id: (d.path, kind.formatter, kind.storage_class, -1) for d in added},
        )
        self.datasets.setdefault(name, []).extend(added)

    def _associate(self, processed: Sequence[int]) -> None:
        """Make the collections that are not runs."""
        collections, registry = self.butler.collections, self.butler.registry
        for name, certifications in CALIBRATIONS.items():
            collections.register(name, CollectionType.CALIBRATION, DOCS.get(name))
            for certification in certifications:
                refs = [
                    ref for ref in self._refs(certification.dataset_types) if ref.run == certification.run
                ]
                registry.certify(name, refs, _validity(certification))
        collections.register(TAGGED_RAWS, CollectionType.TAGGED, DOCS.get(TAGGED_RAWS))
        registry.associate(
            TAGGED_RAWS, [ref for ref in self._refs(("raw",)) if ref.dataId["exposure"] in processed]
        )
        for name, children in CHAINS.items():
            collections.register(name, CollectionType.CHAINED, DOCS.get(name))
            collections.redefine_chain(name, children)

    def _refs(self, dataset_types: Iterable[str]) -> Iterator[DatasetRef]:
        for name in dataset_types:
            for dataset in self.datasets[name]:
                yield dataset.ref


def _validity(certification: Certification) -> Timespan:
    begin, end = (
        None if date is None else astropy.time.Time(date, scale="tai")
        for date in (certification.begin, certification.end)
    )
    return Timespan(begin, end)
