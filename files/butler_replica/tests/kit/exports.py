"""Artifacts for real exports."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

from butler_replica.exports.reader import read_export


def artifact_paths(export: Path) -> list[str]:
    """Paths of the artifacts of an export, in its order."""
    return [str(record.path) for block in read_export(export).blocks for record in block.records]


def make_artifacts(paths: Iterable[str], folder: Path) -> None:
    """Make a small file for each path; its content is the path."""
    for path in paths:
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def write_raws(
    folder: Path,
    *,
    exposures: int,
    detectors: int = 100,
    first: int = 1000,
    run: str = "Cam/raw/all",
    one_file: bool = False,
) -> Path:
    """Write an export of raws as the butler writes it, with artifacts of a few bytes beside it.

    It has all dimension records that it needs; the exposures are numbered from ``first``. With ``one_file``
    all detectors of an exposure have the same artifact, each in a record of its own.
    """
    day = 20221001
    numbers = range(first, first + exposures)
    name = run.replace("/", "_")
    dimensions = {
        "instrument": [
            "name: Cam\n    visit_max: 9999\n    visit_system: 0\n    exposure_max: 9999\n"
            "    detector_max: 1000\n    class_name: no.such.Cam"
        ],
        "physical_filter": ["instrument: Cam\n    name: r_sim\n    band: r"],
        "detector": [
            f"instrument: Cam\n    id: {detector}\n    full_name: D{detector:03d}\n    purpose: SCIENCE"
            for detector in range(detectors)
        ],
        "day_obs": [f"instrument: Cam\n    id: {day}"],
        "group": [f"instrument: Cam\n    name: '{number}'" for number in numbers],
        "exposure": [
            f"instrument: Cam\n    id: {number}\n    day_obs: {day}\n    group: '{number}'\n"
            f"    physical_filter: r_sim\n    obs_id: MC_{number}\n    exposure_time: 30.0\n"
            "    timespan: !lsst.daf.butler.Timespan\n"
            f"      begin: !butler_time/tai/iso '2022-10-01 {number // 60 % 24:02d}:{number % 60:02d}:00.000000000'\n"
            f"      end: !butler_time/tai/iso '2022-10-01 {number // 60 % 24:02d}:{number % 60:02d}:30.000000000'"
            for number in numbers
        ],
    }
    export = folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    with export.open("w") as out:
        out.write(
            "description: Butler Data Repository Export\nversion: 1.0.2\nuniverse_version: 7\n"
            "universe_namespace: daf_butler\ndata:\n"
        )
        for element, records in dimensions.items():
            out.write(f"- type: dimension\n  element: {element}\n  records:\n")
            out.writelines(f"  - {record}\n" for record in records)
        out.write(
            f"- type: collection\n  collection_type: RUN\n  name: {run}\n  host: null\n"
            "  timespan_begin: null\n  timespan_end: null\n"
            "- type: dataset_type\n  name: raw\n  dimensions:\n  - instrument\n  - detector\n  - exposure\n"
            "  storage_class: Exposure\n  is_calibration: false\n"
            f"- type: dataset\n  dataset_type: raw\n  run: {run}\n  records:\n"
        )
        for number in numbers:
            (folder / name / str(number)).mkdir(parents=True)
            for detector in range(detectors):
                path = f"{name}/{number}/raw_{number}_{detector}.fits"
                dataset_id = uuid.uuid5(uuid.NAMESPACE_URL, path)
                if one_file:
                    path = f"{name}/{number}/raw_{number}.fits"
                if not one_file or detector == 0:
                    (folder / path).write_text(path)
                out.write(
                    f"  - dataset_id:\n    - !uuid '{dataset_id}'\n"
                    f"    data_id:\n    - instrument: Cam\n      detector: {detector}\n      exposure: {number}\n"
                    f"    path: {path}\n    formatter: no.such.RawFormatter\n"
                )
    return export
