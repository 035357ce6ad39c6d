"""Comparing repositories: same contents, other keys and databases; every table altered by SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from lsst.daf.butler import (
    Butler,
    CollectionType,
    Config,
    DatasetIdGenEnum,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)
from lsst.sphgeom import Circle, UnitVector3d

from butler_replica.cli import main
from butler_replica.errors import RepositoryError
from butler_replica.holdings.compare import compare
from kit.repositories import SPRING, Repository
from kit.sameness import registry_tables

REGION = Circle(UnitVector3d(1, 0, 0), 0.0001)


def fill(root: Path, *, reverse: bool = False) -> None:
    """Put something into every kind of table; ``reverse`` makes it in another order."""
    butler = Butler.from_config(root, writeable=True)
    insert = butler.registry.insertDimensionData
    cam = {"instrument": "Cam"}
    insert("instrument", {"name": "Cam", "class_name": "no.such.Cam", "detector_max": 9, "visit_max": 9})
    insert("detector", *[{**cam, "id": i, "full_name": f"D{i}"} for i in range(4)])
    insert("physical_filter", {**cam, "name": "r_1", "band": "r"})
    insert("day_obs", {**cam, "id": 20220301, "timespan": SPRING})
    insert("group", {**cam, "name": "1"})
    exposure = {**cam, "physical_filter": "r_1", "day_obs": 20220301, "zenith_angle": float("nan")}
    insert("exposure", {**exposure, "id": 1, "obs_id": "1", "group": "1", "timespan": SPRING})
    insert("visit", {**exposure, "id": 1, "name": "1", "region": REGION, "timespan": Timespan(None, None)})
    insert("visit_detector_region", {**cam, "visit": 1, "detector": 1, "region": REGION})

    kinds = {
        "bias": DatasetType(
            "bias", ["detector"], "StructuredDataDict", isCalibration=True, universe=butler.dimensions
        ),
        "raw": DatasetType("raw", ["exposure", "detector"], "StructuredDataDict", universe=butler.dimensions),
    }
    runs = ["run/bias", "run/raw", "run/other"]
    for name in reversed(runs) if reverse else runs:
        butler.collections.register(name)
    refs: dict[str, list[DatasetRef]] = {}
    for name in reversed(kinds) if reverse else kinds:
        butler.registry.registerDatasetType(kinds[name])
        refs[name] = []
        for detector in range(3):
            data_id = butler.registry.expandDataId(
                instrument="Cam", detector=detector, **({"exposure": 1} if name == "raw" else {})
            )
            mode = DatasetIdGenEnum.DATAID_TYPE_RUN
            ref = DatasetRef(kinds[name], data_id, f"run/{name}", id_generation_mode=mode)
            file = root / "beside" / f"{name}_{detector}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text("{}")
            butler.ingest(FileDataset(file, [ref]), transfer="direct" if name == "raw" else "copy")
            refs[name].append(ref)
    butler.collections.register("calib", CollectionType.CALIBRATION)
    butler.registry.certify("calib", refs["bias"], SPRING)
    butler.collections.register("best", CollectionType.TAGGED, doc="The best.")
    butler.registry.associate("best", refs["raw"][:1])
    butler.collections.register("all", CollectionType.CHAINED)
    if reverse:
        butler.collections.redefine_chain("all", ["calib", "run/raw"])
        butler.collections.prepend_chain("all", "best")
    else:
        butler.collections.redefine_chain("all", ["best", "calib", "run/raw"])


# Table, what is done to it, and then: rows only here, rows only there, different rows.
ALTERATIONS = [
    ("instrument", "UPDATE instrument SET class_name = 'other.Cam'", (0, 0, 1)),
    ("exposure", "UPDATE exposure SET {later}", (0, 0, 1)),
    ("visit", "UPDATE visit SET region = 'YQ=='", (0, 0, 1)),
    (
        "visit_detector_region_skypix_overlap",
        "DELETE FROM visit_detector_region_skypix_overlap WHERE skypix_index = "
        "(SELECT max(skypix_index) FROM visit_detector_region_skypix_overlap)",
        (1, 0, 0),
    ),
    ("collection", "UPDATE collection SET doc = NULL WHERE name = 'best'", (0, 0, 1)),
    ("run", "UPDATE run SET host = 'somewhere'", (0, 0, 3)),
    # Two of three children change places.
    ("collection_chain", "UPDATE collection_chain SET position = -10 - position", (0, 0, 2)),
    ("dataset_type", "UPDATE dataset_type SET storage_class = 'Other' WHERE name = 'raw'", (0, 0, 1)),
    (
        "dataset",
        "UPDATE dataset SET run_id = (SELECT collection_id FROM collection WHERE name = 'run/other') "
        "WHERE id IN (SELECT id FROM dataset ORDER BY id LIMIT 2)",
        (0, 0, 2),
    ),
    (
        "dataset_tags (detector, exposure, instrument)",
        "DELETE FROM {raw_tags} WHERE collection_id = "
        "(SELECT collection_id FROM collection WHERE name = 'best')",
        (1, 0, 0),
    ),
    (
        "dataset_tags (detector, instrument)",
        "UPDATE {bias_tags} SET detector = 3 WHERE detector = 2",
        (0, 0, 1),
    ),
    (
        "dataset_calibs (detector, instrument)",
        "UPDATE {bias_calibs} SET {later} WHERE detector = 1",
        (1, 1, 0),
    ),
    (
        "collection_summary_dataset_type",
        "DELETE FROM collection_summary_dataset_type WHERE collection_id = "
        "(SELECT collection_id FROM collection WHERE name = 'best')",
        (1, 0, 0),
    ),
    (
        "collection_summary_instrument",
        "DELETE FROM collection_summary_instrument WHERE collection_id = "
        "(SELECT collection_id FROM collection WHERE name = 'best')",
        (1, 0, 0),
    ),
    (
        "file_datastore_records",
        "UPDATE file_datastore_records SET path = 'elsewhere', formatter = 'other.Formatter', "
        "storage_class = 'Other', checksum = 'abc', file_size = 7 WHERE path LIKE '%bias_Cam_D1%'",
        (0, 0, 1),
    ),
    (
        "dataset_location",
        "DELETE FROM dataset_location WHERE dataset_id IN (SELECT id FROM dataset ORDER BY id LIMIT 1)",
        (1, 0, 0),
    ),
]


def alter(repository: Repository, statement: str) -> None:
    later = (
        "timespan_end = timespan_end + 1"
        if repository.backend == "sqlite"
        else "timespan = int8range(lower(timespan), upper(timespan) + 1)"
    )
    names = {"later": later}
    for name, tags, calibs in repository.sql(
        "SELECT name, tag_association_table, calibration_association_table FROM dataset_type"
    ):
        names |= {f"{name}_tags": tags, f"{name}_calibs": calibs}
    repository.sql(statement.format(**names))


def test_every_table(make_repository: Callable[..., Repository], backend: str) -> None:
    repository, altered = make_repository(backend), make_repository(backend)
    fill(repository.root)
    fill(altered.root, reverse=True)
    assert compare(repository, altered).same
    for _, statement, _ in ALTERATIONS:
        alter(altered, statement)
    result = compare(repository, altered)
    assert {
        one.table: (one.only, one.only_other, one.different) for one in result.tables if not one.same
    } == {table: counts for table, _, counts in ALTERATIONS}
    ours, theirs = registry_tables(repository), registry_tables(altered)
    assert {re.sub(r" \(.*", "_*", one.table) for one in result.tables if not one.same} == {
        table for table in ours.keys() | theirs.keys() if ours.get(table) != theirs.get(table)
    }
    examples = {one.table: one.examples for one in result.tables}
    assert examples["collection"] == [f"name=best: doc is The best. in {repository} and None in {altered}"]
    (example,) = examples["dataset_tags (detector, instrument)"]
    assert f"detector is 2 in {repository} and 3 in {altered}" in example
    assert "collection_id=run/bias" in example
    for what in (
        f"formatter is lsst.daf.butler.formatters.yaml.YamlFormatter in {repository} and other.Formatter in",
        f"storage_class is StructuredDataDict in {repository} and Other in",
        f"checksum is None in {repository} and abc in",
        f"file_size is 2 in {repository} and 7 in",
        "and elsewhere in",
    ):
        assert what in examples["file_datastore_records"][0]
    backwards = compare(altered, repository)
    assert [(one.only, one.only_other) for one in backwards.tables] == [
        (one.only_other, one.only) for one in result.tables
    ]


def test_other_database_and_namespace(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    sqlite, public = make_repository("sqlite"), make_repository("postgresql")
    config = Config(str(public.root / "butler.yaml"))
    replica = tmp_path / "in a schema"
    Butler.makeRepo(replica, Config({"registry": {"db": config["registry", "db"], "namespace": "replica"}}))
    fill(sqlite.root)
    fill(replica, reverse=True)
    result = compare(sqlite, replica)
    assert result.same, result.to_dict()
    counts = {one.table: (one.rows, one.rows_other) for one in result.tables}
    assert counts["dataset"] == (6, 6)
    assert counts["dataset_tags (detector, exposure, instrument)"] == (4, 4)
    # The empty repository beside it, in the same database, is another one.
    assert {one.table: one.only for one in compare(replica, public).tables}["file_datastore_records"] == 6


def test_command_line(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    one, other = make_repository("sqlite"), make_repository("sqlite")
    run = CliRunner().invoke
    same = run(main, ["compare", str(one), str(other)])
    assert (same.exit_code, "are the same" in same.output) == (0, True)
    Butler.from_config(other.root, writeable=True).collections.register("[red]run")
    differ = run(main, ["compare", str(one), str(other)])
    assert differ.exit_code == 1
    assert f"collection: only in {other}: name=[red]run" in differ.output
    as_json = run(main, ["compare", str(one), str(other), "--json"])
    output = json.loads(as_json.stdout)
    assert (as_json.exit_code, output["same"], output["changed"]) == (1, False, False)
    assert [(table["table"], table["only_other"]) for table in output["tables"]] == [
        ("collection", 1),
        ("run", 1),
    ]
    with pytest.raises(RepositoryError, match="no Butler repository is there"):
        compare(one, tmp_path / "nowhere")
