"""Dimension records of old universes: what is imported of them is what the stock importer makes of new ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.time
import pytest
import yaml
from lsst.daf.butler import Butler, DimensionConfig, DimensionUniverse, Timespan
from lsst.daf.butler.transfers import YamlRepoExportBackend
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from butler_replica.errors import ExportError
from butler_replica.imports.importer import import_exports
from kit.repositories import Repository
from kit.sameness import assert_same, registry_tables
from kit.stock import stock_import

Document = dict[str, Any]

CAMERA = {"instrument": "Cam"}


def time(text: str) -> astropy.time.Time:
    return astropy.time.Time(text, scale="tai")


def region(ra: float) -> ConvexPolygon:
    corners = ((ra, 1.0), (ra + 1.0, 1.0), (ra, 2.0))
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in corners])


@pytest.fixture
def repository(make_repository: Callable[..., Repository]) -> Repository:
    """One fresh, empty repository; what is migrated does not depend on the database."""
    return make_repository()


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """What the stock exporter writes of two exposures, each a visit, and both a visit of another system.

    Columns that an old form cannot tell are not used.
    """
    span = [
        Timespan(time(f"2020-01-02T03:0{n}"), time(f"2020-01-02T03:0{n + 1}")) for n in range(2)
    ]  # The day began at noon: it is still the first of January.
    both = Timespan(span[0].begin, span[1].end)
    exposures = [
        {
            **CAMERA,
            "id": n + 1,
            "obs_id": f"obs{n + 1}",
            "physical_filter": "Cam-g",
            "group": "pair",
            "day_obs": 20200101,
            "seq_num": n + 7,
            "target_name": "field",
            "exposure_time": 60.0,
            "zenith_angle": 30.0,
            "tracking_ra": 10.0,
            "timespan": span[n],
        }
        for n in range(2)
    ]
    visits = [
        {
            **CAMERA,
            "id": number,
            "name": f"visit{number}",
            "physical_filter": "Cam-g",
            "day_obs": 20200101,
            "seq_num": seq_num,
            "exposure_time": 60.0,
            "zenith_angle": 30.0,
            "timespan": timespan,
            "region": region(10.0 + number),
        }
        for number, seq_num, timespan in ((1, 7, span[0]), (2, 8, span[1]), (100, 7, both))
    ]
    records: dict[str, list[dict[str, Any]]] = {
        "instrument": [{"name": "Cam", "class_name": "kit.camera.Camera", "detector_max": 9}],
        "detector": [{**CAMERA, "id": 1, "full_name": "one"}],
        "physical_filter": [{**CAMERA, "name": "Cam-g", "band": "g"}],
        "day_obs": [
            {
                **CAMERA,
                "id": 20200101,
                "timespan": Timespan(time("2020-01-01T12:00"), time("2020-01-02T12:00")),
            }
        ],
        "group": [{**CAMERA, "name": "pair"}],
        "visit_system": [
            {**CAMERA, "id": n, "name": name} for n, name in enumerate(("one-to-one", "by-group"))
        ],
        "exposure": exposures,
        "visit": visits,
        "visit_definition": [
            {**CAMERA, "visit": visit, "exposure": exposure}
            for visit, exposure in ((1, 1), (2, 2), (100, 2), (100, 1))
        ],
        "visit_system_membership": [
            {**CAMERA, "visit": visit, "visit_system": system} for visit, system in ((1, 0), (2, 0), (100, 1))
        ],
        "visit_detector_region": [{**CAMERA, "visit": 1, "detector": 1, "region": region(11.0)}],
    }
    path = tmp_path_factory.mktemp("new") / "export.yaml"
    universe = DimensionUniverse()
    with path.open("w") as stream:
        backend = YamlRepoExportBackend(stream, universe)
        for name, rows in records.items():
            backend.saveDimensionData(universe[name], *(universe[name].RecordClass(**row) for row in rows))
        backend.finish()
    document = yaml.safe_load(path.read_text())
    document["data"] += [
        {
            "type": "dataset_type",
            "name": "calexp",
            "dimensions": ["band", "instrument", "day_obs", "detector", "physical_filter", "visit"],
            "storage_class": "StructuredDataDict",
        },
        {"type": "run", "name": "r"},
        {
            "type": "dataset",
            "dataset_type": "calexp",
            "run": "r",
            "records": [
                {"dataset_id": [4], "data_id": [{**CAMERA, "detector": 1, "visit": 1}], "path": "4.yaml"}
            ],
        },
    ]
    return document


def rows(document: Document, element: str) -> list[dict[str, Any]]:
    return [row for item in document["data"] if item.get("element") == element for row in item["records"]]


def without(document: Document, *elements: str) -> None:
    document["data"] = [item for item in document["data"] if item.get("element") not in elements]


def drop(document: Document, element: str, *columns: str) -> None:
    for row in rows(document, element):
        for column in columns:
            row.pop(column, None)


def old_form(new: Document, version: int, *, early: bool = False) -> Document:
    """Write an export as an older universe would have had it."""
    old = copy.deepcopy(new)
    old["universe_version"] = version
    calexp = next(item for item in old["data"] if item["type"] == "dataset_type")
    if version < 7:
        drop(old, "exposure", "can_see_sky")
    if version < 6:
        without(old, "group", "day_obs")
        calexp["dimensions"].remove("day_obs")
        for row in rows(old, "exposure"):
            row["group_name"] = row.pop("group")
            row["group_id"] = 17
    if version < 2:
        calexp["dimensions"].append("visit_system")
        systems = {row["visit"]: row["visit_system"] for row in rows(old, "visit_system_membership")}
        without(old, "visit_system_membership")
        drop(old, "instrument", "visit_system")
        drop(old, "exposure", "seq_start", "seq_end", "azimuth", "has_simulated")
        drop(old, "visit", "azimuth", "seq_num")
        for row in rows(old, "visit"):
            row["visit_system"] = systems[row["id"]]
        for row in rows(old, "visit_definition"):
            row["visit_system"] = systems[row["visit"]]
    if version < 1:
        del old["universe_version"], old["universe_namespace"]
        for row in rows(old, "visit"):
            row["seeing"] = None
    if early:
        old["version"] = 0
        calexp["dimensions"] = [d.replace("band", "abstract_filter") for d in calexp["dimensions"]]
        drop(old, "visit", "day_obs")
        drop(old, "exposure", "day_obs")
        for row in rows(old, "exposure"):
            row["name"] = row.pop("obs_id")
        for row in rows(old, "physical_filter"):
            row["abstract_filter"] = row.pop("band")
    return old


def write(document: Document, path: Path) -> Path:
    path.write_text(yaml.dump(document, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("backend", "version", "early"),
    [
        ("sqlite", 5, False),
        ("sqlite", 1, False),
        ("sqlite", 0, False),
        ("sqlite", 0, True),
        pytest.param("postgresql", 0, True, marks=[pytest.mark.postgres, pytest.mark.slow]),
    ],
)
def test_equal_to_the_newest_form(
    make_repository: Callable[..., Repository],
    tmp_path: Path,
    new: Document,
    backend: str,
    version: int,
    early: bool,
) -> None:
    stock, ours = make_repository(backend), make_repository(backend)
    (tmp_path / "4.yaml").write_text("{}")
    stock_import(stock.root, write(new, tmp_path / "new.yaml"), tmp_path, "copy")
    old = write(old_form(new, version, early=early), tmp_path / "old.yaml")
    result = import_exports(ours, [old], transfer="copy")
    assert not [notice for file in result.to_dict()["files"] for notice in file["notices"]]
    assert_same(stock, ours)
    before = registry_tables(ours)
    assert not import_exports(ours, [old], transfer="copy").changed
    assert registry_tables(ours) == before


def test_groups_that_are_missing(repository: Repository, tmp_path: Path, new: Document) -> None:
    """An exposure that old records give no group is one of its own."""
    old = old_form(new, 5)
    rows(old, "exposure")[0]["group_name"] = None
    import_exports(repository, [write(old, tmp_path / "old.yaml")], missing="register")
    assert repository.sql('SELECT id, "group" FROM exposure ORDER BY id') == [(1, "1"), (2, "pair")]


def test_visits_without_a_time(repository: Repository, tmp_path: Path, new: Document) -> None:
    """No day of observation can be told: an error that says of what, and nothing is changed."""
    old = old_form(new, 0, early=True)
    for row in rows(old, "visit"):
        row["datetime_begin"] = row["datetime_end"] = None
    before = registry_tables(repository)
    with pytest.raises(ExportError, match="visit 1 of Cam has neither a day of observation nor a time"):
        import_exports(repository, [write(old, tmp_path / "old.yaml")], missing="register")
    assert registry_tables(repository) == before


def test_instruments_of_development(repository: Repository, tmp_path: Path, new: Document) -> None:
    """A column that was given up before a release is left out; a class that is not named is unknown."""
    old = old_form(new, 5)
    rows(old, "instrument")[0]["day_obs_offset"] = 0
    del rows(old, "instrument")[0]["class_name"]
    import_exports(repository, [write(old, tmp_path / "old.yaml")], missing="register")
    assert repository.sql("SELECT name, class_name FROM instrument") == [("Cam", None)]
    assert repository.sql("SELECT count(*) FROM exposure") == [(2,)]


def test_export_newer_than_the_repository(tmp_path: Path, new: Document) -> None:
    config = DimensionConfig("resource://lsst.daf.butler/configs/old_dimensions/daf_butler_universe5.yaml")
    Butler.makeRepo(tmp_path / "repo", dimensionConfig=config)
    export = write(new, tmp_path / "new.yaml")
    with pytest.raises(ExportError, match=r"universe 5 .*make the repository with a newer lsst-daf-butler"):
        import_exports(tmp_path / "repo", [export], missing="register")
    # What it can hold, it takes.
    export = write(old_form(new, 5), tmp_path / "old.yaml")
    assert import_exports(tmp_path / "repo", [export], missing="register").changed


@pytest.mark.parametrize("only", ["dimension", "dataset_type", "collection"])
@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            {"universe_version": 99},
            r"universe 99 of dimensions; the newest .* knows is \d+\. Install a newer",
        ),
        (
            {"universe_namespace": "skao"},
            r"the universe of dimensions 'skao'; the repository's is 'daf_butler'",
        ),
        ({"universe_namespace": "skao", "universe_version": 99}, "'skao'"),
    ],
)
def test_unknown_universe(
    make_repository: Callable[..., Repository],
    tmp_path: Path,
    new: Document,
    only: str,
    header: dict[str, object],
    words: str,
) -> None:
    """Refused whatever the file holds: what fits may have another meaning there."""
    repository = make_repository()
    rows = registry_tables(repository)
    data = [item for item in new["data"] if item["type"] == only]
    export = write({**new, **header, "data": data}, tmp_path / "unknown.yaml")
    with pytest.raises(ExportError, match=rf"unknown\.yaml: .*{words}"):
        import_exports(repository, [export], missing="register")
    assert registry_tables(repository) == rows


def test_storage_class_of_another_stack(repository: Repository, tmp_path: Path, new: Document) -> None:
    """An unknown storage class is an error with a remedy, and the remedy helps."""
    (tmp_path / "4.yaml").write_text("{}")
    other = copy.deepcopy(new)
    next(i for i in other["data"] if i["type"] == "dataset_type")["storage_class"] = "OfMyOwn"
    next(i for i in other["data"] if i["type"] == "dataset")["records"][0]["formatter"] = "my.own.Formatter"
    export = write(other, tmp_path / "other.yaml")
    with pytest.raises(
        ExportError, match="'calexp' is of the storage class 'OfMyOwn'.*storageClasses: OfMyOwn"
    ):
        import_exports(repository, [export], transfer="copy")
    config = repository.root / "butler.yaml"
    config.write_text(
        yaml.safe_dump(
            {**yaml.safe_load(config.read_text()), "storageClasses": {"OfMyOwn": {"pytype": "dict"}}}
        )
    )
    import_exports(repository, [export], transfer="copy")
    assert repository.sql("SELECT storage_class FROM file_datastore_records") == [("OfMyOwn",)]


def test_real_visits(repository: Repository, shared_exports: Path) -> None:
    """Visits of HSC in the form of universe 0, which the stock importer fails on."""
    export = shared_exports / "ap_verify_ci_cosmos_pdr2.20220519.89b5daf.yaml"
    import_exports(repository, [export], missing="register")
    visits = [(59150,), (59160,)]
    assert repository.sql("SELECT visit FROM visit_system_membership WHERE visit_system = 0") == visits
    assert repository.sql("SELECT exposure FROM visit_definition WHERE exposure = visit") == visits
    assert repository.sql("SELECT seq_num FROM visit ORDER BY id") == visits
    assert repository.sql('SELECT DISTINCT day_obs, "group" FROM exposure ORDER BY 2') == [
        (20160307, "59150"),
        (20160307, "59160"),
    ]
    assert repository.sql("SELECT count(*) FROM visit_detector_region") == [(224,)]
