from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from astropy.wcs import WCS
from click.testing import CliRunner
from lsst.daf.butler import Butler, DimensionUniverse
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

from butler_replica.cli import main
from butler_replica.dimensions.geometry import (
    ARCSEC,
    MILLIARCSEC,
    polygon,
    polygons,
    region_distance,
    vertices,
)
from butler_replica.dimensions.skymap import parse_tracts, register_skymap
from butler_replica.dimensions.skymap_records import patch_records, skymap_record, tract_records
from butler_replica.dimensions.skymaps import skymap_named
from butler_replica.errors import ConflictError, ReplicaError
from kit.real_records import real_records

UNIVERSE = DimensionUniverse()
DC2_SKYMAP = skymap_named("DC2")
HSC_RINGS = skymap_named("hsc_rings_v1")
EXPORTS = [
    "jointcal_hsc.20221103.d43ec85.yaml",
    "rc2_subset.20210611.6cbe561.yaml",
    "ap_verify_ci_cosmos_pdr2.20220519.89b5daf.yaml",
]


def tangent_plane(tract):
    """Projection of a tract by astropy; pixels count from 0."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [float(np.degrees(angle[0])) for angle in DC2_SKYMAP.tract_centers([tract])]
    wcs.wcs.crpix = [14000, 14000]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs


def lonlat(points):
    return np.degrees(np.arctan2(points[..., 1], points[..., 0])) % 360, np.degrees(np.arcsin(points[..., 2]))


def test_numbers_of_dc2():
    assert DC2_SKYMAP.sha1.hex() == "1e5fa85fe242606426528f5f7b8dbf01cbaaff9e"
    assert DC2_SKYMAP.n_tracts == 18938
    assert DC2_SKYMAP.n_patches == (7, 7)
    assert DC2_SKYMAP.tract_dimensions == (28000, 28000)
    assert DC2_SKYMAP.reference_pixel == (13999, 13999)
    ra, dec = DC2_SKYMAP.tract_centers([3828])
    assert np.degrees([ra[0], dec[0]]) == pytest.approx([56.649746, -36.446281], abs=1e-6)
    assert DC2_SKYMAP.tract_centers([0, 18937])[1] == pytest.approx([-math.pi / 2, math.pi / 2])


def test_footprint():
    tracts = DC2_SKYMAP.tracts_touching(DC2_SKYMAP.footprint)
    assert (len(tracts), tracts[0], tracts[-1]) == (163, 2724, 5074)
    assert 3828 in tracts


@pytest.mark.parametrize("name", EXPORTS)
def test_equal_to_real_records_of_another_ring_skymap(shared_exports, name):
    path = shared_exports / name
    (skymap,) = real_records(path, "skymap")
    ours = skymap_record(HSC_RINGS, UNIVERSE).toDict()
    assert ours == skymap
    (tract,) = real_records(path, "tract")
    (record,) = tract_records(HSC_RINGS, UNIVERSE, [tract["id"]])
    assert region_distance(record.region, tract["region"]) < 1e-6 * MILLIARCSEC
    patches = {record.id: record for record in patch_records(HSC_RINGS, UNIVERSE, [tract["id"]])}
    assert len(patches) == 81
    real = real_records(path, "patch")
    assert real
    for patch in real:
        record = patches[patch["id"]]
        assert (record.cell_x, record.cell_y) == (patch["cell_x"], patch["cell_y"])
        assert region_distance(record.region, patch["region"]) < 1e-6 * MILLIARCSEC


@pytest.mark.parametrize("tract", [1, 2724, 3828, 9469, 15000, 18936])
def test_tract_corners_are_those_of_an_independent_projection(tract):
    wcs = tangent_plane(tract)
    (points,) = DC2_SKYMAP.tract_vertices([tract])
    x, y = wcs.all_world2pix(*lonlat(points), 0)
    assert x == pytest.approx([-0.5, 27999.5, 27999.5, -0.5], abs=1e-6)
    assert y == pytest.approx([-0.5, -0.5, 27999.5, 27999.5], abs=1e-6)


def test_patches_have_borders_clipped_to_the_tract():
    wcs = tangent_plane(3828)
    (points,) = DC2_SKYMAP.patch_vertices([3828])
    x, y = (pixels.reshape(7, 7, 4) for pixels in wcs.all_world2pix(*lonlat(points.reshape(-1, 3)), 0))
    left, right = x[..., 0], x[..., 1]
    bottom, top = y[..., 0], y[..., 3]
    assert left[3] == pytest.approx([-0.5, *(4000 * i - 100.5 for i in range(1, 7))], abs=1e-6)
    assert right[3] == pytest.approx([*(4000 * i + 99.5 for i in range(1, 7)), 27999.5], abs=1e-6)
    # Patch IDs run along x first; the patches of a row share their edges, and so do those of a column.
    assert np.ptp(bottom, axis=1).max() < 1e-6
    assert np.ptp(left, axis=0).max() < 1e-6
    assert bottom[:, 0] == pytest.approx(left[3], abs=1e-6)
    assert top[:, 0] == pytest.approx(right[3], abs=1e-6)


def test_tracts_at_the_poles_are_turned_as_the_pipelines_turn_them():
    south, north = DC2_SKYMAP.tract_vertices([0, 18937])
    assert south[0, 0] < 0 < south[0, 1]
    assert north[0, 0] < 0
    assert north[0, 1] < 0
    for points, pole in ((south, -1.0), (north, 1.0)):
        assert polygon(points).contains(UnitVector3d(0.0, 0.0, pole))


def test_polygons_are_closed_convex_and_counterclockwise():
    points = DC2_SKYMAP.patch_vertices([0, 1, 3828, 18937]).reshape(-1, 4, 3)
    for corners, region in zip(points, polygons(points), strict=True):
        assert region_distance(region, polygon(corners[::-1])) == 0
        found = vertices(region)
        assert len(found) == 4
        for i in range(4):
            assert np.dot(np.cross(found[i], found[(i + 1) % 4]), found[(i + 2) % 4]) > 0
        assert region.contains(UnitVector3d(*corners.mean(axis=0)))


def test_tracts_cover_the_sky_and_overlap_by_a_minute_of_arc():
    rng = np.random.default_rng(20221001)
    points = rng.normal(size=(60, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    corners = DC2_SKYMAP.tract_vertices(range(DC2_SKYMAP.n_tracts))
    normals = np.cross(corners, np.roll(corners, -1, axis=1))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    depth = np.arcsin(normals @ points.T).min(axis=1)
    assert (depth.max(axis=0) > 0.5 * 60 * ARCSEC).all()


def test_region_distance():
    square = np.array([[1, -1e-4, -1e-4], [1, 1e-4, -1e-4], [1, 1e-4, 1e-4], [1, -1e-4, 1e-4]])
    middle = (square[0] + square[1]) / 2
    a = polygon(square)
    assert region_distance(a, polygon(np.roll(square, 2, axis=0))) < 1e-15
    with_middle = polygon(np.vstack([square, middle - [0, 0, 3e-9]]))
    assert len(vertices(with_middle)) == 5
    assert region_distance(a, with_middle) == pytest.approx(3e-9, rel=1e-3)
    assert region_distance(a, polygon(square + np.array([0, 5e-9, 0]))) == pytest.approx(5e-9, rel=1e-3)
    assert region_distance(a, None) == math.inf


def test_parse_tracts():
    assert parse_tracts("3828, 4000-4002") == [3828, 4000, 4001, 4002]
    for text in ("", "3828-", "a", "1,,2", "-5"):
        with pytest.raises(ReplicaError, match="is no list of tracts"):
            parse_tracts(text)


def numbers(repository):
    return {
        table: repository.sql(f"SELECT count(*) FROM {table}")[0][0] for table in ("skymap", "tract", "patch")
    }


def test_dry_run_run_rerun_and_more_tracts(repository):
    repo = str(repository)
    assert register_skymap(repo, dry_run=True).inserted == {"skymap": 1, "tract": 163, "patch": 7987}
    assert numbers(repository) == {"skymap": 0, "tract": 0, "patch": 0}
    done = register_skymap(repo)
    assert done.inserted == {"skymap": 1, "tract": 163, "patch": 7987}
    assert numbers(repository) == done.inserted
    again = register_skymap(repo)
    assert not again.changed
    assert again.present == done.inserted
    # 3828 is there, the caps are not.
    assert register_skymap(repo, tracts=[0, 3828, 18937]).inserted == {"skymap": 0, "tract": 2, "patch": 98}
    assert numbers(repository) == {"skymap": 1, "tract": 165, "patch": 165 * 49}


def test_another_skymap_of_this_name_is_explained(repository):
    cells = {"name": "DC2", "hash": b"\1" * 20, "tract_max": 18938, "patch_nx_max": 10, "patch_ny_max": 10}
    Butler.from_config(str(repository), writeable=True).registry.insertDimensionData("skymap", cells)
    with pytest.raises(ConflictError, match=r"hash is 0101.* and 1e5fa85f.*makeSkyMap.py"):
        register_skymap(str(repository))
    assert numbers(repository) == {"skymap": 1, "tract": 0, "patch": 0}


def test_another_tract_is_a_conflict_and_nothing_is_inserted(repository):
    butler = Butler.from_config(str(repository), writeable=True)
    insert = butler.registry.insertDimensionData
    insert("skymap", skymap_record(DC2_SKYMAP, butler.dimensions))
    (corners,) = DC2_SKYMAP.tract_vertices([4000])
    nearly = polygon(corners + np.array([0, 0, 0.4 * MILLIARCSEC]))
    insert("tract", {"skymap": "DC2", "id": 4000, "region": nearly})
    assert register_skymap(str(repository), tracts=[4000]).inserted == {"skymap": 0, "tract": 0, "patch": 49}
    insert("tract", {"skymap": "DC2", "id": 4001, "region": nearly})
    with pytest.raises(ConflictError, match="the tract record of skymap=DC2, tract=4001 differs: region"):
        register_skymap(str(repository), tracts=range(3900, 4010))
    assert numbers(repository) == {"skymap": 1, "tract": 2, "patch": 49}


def test_stock_butler_finds_patches(repository):
    register_skymap(str(repository), tracts=range(3820, 3840))
    there = Circle(UnitVector3d(LonLat.fromDegrees(56.7, -36.5)), Angle.fromDegrees(0.05))
    with Butler.from_config(str(repository)).query() as query:
        found = {
            (record.tract, record.id)
            for record in query.dimension_records("patch").where(
                query.expression_factory.patch.region.overlaps(there)
            )
        }
    expected = {
        (record.tract, record.id)
        for record in patch_records(DC2_SKYMAP, UNIVERSE, range(3820, 3840))
        if record.region.intersects(there)
    }
    assert found == expected != set()


def test_wrong_tracts(make_repository):
    repository = make_repository()
    with pytest.raises(ReplicaError, match="there is no tract 18938"):
        register_skymap(str(repository), tracts=[18938])
    with pytest.raises(ReplicaError, match="not both"):
        register_skymap(str(repository), tracts=[1], all_sky=True)


def test_command(make_repository):
    repository = make_repository()
    result = CliRunner().invoke(main, ["skymap", str(repository), "--tracts", "3828-3829", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["inserted"] == {"skymap": 1, "tract": 2, "patch": 98}
    assert CliRunner().invoke(main, ["skymap", str(repository), "--tracts", "x"]).exit_code == 1


def test_the_hash_of_hsc_rings_is_that_of_real_registries():
    assert base64.b64encode(HSC_RINGS.sha1) == b"4p/p8QCONZ82o2d+fWnMQ5N20eY="


def test_a_skymap_without_footprint_wants_its_tracts_named(make_repository):
    repository = str(make_repository())
    with pytest.raises(ReplicaError, match="hsc_rings_v1 has no footprint: name the tracts"):
        register_skymap(repository, name="hsc_rings_v1")
    assert register_skymap(repository, name="hsc_rings_v1", tracts=[9813]).inserted == {
        "skymap": 1,
        "tract": 1,
        "patch": 81,
    }
    with pytest.raises(ReplicaError, match="known are: DC2, hsc_rings_v1"):
        register_skymap(repository, name="discrete")
