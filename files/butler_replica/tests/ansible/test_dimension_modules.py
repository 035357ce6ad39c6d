"""The modules for instrument, skymap and visits: check mode, run, rerun, and what they refuse."""

from __future__ import annotations

import pytest
from lsst.daf.butler import DimensionUniverse

from kit.observations import RAW, add_raws, exposure_record

pytest.importorskip("ansible.module_utils.testing")

from kit.modules import check_run_rerun, run_module

pytestmark = pytest.mark.slow


def test_modules(make_repository):
    repository = make_repository()
    repo = str(repository)

    def look(*tables):
        return lambda: [repository.sql(f"SELECT count(*) FROM {table}") for table in tables]

    done = check_run_rerun("butler_instrument", look("instrument", "detector"), repo=repo, filters="2022")
    assert done["inserted"] == {"instrument": 1, "detector": 189, "physical_filter": 6}

    tracts = ["3828", "4000-4001"]
    done = check_run_rerun("butler_skymap", look("tract", "patch"), repo=repo, tracts=tracts)
    assert done["inserted"] == {"skymap": 1, "tract": 3, "patch": 147}
    assert done["hash"] == "1e5fa85fe242606426528f5f7b8dbf01cbaaff9e"

    exposures = [exposure_record(DimensionUniverse(), number) for number in range(3)]
    add_raws(repo, [*exposures, exposure_record(DimensionUniverse(), 3, sky_angle=None)])
    done = check_run_rerun("butler_visits", look("visit"), repo=repo, collections=[RAW])
    assert done["exposures"] == {"found": 4, "skipped": 1}
    assert done["inserted"]["visit_detector_region"] == 567

    repository.sql("UPDATE instrument SET class_name = 'other'")
    failed = run_module("butler_instrument", check=True, repo=repo)
    assert failed["failed"]
    assert failed["error_type"] == "ConflictError"
    assert "class_name is 'other' there" in failed["msg"]
    failed = run_module("butler_skymap", repo=repo, tracts=["x"])
    assert "is no list of tracts" in failed["msg"]
