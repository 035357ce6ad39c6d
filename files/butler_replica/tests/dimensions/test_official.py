"""Comparison with official records; stand-ins for the Science Pipelines hand out what these made for real exports."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner
from lsst.daf.butler import DimensionUniverse

from butler_replica.cli import main
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.official import compare_instrument, compare_skymap, compare_visits
from butler_replica.dimensions.visit_records import visit_records
from butler_replica.errors import ReplicaError
from kit.observations import RAW, add_raws, exposure_record
from kit.real_records import real_records


def stand_in(monkeypatch, module, **content):
    """Make a module importable that has some objects."""
    parts = module.split(".")
    for depth in range(2, len(parts) + 1):
        name = ".".join(parts[:depth])
        package = sys.modules.get(name) or ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    for name, value in content.items():
        monkeypatch.setattr(sys.modules[module], name, value, raising=False)


@pytest.fixture
def repo(make_repository):
    return str(make_repository())


@pytest.fixture
def camera(monkeypatch, shared_exports):
    """LsstCamImSim that registers the records of a real export."""
    export = shared_exports / "ap_verify_testdata.20241001.7d3be4c.yaml"

    class LsstCamImSim:
        def register(self, registry):
            for element in ("instrument", "detector", "physical_filter"):
                registry.insertDimensionData(element, *real_records(export, element))

        def applyConfigOverrides(self, name, config):  # noqa: N802
            assert name == "defineVisits"

    stand_in(monkeypatch, "lsst.obs.lsst", LsstCamImSim=LsstCamImSim)


def test_without_the_pipelines(repo):
    for compare in (compare_instrument, compare_skymap, lambda repo: compare_visits(repo, RAW)):
        with pytest.raises(ReplicaError, match="needs the Science Pipelines: source their loadLSST.bash"):
            compare(repo)
    result = CliRunner().invoke(main, ["instrument", repo, "--compare"])
    assert result.exit_code == 1
    assert "loadLSST.bash" in result.output


def test_instrument(repo, camera):
    comparison = compare_instrument(repo)
    # The export has but one of the physical filters.
    assert comparison.compared == {"instrument": 1, "detector": 189, "physical_filter": 1}
    assert len(comparison.different) == 11
    assert all(
        line.startswith("physical_filter") and line.endswith("not an official record")
        for line in comparison.different
    )
    result = CliRunner().invoke(main, ["instrument", repo, "--compare", "--json"])
    assert json.loads(result.stdout)["compared"]["detector"] == 189
    assert json.loads(result.stdout)["changed"] is False


class _Patch(SimpleNamespace):
    def getIndex(self):  # noqa: N802
        return self.cell_x, self.cell_y

    def getOuterSkyPolygon(self, wcs):  # noqa: N802
        return self.region


class _Tract(SimpleNamespace):
    def __iter__(self):
        return iter(self.patches)

    def getId(self):  # noqa: N802
        return self.id

    def getNumPatches(self):  # noqa: N802
        return (9, 9)

    def getSequentialPatchIndex(self, patch):  # noqa: N802
        return patch.id

    def getOuterSkyPolygon(self):  # noqa: N802
        return self.region

    def getWcs(self):  # noqa: N802
        return None


def test_skymap(repo, monkeypatch, shared_exports):
    export = shared_exports / "jointcal_hsc.20221103.d43ec85.yaml"
    (skymap,), (tract,) = real_records(export, "skymap"), real_records(export, "tract")
    patches = [_Patch(**patch) for patch in real_records(export, "patch")]
    configs = []

    class OfficialRingsSkyMap:
        @staticmethod
        def ConfigClass():  # noqa: N802
            class Config(SimpleNamespace):
                legacy = SimpleNamespace()

                def __setattr__(self, name, value):
                    # As a registry field: setting it chooses, an item is what is chosen.
                    super().__setattr__(name, {value: self.legacy} if name == "tractBuilder" else value)

            configs.append(Config())
            return configs[-1]

        def __init__(self, config):
            self.config = config

        def __len__(self):
            return skymap["tract_max"]

        def __getitem__(self, number):
            return _Tract(id=number, region=tract["region"], patches=patches)

        def getSha1(self):  # noqa: N802
            return skymap["hash"]

    stand_in(monkeypatch, "lsst.skymap.ringsSkyMap", RingsSkyMap=OfficialRingsSkyMap)
    comparison = compare_skymap(repo, tracts=[tract["id"]], name="hsc_rings_v1")
    assert comparison.compared == {"skymap": 1, "tract": 1, "patch": 81}
    assert comparison.different == []
    assert 0 < comparison.max_distance < 1e-6
    assert (configs[0].numRings, configs[0].pixelScale, configs[0].legacy.patchBorder) == (120, 0.168, 100)

    elsewhere = compare_skymap(repo, tracts=[tract["id"] + 1], name="hsc_rings_v1")
    assert len(elsewhere.different) == 82
    assert elsewhere.max_distance > 1e6


def test_visits(make_repository, monkeypatch, camera):
    repository = make_repository()
    register_instrument(str(repository))
    universe = DimensionUniverse()
    add_raws(str(repository), [exposure_record(universe, number) for number in range(3)])

    class DefineVisitsTask:
        _DefaultName = "defineVisits"
        ConfigClass = SimpleNamespace

        def __init__(self, config, butler):
            self.config, self.universe = config, butler.dimensions
            self.groupExposures = self

        def group(self, exposures, instrument):
            return [SimpleNamespace(exposures=[exposure]) for exposure in exposures]

        def _buildVisitRecords(self, definition):  # noqa: N802
            records = visit_records(self.universe, definition.exposures, model="2024")
            (visit,) = records.pop("visit")
            return SimpleNamespace(visit=visit, **records)

    stand_in(monkeypatch, "lsst.obs.base", DefineVisitsTask=DefineVisitsTask)
    same = compare_visits(str(repository), RAW, focal_plane="2024")
    assert same.compared["visit_detector_region"] == 3 * 189
    assert same.different == []
    other = compare_visits(str(repository), RAW)
    assert other.max_distance == pytest.approx(6600, abs=50)
    assert len(other.different) == 3 * 190
    assert repository.sql("SELECT count(*) FROM visit") == [(0,)]
    assert sum(compare_visits(str(repository), RAW, limit=1).compared.values()) == 1 + 1 + 1 + 189
