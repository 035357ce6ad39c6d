"""Exports of 2020, with calibration labels: what they become, asked of the stock butler and of SQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.time
import pytest
import yaml
from lsst.daf.butler import Butler, CollectionType, Timespan

from butler_replica.errors import ExportError
from butler_replica.imports.importer import import_exports
from kit.exports import artifact_paths
from kit.repositories import Repository
from kit.sameness import assert_same, registry_tables
from kit.stock import stock_import

pytestmark = pytest.mark.filterwarnings("ignore:ERFA function")

LABELLED = "ap_verify_testdata.20200924.248767b.yaml"
FOLLOWING = "ap_verify_testdata.20201001.e02bdec.yaml"
"""The same data, exported again after labels had gone."""


def make_artifacts(export: Path, folder: Path) -> Path:
    for path in artifact_paths(export):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("the same in both")
    return folder


@pytest.mark.slow
def test_equal_to_the_export_that_followed(
    make_repository: Callable[..., Repository], backend: str, shared_exports: Path, tmp_path: Path
) -> None:
    """The stock importer makes of the newer export what is made here of the older one."""
    following = shared_exports / FOLLOWING
    labelled = tmp_path / "labelled.yaml"
    # Between the two the class was renamed, and the newer one has two runs more.
    labelled.write_text(
        (shared_exports / LABELLED).read_text().replace("lsst.LsstImSim", "lsst.LsstCamImSim")
    )
    ours, stock = make_repository(backend), make_repository(backend)
    artifacts = make_artifacts(labelled, tmp_path / "labelled")
    options: dict[str, Any] = {"artifacts": artifacts, "transfer": "copy"}
    options["runs"] = ["skymaps", "templates/deep"]
    result = import_exports(ours, [labelled], **options)
    stock_import(stock.root, following, make_artifacts(following, tmp_path / "following"), "copy")
    assert_same(ours, stock)
    assert "LSSTCam-imSim/calib" in str(result.to_dict())
    rows = registry_tables(ours)
    assert not import_exports(ours, [labelled], **options).changed
    assert registry_tables(ours) == rows


class Labelled:
    """An export of July 2020, put together from datasets with labels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._labels: dict[str, dict[str, Any]] = {}
        self._items: list[dict[str, Any]] = []
        self._count = 0

    def add(
        self,
        kind: str,
        data_id: dict[str, Any],
        label: tuple[str, str, str] | None = None,
        run: str = "Cam/calib",
    ) -> None:
        dimensions = ["instrument", *data_id]
        data_id = {"instrument": "Cam", **data_id}
        if "abstract_filter" not in data_id and "physical_filter" in data_id:
            dimensions.append("abstract_filter")
        if label:
            name, begin, end = label
            self._labels[name] = {
                "instrument": "Cam",
                "name": name,
                "datetime_begin": astropy.time.Time(begin, scale="tai").utc.to_datetime(),
                "datetime_end": astropy.time.Time(end, scale="tai").utc.to_datetime(),
            }
            dimensions.append("calibration_label")
            data_id["calibration_label"] = name
        self._count += 1
        record = {"dataset_id": [self._count], "data_id": [data_id], "path": f"{self._count}.fits"}
        storage_class = "StructuredDataDict"
        self._items += [
            {"type": "dataset_type", "name": kind, "dimensions": dimensions, "storage_class": storage_class},
            {"type": "run", "name": run},
            {"type": "dataset", "dataset_type": kind, "run": run, "records": [record]},
        ]

    def write(self, *, labels: bool = True) -> Path:
        dimensions = {
            "instrument": [
                {
                    "name": "Cam",
                    "visit_max": 9,
                    "exposure_max": 9,
                    "detector_max": 9,
                    "class_name": "nowhere.Cam",
                }
            ],
            "calibration_label": list(self._labels.values()) if labels else [],
            "detector": [{"instrument": "Cam", "id": 1, "full_name": "one", "purpose": "SCIENCE"}],
            "physical_filter": [{"instrument": "Cam", "name": "Cam-g", "abstract_filter": "g"}],
        }
        data = [{"type": "dimension", "element": e, "records": rows} for e, rows in dimensions.items()]
        document = {"description": "Butler Data Repository Export", "version": 0, "data": data + self._items}
        self.path.write_text(yaml.safe_dump(document, sort_keys=False))
        return self.path


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path / "labelled.yaml")


def certified(repository: Repository, kind: str, collection: str) -> dict[str, Timespan | None]:
    """Runs of the datasets that a CALIBRATION collection has, and when they are valid, as the stock butler says."""
    butler = Butler.from_config(repository.root)
    found = butler.registry.queryDatasetAssociations(
        kind, collections=[collection], collectionTypes={CollectionType.CALIBRATION}
    )
    return {association.ref.run: association.timespan for association in found}


def collections(repository: Repository) -> dict[str, str]:
    butler = Butler.from_config(repository.root)
    return {info.name: info.type.name for info in butler.collections.query_info("*")}


def span(begin: str | None, end: str | None) -> Timespan:
    return Timespan(
        *(None if text is None else astropy.time.Time(text, scale="tai") for text in (begin, end))
    )


DETECTOR = {"detector": 1}


def test_runs_are_told_apart_by_labels(labelled: Labelled, repository: Repository) -> None:
    """What is found at a time is one dataset, and it is the right one, for every label known of 2020."""
    labelled.add("bias", DETECTOR, ("gen2/bias_2015-02-18_001", "1987-10-04", "2015-03-03"))
    labelled.add("bias", DETECTOR, ("gen2/bias_2015-03-13_001", "2015-03-02", "2042-07-29"))
    labelled.add("defects", DETECTOR, ("defects/1970-01-01T00:00:00/1", "1970-01-01", "2013-01-15T01:30"))
    labelled.add("defects", DETECTOR, ("defects/2013-01-15T01:30:00/1", "2013-01-15T01:30", "2100-01-01"))
    labelled.add("flat", {"physical_filter": "Cam-g"}, ("mine", "2020-01-01", "2020-02-01"))
    labelled.add("atmosphere", {})
    labelled.add("refcat", {"htm7": 200_000}, run="refcats")
    result = import_exports(repository, [labelled.write()], missing="register").to_dict()

    assert certified(repository, "bias", "Cam/calib") == {
        # Its last day was counted in: it ends where the next begins.
        "Cam/calib/gen2/2015-02-18": span("1987-10-04", "2015-03-02"),
        "Cam/calib/gen2/2015-03-13": span("2015-03-02", "2042-07-29"),
    }
    assert "1 validity ranges of bias" in str(result)
    assert certified(repository, "defects", "Cam/calib") == {
        "Cam/calib/curated/1970-01-01T00:00:00": span(None, "2013-01-15T01:30"),
        "Cam/calib/curated/2013-01-15T01:30:00": span("2013-01-15T01:30", None),
    }
    assert certified(repository, "flat", "Cam/calib") == {"Cam/calib/mine": span("2020-01-01", "2020-02-01")}
    assert certified(repository, "atmosphere", "Cam/calib") == {"Cam/calib/unbounded": span(None, None)}
    assert collections(repository)["Cam/calib"] == "CALIBRATION"
    assert collections(repository)["refcats"] == "RUN"
    kinds = Butler.from_config(repository.root).registry
    assert kinds.getDatasetType("flat").dimensions.required == {"instrument", "physical_filter"}
    assert kinds.getDatasetType("flat").isCalibration()
    assert not kinds.getDatasetType("refcat").isCalibration()
    butler = Butler.from_config(repository.root, collections="Cam/calib")
    for time, run in (("2015-03-01", "2015-02-18"), ("2015-03-02T12:00", "2015-03-13")):
        at = astropy.time.Time(time, scale="tai")
        ref = butler.find_dataset(
            "bias",
            instrument="Cam",
            detector=1,
            timespan=Timespan(at, at + astropy.time.TimeDelta(60.0, format="sec")),
        )
        assert ref is not None
        assert ref.run == f"Cam/calib/gen2/{run}"


def test_labels_that_overlap(labelled: Labelled, repository: Repository) -> None:
    """Both datasets are kept, each in a run; the curated one is certified, and the other is told of."""
    labelled.add("defects", DETECTOR, ("gen2/defects_2014-01-17_001", "2014-01-16", "2014-10-19"))
    labelled.add("defects", DETECTOR, ("defects/2014-01-17/1", "2014-01-17", "2014-10-20"))
    labelled.add("defects", DETECTOR, ("defects/2014-01-17/copy", "2015-01-17", "2015-10-20"))
    result = import_exports(repository, [labelled.write()], missing="register").to_dict()
    assert certified(repository, "defects", "Cam/calib") == {
        "Cam/calib/curated/2014-01-17": span("2014-01-17", "2014-10-20"),
        # The same date, so the same run by rule, which has one for this data ID already.
        "Cam/calib/defects/2014-01-17/copy": span("2015-01-17", "2015-10-20"),
    }
    assert repository.sql("SELECT count(*) FROM dataset") == [(3,)]
    assert "1 datasets of defects are in their runs but not in Cam/calib" in str(result)


def test_run_with_other_products(labelled: Labelled, repository: Repository) -> None:
    """A run in which calibrations were made stays a run; the collection stands beside it."""
    labelled.add("bias", DETECTOR, ("bias/1", "2020-01-01", "2020-02-01"), run="u/me")
    labelled.add("bias_log", {"htm7": 200_000}, run="u/me")
    import_exports(repository, [labelled.write()], missing="register")
    assert collections(repository) == {
        "u/me": "RUN",
        "u/me/calib": "CALIBRATION",
        "u/me/calib/bias/1": "RUN",
    }
    assert certified(repository, "bias", "u/me/calib") == {
        "u/me/calib/bias/1": span("2020-01-01", "2020-02-01")
    }


def test_components_beside_their_composites(labelled: Labelled, repository: Repository) -> None:
    labelled.add("bias", DETECTOR, ("bias/1", "2020-01-01", "2020-02-01"))
    labelled.add("bias.wcs", DETECTOR, ("bias/1", "2020-01-01", "2020-02-01"))
    result = import_exports(repository, [labelled.write()], missing="register").to_dict()
    assert repository.sql("SELECT name FROM dataset_type") == [("bias",)]
    assert "bias.wcs" in str(result)


def test_label_without_a_record(labelled: Labelled, repository: Repository) -> None:
    labelled.add("bias", DETECTOR, ("bias/1", "2020-01-01", "2020-02-01"))
    before = registry_tables(repository)
    with pytest.raises(ExportError, match="bias record 1.*no record of its calibration label"):
        import_exports(repository, [labelled.write(labels=False)], missing="register")
    assert registry_tables(repository) == before
