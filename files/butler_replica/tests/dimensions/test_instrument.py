from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler, DimensionUniverse

from butler_replica.cli import main
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.instruments import instrument_named
from butler_replica.errors import ConflictError, ReplicaError

TABLES = ("instrument", "detector", "physical_filter")


def counts(repository):
    return {table: repository.sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def test_records_equal_those_of_a_real_export(shared_exports):
    export = yaml.load(
        (shared_exports / "ap_verify_testdata.20241001.7d3be4c.yaml").read_text(), Loader=yaml.BaseLoader
    )
    real = {
        item["element"]: item["records"]
        for item in export["data"]
        if item["type"] == "dimension" and item["element"] in TABLES
    }
    ours = {
        element: [{name: str(value) for name, value in record.toDict().items()} for record in records]
        for element, records in instrument_named("LSSTCam-imSim").records(DimensionUniverse()).items()
    }
    assert ours["instrument"] == real["instrument"]
    assert ours["detector"] == real["detector"]
    assert [record for record in real["physical_filter"] if record not in ours["physical_filter"]] == []


@pytest.mark.parametrize(("filters", "names"), [("all", 12), ("2022", 6)])
def test_filters(filters, names):
    records = instrument_named("LSSTCam-imSim").records(DimensionUniverse(), filters=filters)[
        "physical_filter"
    ]
    assert len(records) == names
    assert {(record.name, record.band) for record in records} >= {("u_sim_1.4", "u"), ("y_sim_1.4", "y")}
    assert ("i" in {record.name for record in records}) == (filters == "all")


def test_dry_run_run_and_rerun(repository):
    would = register_instrument(str(repository), dry_run=True)
    assert would.changed
    assert counts(repository) == {"instrument": 0, "detector": 0, "physical_filter": 0}

    done = register_instrument(str(repository))
    assert done.to_dict() == would.to_dict()
    assert counts(repository) == {"instrument": 1, "detector": 189, "physical_filter": 12}
    stock = Butler.from_config(str(repository)).query_dimension_records(
        "detector", instrument="LSSTCam-imSim", detector=188
    )
    assert [record.full_name for record in stock] == ["R43_S22"]

    again = register_instrument(str(repository))
    assert not again.changed
    assert again.diff() == []
    assert again.to_dict()["present"] == {"instrument": 1, "detector": 189, "physical_filter": 12}


def test_filters_that_are_there_stay_and_missing_ones_are_added(repository):
    register_instrument(str(repository), filters="2022")
    assert counts(repository)["physical_filter"] == 6
    assert register_instrument(str(repository)).inserted == {
        "instrument": 0,
        "detector": 0,
        "physical_filter": 6,
    }
    assert not register_instrument(str(repository), filters="2022").changed
    assert counts(repository)["physical_filter"] == 12


def test_another_instrument_of_this_name_is_a_conflict_that_names_the_column(repository):
    (record,) = instrument_named("LSSTCam-imSim").records(DimensionUniverse())["instrument"]
    columns = {**record.toDict(), "visit_max": 42}
    Butler.from_config(str(repository), writeable=True).registry.insertDimensionData("instrument", columns)
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="visit_max is 42 there and 9999999 here"):
            register_instrument(str(repository), dry_run=dry_run)
    assert counts(repository) == {"instrument": 1, "detector": 0, "physical_filter": 0}
    assert repository.sql("SELECT visit_max FROM instrument") == [(42,)]


def test_another_detector_is_a_conflict(repository):
    register_instrument(str(repository))
    repository.sql("UPDATE detector SET purpose = 'GUIDER' WHERE id = 7")
    with pytest.raises(ConflictError, match=r"detector=7 differs: purpose is 'GUIDER' there"):
        register_instrument(str(repository))


def test_unknown_filters(make_repository):
    with pytest.raises(ReplicaError, match="there are: all, 2022"):
        register_instrument(str(make_repository()), filters="2030")


def test_command(make_repository):
    repository = make_repository()
    result = CliRunner().invoke(main, ["instrument", str(repository), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["inserted"]["detector"] == 189
    assert CliRunner().invoke(main, ["instrument", str(repository), "--filters", "1999"]).exit_code == 1


@pytest.mark.parametrize(
    ("name", "class_name", "detectors", "filters"),
    [
        ("LSSTComCam", "lsst.obs.lsst.LsstComCam", 9, 12),
        ("LSSTComCamSim", "lsst.obs.lsst.LsstComCamSim", 9, 12),
        ("LSSTCam-imSim", "lsst.obs.lsst.LsstCamImSim", 189, 12),
    ],
)
def test_each_instrument_is_what_stock_shows(make_repository, name, class_name, detectors, filters):
    repository = make_repository()
    register_instrument(str(repository), name=name)
    butler = Butler.from_config(str(repository))
    (record,) = butler.query_dimension_records("instrument")
    assert (record.name, record.class_name) == (name, class_name)
    assert len(butler.query_dimension_records("detector", instrument=name)) == detectors
    assert len(butler.query_dimension_records("physical_filter", instrument=name)) == filters
    assert not register_instrument(str(repository), name=name).changed


def test_columns_of_comcam(make_repository):
    repository = make_repository()
    register_instrument(str(repository), name="LSSTComCam")
    butler = Butler.from_config(str(repository))
    (record,) = butler.query_dimension_records("instrument")
    assert (record.visit_max, record.exposure_max, record.detector_max, record.visit_system) == (
        6050123199999,
        6050123199999,
        1000,
        2,
    )
    last = butler.query_dimension_records("detector", instrument="LSSTComCam", detector=8)[0]
    assert (last.full_name, last.name_in_raft, last.raft, last.purpose) == (
        "R22_S22",
        "S22",
        "R22",
        "SCIENCE",
    )
    bands = {
        r.name: r.band for r in butler.query_dimension_records("physical_filter", instrument="LSSTComCam")
    }
    assert (bands["empty"], bands["unknown"], bands["y_04"]) == ("white", "unknown", "y")


def test_unknown_instrument(make_repository):
    with pytest.raises(ReplicaError, match="known are: LSSTCam-imSim, LSSTComCam, LSSTComCamSim"):
        register_instrument(str(make_repository()), name="HSC")
