"""The sample's export files, written by the butler's own exporter."""

from __future__ import annotations

__all__ = ["FOREIGN_ROOT", "PlannedExport", "plan_exports", "write_export"]

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from lsst.daf.butler import FileDataset
from lsst.utils.iteration import chunk_iterable

from .plan import BACKUP, CALIBRATIONS, CHAINS, DP02_RAWS, RUNS, TAGGED_RAWS
from .source import SourceDataset, SourceRepository

FOREIGN_ROOT = "/projects/HSC/repo/dc2/"
"""Where the other site has the artifacts."""

_REPLICA_BACKUP = f"/repo/{BACKUP}/"
_CURATED = ("bfk", "camera")
_WITHOUT_COLLECTIONS = (
    "flat",
    "dark",
    "bias",
    "calexp",
    "goodSeeingDiff_templateExp",
    "goodSeeingDiff_differenceExp",
    "goodSeeingDiff_diaSrcTable",
)
_ALL_COLLECTIONS = (*RUNS, *CALIBRATIONS, TAGGED_RAWS, *CHAINS)
_CALIBRATION_EXPORTS = "usdf_export_calib"
_CALIBRATION_CHAINS = ("2.2i/calib", "2.2i/defaults")
_CHUNK = 10_000
"""Largest number of datasets of a file."""

_LEAST_RAW_CHUNKS = 3


class PlannedExport(NamedTuple):
    """An export file and what goes into it."""

    path: Path
    """Relative to the sample's folder."""

    datasets: Sequence[SourceDataset]
    collections: tuple[str, ...] = ()
    """Collections beside the runs of the datasets."""

    prefix: str = FOREIGN_ROOT
    """What the artifacts' paths begin with."""


def plan_exports(source: SourceRepository) -> Iterator[PlannedExport]:
    """Plan all export files of the sample.

    Parameters
    ----------
    source : `SourceRepository`
        The repository.

    Yields
    ------
    planned : `PlannedExport`
        One file.
    """
    raws = source.datasets["raw"]
    chunk = min(_CHUNK, -(-len(raws) // _LEAST_RAW_CHUNKS))
    for number, datasets in enumerate(chunk_iterable(raws, chunk)):
        # The other site names its raws absolutely in some chunks only.
        prefix = FOREIGN_ROOT if number % 2 == 0 else ""
        yield PlannedExport(Path("raw", f"_export_{number:03}.yaml"), datasets, prefix=prefix)
    for name in _CURATED:
        certified = [c for c, items in CALIBRATIONS.items() if any(name in i.dataset_types for i in items)]
        yield from _chunks(source, name, _CALIBRATION_EXPORTS, (*certified, *_CALIBRATION_CHAINS))
    for name in source.datasets:
        yield from _chunks(source, name, "usdf_export_full_latest", _ALL_COLLECTIONS)
    for name in _WITHOUT_COLLECTIONS:
        yield from _chunks(source, name, "usdf_export")
    with_artifacts = [dataset for dataset in raws if DP02_RAWS in dataset.folders]
    yield PlannedExport(Path(DP02_RAWS, "export_raw.yaml"), with_artifacts, prefix="")


def _chunks(
    source: SourceRepository, name: str, folder: str, collections: tuple[str, ...] = ()
) -> Iterator[PlannedExport]:
    """Export a dataset type into a folder of its own."""
    for number, datasets in enumerate(chunk_iterable(source.datasets[name], _CHUNK)):
        yield PlannedExport(Path(folder, name, f"_export_{number:03}.yaml"), datasets, collections)


def write_export(source: SourceRepository, directory: Path, planned: PlannedExport) -> None:
    """Write an export file, and what lies beside it.

    Parameters
    ----------
    source : `SourceRepository`
        The repository.
    directory : `pathlib.Path`
        Folder of the sample.
    planned : `PlannedExport`
        The file.
    """

    def relocate(dataset: FileDataset) -> FileDataset:
        return FileDataset(f"{planned.prefix}{dataset.path}", dataset.refs, formatter=dataset.formatter)

    path = directory / planned.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.butler.export(filename=str(path), format="yaml") as export:
        for collection in planned.collections:
            export.saveCollection(collection)
        export.saveDatasets([dataset.ref for dataset in planned.datasets], rewrite=relocate)
    if planned.path.parts[0] == _CALIBRATION_EXPORTS:
        _write_modified(path)
        files = "".join(f"{planned.prefix}{dataset.path}\n" for dataset in planned.datasets)
        path.with_name("_files.txt").write_text(files)


def _write_modified(path: Path) -> None:
    """Write what somebody made of an export by hand: other paths, no chains."""
    # The butler registers its tags with PyYAML's own safe loader and dumper.
    content = yaml.safe_load(path.read_text().replace(FOREIGN_ROOT, _REPLICA_BACKUP))
    content["data"] = [item for item in content["data"] if item.get("collection_type") != "CHAINED"]
    with path.with_name(f"{path.name}.mod").open("w") as stream:
        yaml.dump(content, stream, sort_keys=False)
