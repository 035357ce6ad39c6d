"""Dimension records of one name with other content: what is a conflict, what a notice, and what neither."""

from __future__ import annotations

import copy
import functools
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.time
import pytest
import yaml
from lsst.daf.butler import Timespan
from lsst.sphgeom import Angle, Circle, IntersectionRegion, Region, UnionRegion, UnitVector3d

from butler_replica.errors import ConflictError
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from butler_replica.imports.ways import STAGED_FROM
from kit.repositories import Repository
from kit.sameness import registry_tables

HERE, NEAR, ELSEWHERE = (
    Circle(UnitVector3d(*direction), Angle(0.02)) for direction in ((1, 0, 0), (1, 0.01, 0), (0, 1, 0))
)

Records = dict[str, list[dict[str, Any]]]


def time(begin: str, end: str, day: int = 1) -> Timespan:
    return Timespan(
        *(astropy.time.Time(f"2022-10-{day:02d}T{at}", scale="tai", format="isot") for at in (begin, end))
    )


RECORDS: Records = {
    "skymap": [{"name": "sky", "hash": b"\1\1\1", "tract_max": 9, "patch_nx_max": 7, "patch_ny_max": 7}],
    "tract": [{"skymap": "sky", "id": 1, "region": HERE}],
    "patch": [{"skymap": "sky", "tract": 1, "id": 24, "cell_x": 3, "cell_y": 3, "region": HERE}],
    "instrument": [
        {"name": "Cam", "class_name": "a.Cam", "visit_max": 9, "exposure_max": 9, "detector_max": 9}
    ],
    "detector": [{"instrument": "Cam", "id": 0, "full_name": "D0", "purpose": "SCIENCE"}],
    "physical_filter": [{"instrument": "Cam", "name": f"{band}1", "band": band} for band in "rg"],
    "day_obs": [{"instrument": "Cam", "id": day} for day in (20221001, 20221002)],
    "group": [{"instrument": "Cam", "name": name} for name in "12"],
    "exposure": [
        {
            "instrument": "Cam",
            "id": number,
            "day_obs": 20221001,
            "group": str(number),
            "physical_filter": "r1",
            "obs_id": f"MC_{number}",
            "exposure_time": 30.0,
            "timespan": time(f"0{number}:00:00", f"0{number}:00:30"),
        }
        for number in (1, 2)
    ],
    "visit": [
        {
            "instrument": "Cam",
            "id": 1,
            "day_obs": 20221001,
            "physical_filter": "r1",
            "name": "V1",
            "exposure_time": 30.0,
            "region": HERE,
            "timespan": time("01:00:00", "01:00:30"),
        }
    ],
    "visit_definition": [{"instrument": "Cam", "exposure": 1, "visit": 1}],
}

DATA_IDS = {
    "coadd": {"skymap": "sky", "tract": 1, "patch": 24},
    "raw": {"instrument": "Cam", "detector": 0, "exposure": 1},
    "calexp": {"instrument": "Cam", "detector": 0, "visit": 1},
}


def altered(element: str, **columns: Any) -> Records:
    records = copy.deepcopy(RECORDS)
    records[element][0].update(columns)
    return records


def write(path: Path, records: Records, *kinds: str, run: str = "a") -> Path:
    """Write an export as the butler does, with a dataset of each kind and no artifacts."""
    data: list[dict[str, Any]] = [
        {"type": "dimension", "element": element, "records": found} for element, found in records.items()
    ]
    data.append({"type": "collection", "collection_type": "RUN", "name": run})
    for kind, data_id in DATA_IDS.items():
        data.append(
            {
                "type": "dataset_type",
                "name": kind,
                "dimensions": list(data_id),
                "storage_class": "StructuredDataDict",
                "is_calibration": False,
            }
        )
    for kind in kinds:
        one = {
            "dataset_id": [uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {run}")],
            "data_id": [DATA_IDS[kind]],
            "path": "none.yaml",
            "formatter": "lsst.daf.butler.formatters.yaml.YamlFormatter",
        }
        data.append({"type": "dataset", "dataset_type": kind, "run": run, "records": [one]})
    header = {"description": "Butler Data Repository Export", "version": "1.0.2", "universe_version": 7}
    with path.open("w") as out:
        yaml.dump({**header, "universe_namespace": "daf_butler", "data": data}, out, sort_keys=False)
    return path


def notices(repository: Repository, export: Path, staged_from: int = STAGED_FROM) -> list[str]:
    result = import_exports(repository, [export], missing="register", staged_from=staged_from)
    return result.files[0].notices


OTHERS: dict[str, tuple[Records, str, str]] = {
    "another hash": (
        altered("skymap", hash=b"\2\2\2", patch_nx_max=10),
        "coadd",
        "skymap {skymap: sky}.*hash",
    ),
    "a patch elsewhere in the tract": (
        altered("patch", cell_x=4, cell_y=2),
        "coadd",
        "patch .*cell_x, cell_y",
    ),
    "a tract elsewhere": (altered("tract", region=ELSEWHERE), "coadd", "tract .*region"),
    "another camera": (altered("instrument", class_name="a.OtherCam"), "raw", "instrument .*class_name"),
    "another chip": (altered("detector", full_name="E0"), "raw", "detector .*full_name"),
    "an exposure with another filter": (
        altered("exposure", physical_filter="g1"),
        "raw",
        "exposure .*filter",
    ),
    "an exposure of another hour": (
        altered("exposure", timespan=time("03:00:00", "03:00:30")),
        "raw",
        "exposure .*timespan",
    ),
    "an exposure of another night": (
        altered("exposure", timespan=None, day_obs=20221002),
        "raw",
        "exposure .*day_obs",
    ),
    "a visit with another filter": (altered("visit", physical_filter="g1"), "calexp", "visit .*filter"),
    "a visit of another night": (
        altered("visit", day_obs=20221002, timespan=time("01:00:00", "01:00:30", day=2)),
        "calexp",
        "visit .*timespan",
    ),
    "a visit elsewhere": (altered("visit", region=ELSEWHERE), "calexp", "visit .*region"),
    "a visit of another exposure": (altered("visit_definition", exposure=2), "calexp", "visit .*exposures"),
}
"""Another thing of the same name, a dataset type that uses it, and what is said."""


@pytest.fixture(scope="module")
def of_records(
    empty_repository: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Return a repository that has the records, imported in one way or the other; for copies of it."""

    @functools.cache
    def make(staged_from: int) -> Path:
        folder = tmp_path_factory.mktemp("of_records")
        repository = shutil.copytree(empty_repository("sqlite"), folder / "repo")
        import_exports(
            repository, [write(folder / "one.yaml", RECORDS)], missing="register", staged_from=staged_from
        )
        return repository

    return make


@pytest.mark.parametrize(
    ("what", "staged_from"),
    [*((what, STAGED_FROM) for what in OTHERS), ("another hash", 0), ("a visit elsewhere", 0)],
)
def test_other_things_of_one_name(
    of_records: Callable[[int], Path],
    tmp_path: Path,
    what: str,
    staged_from: int,
) -> None:
    records, kind, words = OTHERS[what]
    repository = Repository.on_sqlite(shutil.copytree(of_records(staged_from), tmp_path / "repo"))
    tables = registry_tables(repository)
    other = write(tmp_path / "other.yaml", records, kind, run="b")
    with pytest.raises(ConflictError, match=rf"other\.yaml: {kind} is of {words}"):
        import_exports(repository, [other], missing="register", staged_from=staged_from)
    assert registry_tables(repository) == tables
    # Where no dataset is of it, it is left alone and named.
    unused = "coadd" if kind != "coadd" else "raw"
    assert (
        len(notices(repository, write(tmp_path / "unused.yaml", records, unused, run="c"), staged_from)) == 1
    )
    after = registry_tables(repository)
    assert {table: after[table] for table in RECORDS} == {table: tables[table] for table in RECORDS}


def test_verify_tells_of_it(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    """What an older release has imported."""
    repository = make_repository()
    one = write(tmp_path / "one.yaml", RECORDS, "coadd", "raw")
    import_exports(repository, [one], missing="register")
    told = {"name": "x", "exports": str(one), "missing": "register"}
    assert verify(str(repository), [told]).ok
    repository.sql("UPDATE skymap SET hash = 'AwMD'")
    failures = verify(str(repository), [told]).failures
    assert len(failures) == 1
    assert (
        "one.yaml: coadd is of skymap {skymap: sky}, which is another one there than in the rep"
        in failures[0]
    )


def test_two_of_one_name_in_one_export(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    records = copy.deepcopy(RECORDS)
    records["skymap"].append({**records["skymap"][0], "hash": b"\2\2\2"})
    export = write(tmp_path / "two.yaml", records, "coadd")
    with pytest.raises(ConflictError, match=r"another one there than in another record of the export .*hash"):
        import_exports(make_repository(), [export], missing="register")
    records["skymap"][1] = {**records["skymap"][0], "tract_max": 99}
    assert import_exports(make_repository(), [write(export, records, "coadd")], missing="register").changed


def test_what_belongs_to_another_one_is_left_out(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = make_repository()
    import_exports(repository, [write(tmp_path / "one.yaml", RECORDS)])
    records = altered("skymap", hash=b"\2\2\2")
    records["patch"].append({"skymap": "sky", "tract": 1, "id": 99, "cell_x": 9, "cell_y": 9, "region": HERE})
    told = notices(repository, write(tmp_path / "other.yaml", records))
    assert any("1 patch records belong to something else" in notice for notice in told)
    assert repository.sql("SELECT id FROM patch") == [(24,)]


HARMLESS: dict[str, tuple[Records, str]] = {
    "a package renamed": (altered("instrument", class_name="b.c.Cam"), "class_name"),
    "bounds": (altered("instrument", visit_max=99), "visit_max"),
    "purpose": (altered("detector", purpose="GUIDER"), "purpose"),
    "UTC for TAI": (altered("exposure", timespan=time("01:00:37", "01:01:07")), "timespan"),
    "a day that begins at another hour": (altered("exposure", day_obs=20221002), "day_obs"),
    "a better region": (altered("visit", region=NEAR), "region"),
    "another name of a visit": (altered("visit", name="1"), "name"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_harmless_differences(make_repository: Callable[..., Repository], tmp_path: Path, what: str) -> None:
    records, column = HARMLESS[what]
    repository = make_repository()
    import_exports(repository, [write(tmp_path / "one.yaml", RECORDS)], missing="register")
    told = notices(repository, write(tmp_path / "other.yaml", records, *DATA_IDS, run="b"))
    assert len(told) == 1
    assert "differ from those of the repository" in told[0]
    assert column in told[0]


nan = float("nan")
SAME: dict[str, Records] = {
    "floats": altered(
        "exposure",
        zenith_angle=nan,
        azimuth=float("inf"),
        tracking_ra=0.1 + 0.2,
        tracking_dec=1e-310,
        sky_angle=-0.0,
    ),
    "an integer for a float": altered("exposure", exposure_time=30, zenith_angle=2**60 + 1),
    "a union": altered("visit", region=UnionRegion(HERE, NEAR)),
    "an intersection": altered("visit", region=IntersectionRegion(HERE, NEAR)),
    "unions of unions": altered("tract", region=UnionRegion(UnionRegion(HERE, NEAR), ELSEWHERE)),
    "nanoseconds": altered("exposure", timespan=time("01:00:00.123456789", "01:00:30.987654321")),
    "no bounds": altered("exposure", timespan=Timespan(None, None)),
    "text": altered("exposure", target_name=" spaces ", science_program="ünïcödé\u212b", obs_id="a'b\\c"),
    "digits": altered("exposure", target_name=123, science_program=1.5),
}
"""Values that databases change, or that have no equality."""


@pytest.mark.parametrize("what", SAME)
def test_a_rerun_finds_nothing_different(repository: Repository, tmp_path: Path, what: str) -> None:
    export = write(tmp_path / "one.yaml", SAME[what], *DATA_IDS)
    assert import_exports(repository, [export], missing="register").changed
    again = import_exports(repository, [export], missing="register")
    assert not again.changed
    assert again.files[0].notices == []


@pytest.mark.parametrize(("before", "after"), [(nan, 30.0), (30.0, nan)])
def test_nan_is_no_number(
    make_repository: Callable[..., Repository], tmp_path: Path, before: float, after: float
) -> None:
    repository = make_repository()
    import_exports(repository, [write(tmp_path / "one.yaml", altered("exposure", zenith_angle=before))])
    told = notices(repository, write(tmp_path / "other.yaml", altered("exposure", zenith_angle=after)))
    assert len(told) == 1
    assert "zenith_angle" in told[0]


def test_regions_of_other_encodings_differ(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    def told(before: Region, after: Region) -> list[str]:
        repository = make_repository()
        import_exports(repository, [write(tmp_path / "one.yaml", altered("visit", region=before))])
        return notices(repository, write(tmp_path / "other.yaml", altered("visit", region=after)))

    assert "region" in told(UnionRegion(HERE, NEAR), UnionRegion(HERE, ELSEWHERE))[0]
    assert "region" in told(UnionRegion(HERE, NEAR), HERE)[0]
