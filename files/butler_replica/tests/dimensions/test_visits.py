from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.wcs import WCS
from click.testing import CliRunner
from lsst.daf.butler import Butler, DimensionUniverse
from lsst.sphgeom import LonLat, UnitVector3d

from butler_replica.cli import main
from butler_replica.dimensions.focal_plane import focal_plane
from butler_replica.dimensions.geometry import ARCSEC, MILLIARCSEC, polygon, region_distance, vertices
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.skymap import register_skymap
from butler_replica.dimensions.skymap_records import patch_records
from butler_replica.dimensions.skymaps import skymap_named
from butler_replica.dimensions.visit_records import is_visit, visit_records
from butler_replica.dimensions.visits import define_visits
from butler_replica.errors import ReplicaError, RepositoryError
from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.observations import POINTINGS, RAW, add_raws, exposure_record
from kit.sameness import registry_tables

DC2_SKYMAP = skymap_named("DC2")

UNIVERSE = DimensionUniverse()
TABLES = ("visit_system", "visit", "visit_definition", "visit_system_membership", "visit_detector_region")
S11 = 4  # detector within its raft
CENTRAL = 94  # R22_S11: raft and sensor offset are 0


def counts(repository):
    return {table: repository.sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


@pytest.fixture
def observed(repository):
    """Repository with the instrument and four exposures, of which one cannot be a visit."""
    register_instrument(str(repository))
    exposures = [exposure_record(UNIVERSE, number) for number in range(3)]
    add_raws(str(repository), [*exposures, exposure_record(UNIVERSE, 3, can_see_sky=False)])
    return repository


def millimetres_of_corners(offset_x, offset_y):
    """Padded corners of a detector on the focal plane, by hand: 0.01 mm pixels, reference (2036.5, 2000.5)."""
    left, right = (-250.5 - 2036.5) * 0.01, (4071.5 + 250 - 2036.5) * 0.01
    bottom, top = (-250.5 - 2000.5) * 0.01, (3999.5 + 250 - 2000.5) * 0.01
    x = np.array([left, right, right, left]) + offset_x
    y = np.array([bottom, bottom, top, top]) + offset_y
    return x, y


@pytest.mark.parametrize("number", range(len(POINTINGS)))
@pytest.mark.parametrize(
    ("detector", "offset"),
    [
        (CENTRAL, (0.0, 0.0)),
        (0, (-127.6 - 42.37, -253.8 - 42.19)),  # R01_S00
        (188, (127.6 + 42.36, 253.9 + 42.20)),  # R43_S22
        (27 + S11, (-254.4, -126.6)),  # R10_S11
    ],
)
def test_detector_regions_are_those_of_an_independent_projection(number, detector, offset):
    ra, dec, angle = POINTINGS[number]
    x, y = millimetres_of_corners(*offset)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [1, 1]  # millimetres count from 0
    wcs.wcs.cdelt = [20 / 3600, 20 / 3600]  # 20 arcsec per mm
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.pc = [[-cos, sin], [sin, cos]]
    lon, lat = wcs.all_pix2world(x, y, 0)
    expected = polygon(
        np.array([list(UnitVector3d(LonLat.fromDegrees(a, b))) for a, b in zip(lon, lat, strict=True)])
    )
    records = visit_records(UNIVERSE, [exposure_record(UNIVERSE, number)])["visit_detector_region"]
    assert records[detector].detector == detector
    assert region_distance(records[detector].region, expected) < 1e-5 * MILLIARCSEC


def test_central_detector_looks_along_the_boresight():
    ra, dec, _ = POINTINGS[0]
    records = visit_records(UNIVERSE, [exposure_record(UNIVERSE, 0)])
    region = records["visit_detector_region"][CENTRAL].region
    boresight = UnitVector3d(LonLat.fromDegrees(ra, dec))
    # The reference pixel is one pixel from the middle of the box in x and in y.
    assert region.getCentroid().dot(boresight) > np.cos(1.5 * 0.2 * ARCSEC * 1.5)
    corners = vertices(region)
    sides = sorted(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1) / ARCSEC / 0.2)
    assert sides == pytest.approx([4500, 4500, 4572, 4572], rel=1e-4)


def test_visit_contains_its_detectors_and_is_convex():
    records = visit_records(UNIVERSE, [exposure_record(UNIVERSE, number) for number in range(4)])
    assert [len(records[name]) for name in TABLES[1:]] == [4, 4, 4, 4 * 189]
    by_visit = {record.id: record.region for record in records["visit"]}
    for region in by_visit.values():
        outline = vertices(region)
        following, second = np.roll(outline, -1, axis=0), np.roll(outline, -2, axis=0)
        assert (np.einsum("ij,ij->i", np.cross(outline, following), second) > 0).all()
    for record in records["visit_detector_region"]:
        assert len(vertices(record.region)) == 4
        shrunk = polygon(
            vertices(record.region) * 0.999 + 0.001 * np.array(list(record.region.getCentroid()))
        )
        assert shrunk.isWithin(by_visit[record.visit])


def test_focal_planes_differ_by_what_is_known():
    nominal, later = focal_plane("LSSTCam-imSim", "nominal"), focal_plane("LSSTCam-imSim", "2024")
    distance = np.linalg.norm(nominal.corners - later.corners, axis=-1) / ARCSEC
    assert distance.max() == pytest.approx(6.6, abs=0.05)


def test_columns_of_a_visit():
    exposure = exposure_record(UNIVERSE, 2)
    records = visit_records(UNIVERSE, [exposure], visit_system="one-to-one-and-by-counter")
    (visit,) = records["visit"]
    columns = visit.toDict()
    columns.pop("region")
    assert columns == {
        "instrument": "LSSTCam-imSim",
        "id": 2,
        "name": "obs_2",
        "physical_filter": "r_sim_1.4",
        "day_obs": 20221001,
        "seq_num": 2,
        "exposure_time": 30.0,
        "target_name": "field",
        "observation_reason": "wfd",
        "science_program": "DC2",
        "azimuth": 123.5,
        "zenith_angle": 31.25,
        "timespan": exposure.timespan,
    }
    assert [record.toDict() for record in records["visit_definition"]] == [
        {"instrument": "LSSTCam-imSim", "exposure": 2, "visit": 2}
    ]
    assert [record.visit_system for record in records["visit_system_membership"]] == [0, 2]
    old = visit_records(UNIVERSE, [exposure], visit_system="by-group-metadata")
    assert [record.visit_system for record in old["visit_system_membership"]] == [1]


@pytest.mark.parametrize(
    ("columns", "can_be"),
    [
        ({}, True),
        ({"can_see_sky": None}, True),
        ({"can_see_sky": False}, False),
        ({"tracking_ra": None}, False),
        ({"tracking_dec": None}, False),
        ({"sky_angle": None}, False),
        ({"sky_angle": 0.0, "tracking_ra": 0.0}, True),
    ],
)
def test_exposures_that_can_be_visits(columns, can_be):
    exposure = exposure_record(UNIVERSE, 0, **columns)
    assert is_visit(exposure) == can_be
    assert len(visit_records(UNIVERSE, [exposure])["visit"]) == can_be


def test_dry_run_run_and_rerun(observed):
    repo = str(observed)
    would = define_visits(repo, RAW, dry_run=True)
    expected = {
        "visit_system": 1,
        "visit": 3,
        "visit_definition": 3,
        "visit_system_membership": 3,
        "visit_detector_region": 567,
    }
    assert would.inserted == expected
    assert (would.exposures, would.skipped) == (4, 1)
    assert counts(observed) == dict.fromkeys(TABLES, 0)
    steps = []
    done = define_visits(repo, [RAW], progress=steps.append)
    assert done.to_dict() == would.to_dict()
    assert [(step.done, step.total) for step in steps] == [(3, 3)]
    assert counts(observed) == expected
    again = define_visits(repo, RAW)
    assert not again.changed
    assert again.present == expected
    assert again.different == {}
    more = define_visits(repo, RAW, visit_system="one-to-one-and-by-counter")
    assert {name for name, number in more.inserted.items() if number} == {
        "visit_system",
        "visit_system_membership",
    }
    assert observed.sql("SELECT name FROM visit_system ORDER BY id") == [
        ("one-to-one",),
        ("by-seq-start-end",),
    ]


def test_visits_that_are_there_are_kept_completed_and_compared(observed):
    butler = Butler.from_config(str(observed), writeable=True)
    insert = butler.registry.insertDimensionData
    insert("visit_system", {"instrument": "LSSTCam-imSim", "id": 0, "name": "one-to-one"})
    ours = visit_records(butler.dimensions, [exposure_record(UNIVERSE, number) for number in range(2)])

    def moved(record, milliarcsec, **other):
        region = polygon(vertices(record.region) + np.array([0, 0, milliarcsec * MILLIARCSEC]))
        return {**record.toDict(), "region": region, **other}

    insert("visit", moved(ours["visit"][0], 0.5), moved(ours["visit"][1], 10.0, zenith_angle=31.5))
    insert("visit_detector_region", *(moved(record, 0.5) for record in ours["visit_detector_region"][:7]))
    insert(
        "visit_detector_region", *(moved(record, 10.0) for record in ours["visit_detector_region"][189:192])
    )
    before = observed.sql("SELECT * FROM visit ORDER BY id")

    for dry_run in (True, False):
        result = define_visits(str(observed), RAW, dry_run=dry_run)
        assert result.present["visit"] == 2
        assert result.inserted["visit"] == 1
        assert result.present["visit_detector_region"] == 10
        assert result.inserted["visit_detector_region"] == 557
        assert list(result.different) == [1]
        columns, region, detectors = result.different[1]
        assert columns == "zenith_angle is 31.5, not 31.25"
        assert region.startswith("region by up to ")
        assert detectors.startswith("3 detector regions by up to ")
        assert 5 < float(region.split()[-2]) < 10.1
    assert observed.sql("SELECT * FROM visit WHERE id < 2 ORDER BY id") == before
    assert counts(observed)["visit_detector_region"] == 567
    assert not define_visits(str(observed), RAW).changed


def test_spatial_joins_of_the_stock_butler_equal_sphgeom(observed):
    tracts = DC2_SKYMAP.tracts_touching([(54.0, -38.5), (64.5, -38.5), (64.5, -28.0), (54.0, -28.0)])
    register_skymap(str(observed), tracts=tracts)
    define_visits(str(observed), RAW)
    with Butler.from_config(str(observed)).query() as query:
        joined = query.data_ids(["visit", "detector", "tract", "patch"]).where(
            instrument="LSSTCam-imSim", skymap="DC2", visit=0, detector=CENTRAL
        )
        by_detector = {(row["tract"], row["patch"]) for row in joined}
        joined = query.data_ids(["visit", "tract", "patch"]).where(
            instrument="LSSTCam-imSim", skymap="DC2", visit=0
        )
        by_visit = {(row["tract"], row["patch"]) for row in joined}
    records = visit_records(UNIVERSE, [exposure_record(UNIVERSE, 0)])
    patches = list(patch_records(DC2_SKYMAP, UNIVERSE, tracts))

    def overlapping(region):
        return {(patch.tract, patch.id) for patch in patches if patch.region.intersects(region)}

    assert len(by_visit) > 200
    assert by_visit == overlapping(records["visit"][0].region)
    assert by_detector == overlapping(records["visit_detector_region"][CENTRAL].region) != set()


def test_without_raws(repository):
    with pytest.raises(RepositoryError, match="no raw data to define visits for"):
        define_visits(str(repository), RAW)
    assert not define_visits(str(repository), RAW, dry_run=True).inserted["visit"]


def test_without_all_detectors(make_repository):
    repository = make_repository()
    register_instrument(str(repository))
    add_raws(str(repository), [exposure_record(UNIVERSE, 0)])
    repository.sql("DELETE FROM detector WHERE id = 5")
    with pytest.raises(RepositoryError, match="188 of its 189 detectors"):
        define_visits(str(repository), RAW)
    assert counts(repository) == dict.fromkeys(TABLES, 0)


def test_unknown_choices(make_repository):
    repository = make_repository()
    with pytest.raises(ReplicaError, match="no visit system 'none'"):
        define_visits(str(repository), RAW, visit_system="none")
    with pytest.raises(ReplicaError, match="no focal plane '2025'"):
        define_visits(str(repository), RAW, focal_plane="2025")


def test_command(make_repository):
    repository = make_repository()
    register_instrument(str(repository))
    add_raws(str(repository), [exposure_record(UNIVERSE, number) for number in range(2)])
    arguments = ["visits", str(repository), "--collection", RAW]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["exposures"] == {"found": 2, "skipped": 0}
    assert said["inserted"]["visit_detector_region"] == 378
    shown = CliRunner().invoke(main, [*arguments, "--focal-plane", "2024"])
    assert shown.exit_code == 0
    assert "2 visits are there with other values, and were kept" in shown.output


def test_raws_of_another_instrument(repository, tmp_path):
    """No remedy that ends with a foreign instrument in the repository."""
    import_exports(repository, [write_raws(tmp_path / "raws", exposures=1, detectors=1)])
    before = registry_tables(repository)
    for dry_run in (True, False):
        with pytest.raises(RepositoryError) as caught:
            define_visits(str(repository), "Cam/raw/all", dry_run=dry_run)
        assert "the raw data there are of Cam." in str(caught.value)
        assert "LSSTCam-imSim only" in str(caught.value)
        assert "'butler define-visits' of the Science Pipelines" in str(caught.value)
        assert "butler-replica instrument" not in str(caught.value)
    assert registry_tables(repository) == before


def test_an_instrument_whose_focal_plane_is_not_known(make_repository):
    with pytest.raises(
        ReplicaError, match="focal plane of LSSTComCam is not known here .that of LSSTCam-imSim is."
    ):
        define_visits(str(make_repository()), RAW, instrument="LSSTComCam")


def test_a_collection_that_is_not_there_is_named(make_repository):
    repository = make_repository()
    with pytest.raises(RepositoryError, match="no raw data to define visits for.*nope"):
        define_visits(str(repository), ["nope"])
