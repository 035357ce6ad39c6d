"""Datasets compared and inserted set by set: the same repository, result and errors as one by one."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import astropy.time
import lsst.daf.butler.transfers  # noqa: F401 (lets YAML write UUIDs and timespans)
import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, Config, Timespan

from butler_replica.errors import ArtifactError, ConflictError, ExportError, ReplicaError
from butler_replica.imports.importer import import_exports
from kit.repositories import Repository, tree
from kit.sameness import assert_same
from kit.servers import PostgresServer
from kit.stock import stock_import

YAML_FORMATTER = "lsst.daf.butler.formatters.yaml.YamlFormatter"
YEAR = Timespan(astropy.time.Time("2022-01-01", scale="tai"), astropy.time.Time("2023-01-01", scale="tai"))
NO_HOST = {"host": None, "timespan_begin": None, "timespan_end": None}
ODD = ("a\tb", "c\\d", "e\nf", "g h", "ü#%")
"""Values of a dimension that COPY, URIs and templates could mistake."""

TYPES = {
    "config": (),
    "bias": ("instrument", "detector"),
    "raw": ("instrument", "detector", "exposure"),
    "coadd": ("skymap", "tract", "patch", "band"),
    "shard": ("htm7",),
    "note": ("instrument", "group"),
}


def dataset_id(dataset_type: str, run: str, data_id: dict[str, Any]) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{dataset_type} {run} {sorted(data_id.items())}")


def record(dataset_type: str, run: str, path: str, *data_ids: dict[str, Any]) -> dict[str, Any]:
    """A dataset record of an export, with one dataset for each data ID."""
    return {
        "dataset_id": [dataset_id(dataset_type, run, one) for one in data_ids],
        "data_id": [dict(one) for one in data_ids],
        "path": path,
        "formatter": YAML_FORMATTER,
    }


def block(dataset_type: str, run: str, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "dataset", "dataset_type": dataset_type, "run": run, "records": list(records)}


def single(dataset_type: str, run: str, *data_ids: dict[str, Any]) -> dict[str, Any]:
    """A block with an artifact for each dataset."""
    return block(
        dataset_type,
        run,
        (
            record(dataset_type, run, f"{run}/{dataset_type}_{n}.yaml", data_id)
            for n, data_id in enumerate(data_ids)
        ),
    )


def detectors(*instruments: str, numbers: Iterable[int] = range(4)) -> list[dict[str, Any]]:
    return [{"instrument": name, "detector": n} for name in instruments for n in numbers]


def dimension_items() -> list[dict[str, Any]]:
    """Dimension records for everything that is used here."""
    records: dict[str, list[dict[str, Any]]] = {
        "instrument": [],
        "physical_filter": [],
        "detector": [],
        "day_obs": [],
        "group": [],
        "exposure": [],
    }
    for name in ("Cam", "Other"):
        maxima = {"detector_max": 9, "visit_max": 99, "exposure_max": 99}
        records["instrument"].append({"name": name, "class_name": "no.such.Cam", "visit_system": 0, **maxima})
        records["physical_filter"].append({"instrument": name, "name": "r_1", "band": "r"})
        records["day_obs"].append({"instrument": name, "id": 20220101})
        for n in range(4):
            records["detector"].append({"instrument": name, "id": n, "full_name": f"D{n}"})
        for n in range(2):
            records["group"].append({"instrument": name, "name": str(n)})
            facts = {"physical_filter": "r_1", "group": str(n), "day_obs": 20220101}
            records["exposure"].append({"instrument": name, "id": n, "obs_id": f"{name}_{n}", **facts})
    records["group"] += [{"instrument": "Cam", "name": odd} for odd in ODD]
    sky = {"tract_max": 9, "patch_nx_max": 2, "patch_ny_max": 1}
    records["skymap"] = [{"name": "sky", "hash": b"1", **sky}]
    records["tract"] = [{"skymap": "sky", "id": 7}]
    records["patch"] = [{"skymap": "sky", "tract": 7, "id": n, "cell_x": n, "cell_y": 0} for n in range(2)]
    return [{"type": "dimension", "element": name, "records": found} for name, found in records.items()]


def write_export(path: Path, *items: dict[str, Any], artifacts: bool = True) -> Path:
    """Write an export as the butler does, and an artifact for each of its paths."""
    runs = dict.fromkeys(item["run"] for item in items if item["type"] == "dataset")
    collections = [{"type": "collection", "collection_type": "RUN", "name": run, **NO_HOST} for run in runs]
    dataset_types = [
        {
            "type": "dataset_type",
            "name": name,
            "dimensions": list(dimensions),
            "storage_class": "StructuredDataDict",
            "is_calibration": name == "bias",
        }
        for name, dimensions in TYPES.items()
    ]
    document = {
        "description": "Butler Data Repository Export",
        "version": "1.0.2",
        "universe_version": 7,
        "universe_namespace": "daf_butler",
        "data": [*dimension_items(), *collections, *dataset_types, *items],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.dump(document, Dumper=yaml.Dumper, sort_keys=False, allow_unicode=True))
    if artifacts:
        make_artifacts(path.parent, items)
    return path


def make_artifacts(folder: Path, items: Iterable[dict[str, Any]]) -> None:
    for item in items:
        for one in item["records"] if item["type"] == "dataset" else ():
            file = folder / one["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump({"path": one["path"]}))


def zoo(run: str = "run/a") -> list[dict[str, Any]]:
    """Blocks of every kind: dimensions, governors, several runs, several blocks, several datasets in a file."""
    coadds = [{"skymap": "sky", "tract": 7, "patch": n, "band": "r"} for n in range(2)]
    return [
        single("config", run, {}),
        single("bias", run, *detectors("Cam", "Other", numbers=(0, 1))),
        block(
            "raw",
            "raw/all",
            [
                record(
                    "raw",
                    "raw/all",
                    f"raws/{name}_{n}.yaml",
                    *({"instrument": name, "detector": d, "exposure": n} for d in range(4)),
                )
                for name in ("Cam", "Other")
                for n in range(2)
            ],
        ),
        single("bias", "run/b", *detectors("Other")),
        single("coadd", "coadds", *coadds),
        single("shard", "refcats", {"htm7": 131072}, {"htm7": 140000}),
        block(
            "bias",
            run,
            (record("bias", run, f"more/{d['detector']}.yaml", d) for d in detectors("Cam", numbers=(2, 3))),
        ),
        single("note", run, *({"instrument": "Cam", "group": odd} for odd in ODD)),
    ]


N_ZOO = 1 + 4 + 16 + 4 + 2 + 2 + 2 + 5


class Ways:
    """Two repositories; into the one datasets go set by set, into the other one by one."""

    def __init__(self, make: Callable[[], Repository]) -> None:
        self.staged, self.by_ref = make(), make()
        self._n_statements = 0

    def note(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        """Count a statement that is about temporary tables of the package."""
        self._n_statements += "dc2_replica_" in statement

    def _each(self) -> Iterator[tuple[Repository, int]]:
        """Yield each repository, and from how many datasets on they go into it set by set."""
        yield self.staged, 0
        yield self.by_ref, 1 << 60

    def run(self, *exports: Path, changed: bool = True, **options: Any) -> dict[str, Any]:
        """Import both ways; return the result, which is the same, as are the repositories."""
        results = []
        for repository, staged_from in self._each():
            before, n_before = None if changed else content(repository), self._n_statements
            own = {name: value(repository) if callable(value) else value for name, value in options.items()}
            result = import_exports(repository, list(exports), staged_from=staged_from, **own)
            assert (self._n_statements > n_before) == (repository is self.staged)
            if not changed:
                assert result.changed == result.dry_run
                assert content(repository) == before
            results.append(self._plain(json.dumps(result.to_dict())))
        assert results[0] == results[1]
        if changed:
            assert_same(self.staged, self.by_ref)
            trees = [tree(repository.root) for repository in (self.staged, self.by_ref)]
            assert trees[0] | {"butler.yaml": ""} == trees[1] | {"butler.yaml": ""}
        return dict(json.loads(results[0]))

    def refuse(self, *exports: Path, **options: Any) -> ReplicaError:
        """Fail to import both ways, which leaves the repositories as they are; return the error."""
        errors = []
        for repository, staged_from in self._each():
            before = content(repository)
            with pytest.raises(ReplicaError) as caught:
                import_exports(repository, list(exports), staged_from=staged_from, **options)
            assert content(repository) == before
            errors.append(caught.value)
        assert type(errors[0]) is type(errors[1])
        assert self._plain(str(errors[0])) == self._plain(str(errors[1]))
        return errors[0]

    def _plain(self, text: str) -> str:
        for repository in (self.staged, self.by_ref):
            text = text.replace(str(repository.root), "<root>")
        return text

    def count(self, table: str) -> int:
        return int(self.staged.sql(f"SELECT count(*) FROM {table}")[0][0])


def content(repository: Repository) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Everything that is in a repository: its files, and the rows of its tables."""
    engine = sqlalchemy.create_engine(repository.url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        names = sqlalchemy.inspect(connection).get_table_names()
        rows = {
            name: sorted(map(repr, connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"'))))
            for name in names
            if name != "opaque_meta"
        }
    # The table of datastore records is made when a repository is first opened for writing.
    return tree(repository.root), {name: found for name, found in rows.items() if found}


@pytest.fixture
def ways(make_repository: Callable[..., Repository], backend: str) -> Iterator[Ways]:
    ways = Ways(lambda: make_repository(backend))
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", ways.note)
    yield ways
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", ways.note)


on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", [pytest.param("postgresql", marks=pytest.mark.postgres)])


def test_everything_as_by_the_stock_importer(
    ways: Ways, make_repository: Callable[..., Repository], backend: str, tmp_path: Path
) -> None:
    export = write_export(tmp_path / "in" / "export.yaml", *zoo())
    result = ways.run(export, transfer="copy")
    assert result["datasets"]["inserted"] == result["datasets"]["stored"] == N_ZOO == ways.count("dataset")
    assert ways.count("file_datastore_records") == ways.count("dataset_location") == N_ZOO
    stock = make_repository(backend)
    stock_import(stock.root, export, export.parent, "copy")
    assert_same(stock, ways.staged)
    assert tree(stock.root).keys() == tree(ways.staged.root).keys()
    ways.run(export, transfer="copy", changed=False)
    # Queries are restricted to the governor dimensions that the summary of a run lists.
    butler = Butler.from_config(ways.staged.root)
    for name in ("Cam", "Other"):
        found = butler.query_datasets("raw", collections="raw/all", where=f"instrument = '{name}'")
        assert len(found) == 8
    odd = butler.get("note", instrument="Cam", group=ODD[0], collections="run/a")
    assert odd == {"path": "run/a/note_0.yaml"}


@on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["symlink", "relsymlink", "hardlink", "direct", "none"])
def test_transfer_modes(ways: Ways, tmp_path: Path, transfer: str) -> None:
    export = write_export(tmp_path / "in" / "export.yaml", *zoo())
    options: dict[str, Any] = {"transfer": transfer}
    if transfer == "none":
        for dry_run in (False, True):
            assert "for artifacts inside the repository" in str(
                ways.refuse(export, transfer="none", dry_run=dry_run)
            )
        for repository in (ways.staged, ways.by_ref):
            make_artifacts(repository.root / "inside", zoo())
        options["artifacts"] = lambda repository: repository.root / "inside"
    assert ways.run(export, **options)["datasets"]["stored"] == N_ZOO
    butler = Butler.from_config(ways.staged.root)
    found = butler.get("raw", instrument="Other", detector=3, exposure=1, collections="raw/all")
    assert found == {"path": "raws/Other_1.yaml"}
    ways.run(export, **options, changed=False)


@pytest.mark.parametrize(
    ("backend", "missing"),
    [("sqlite", "skip"), pytest.param("postgresql", "register", marks=pytest.mark.postgres)],
)
@pytest.mark.slow
def test_missing_artifacts(ways: Ways, tmp_path: Path, missing: str) -> None:
    """Of the first block, of one that several datasets share, and of one among others."""
    items = zoo()
    export = write_export(tmp_path / "in" / "export.yaml", *items)
    gone = ["run/a/config_0.yaml", "raws/Other_0.yaml", "run/b/bias_2.yaml"]
    for path in gone:
        (export.parent / path).unlink()
    error = ways.refuse(export, transfer="copy")
    assert isinstance(error, ArtifactError)
    assert "6 of 36 artifacts are missing" in str(error)
    result = ways.run(export, transfer="copy", missing=missing)
    assert result["datasets"]["missing"] == len(result["missing"]) == 6
    assert {one["path"] for one in result["missing"]} == {f"{export.parent}/{path}" for path in gone}
    n_datasets = N_ZOO - 6 if missing == "skip" else N_ZOO
    assert (ways.count("dataset"), ways.count("file_datastore_records")) == (n_datasets, N_ZOO - 6)
    ways.run(export, transfer="copy", missing=missing, changed=False)
    make_artifacts(export.parent, items)
    result = ways.run(export, transfer="copy", missing="fail")
    assert result["datasets"]["artifacts_added"] == (0 if missing == "skip" else 6)
    assert (ways.count("dataset"), ways.count("file_datastore_records")) == (N_ZOO, N_ZOO)


@on_sqlite
@pytest.mark.slow
def test_all_missing(ways: Ways, tmp_path: Path) -> None:
    export = write_export(tmp_path / "in" / "export.yaml", *zoo(), artifacts=False)
    assert ways.run(export, missing="skip")["datasets"]["inserted"] == 0
    result = ways.run(export, missing="register")
    assert result["datasets"]["inserted"] == result["datasets"]["missing"] == N_ZOO
    assert ways.count("dataset_location") == 0


@on_postgresql
@pytest.mark.slow
def test_some_datasets_of_an_artifact_are_there(ways: Ways, tmp_path: Path) -> None:
    (raws,) = (item for item in zoo() if item["dataset_type"] == "raw")
    some = [
        {**one, "dataset_id": one["dataset_id"][2:3], "data_id": one["data_id"][2:3]}
        for one in raws["records"]
    ]
    first = write_export(tmp_path / "in" / "first.yaml", {**raws, "records": some[:3]})
    assert ways.run(first, transfer="direct")["datasets"]["stored"] == 3
    registered = write_export(
        tmp_path / "nowhere" / "one.yaml", {**raws, "records": some[3:]}, artifacts=False
    )
    ways.run(registered, missing="register")
    result = ways.run(write_export(tmp_path / "in" / "all.yaml", raws), transfer="direct")
    assert result["datasets"] | {"found": 0} == {
        **{"found": 0, "inserted": 12, "present": 4, "missing": 0, "stored": 13, "artifacts_added": 1}
    }
    assert ways.staged.sql("SELECT DISTINCT count(*) FROM file_datastore_records GROUP BY path") == [(4,)]


@on_sqlite
@pytest.mark.slow
def test_two_exports_in_a_row(ways: Ways, tmp_path: Path) -> None:
    one = write_export(tmp_path / "in" / "1.yaml", single("bias", "run/a", *detectors("Cam")))
    other = write_export(tmp_path / "in" / "2.yaml", *zoo())
    last = write_export(tmp_path / "in" / "3.yaml", single("shard", "more", {"htm7": 131072}))
    result = ways.run(one, other, last)
    assert [file["inserted"] for file in result["files"]] == [4, N_ZOO - 4, 1]
    assert [file["present"] for file in result["files"]] == [0, 4, 0]


@on_postgresql
@pytest.mark.slow
def test_associations(ways: Ways, tmp_path: Path) -> None:
    items = zoo()
    biases = [one["dataset_id"][0] for item in items if item.get("run") == "run/b" for one in item["records"]]
    raws = [one for item in items if item["dataset_type"] == "raw" for one in item["records"]]
    tagged = {"collection": "best", "collection_type": "TAGGED"}
    calibration = {"collection": "calib", "collection_type": "CALIBRATION"}
    validity = {"timespan": YEAR, "dataset_ids": biases}
    export = write_export(
        tmp_path / "in" / "export.yaml",
        *items,
        {"type": "associations", **tagged, "dataset_ids": [i for one in raws for i in one["dataset_id"]]},
        {"type": "associations", **calibration, "validity_ranges": [validity]},
    )
    (export.parent / raws[0]["path"]).unlink()
    (export.parent / "run/b/bias_1.yaml").unlink()
    result = ways.run(export, missing="skip")
    assert (result["associations"], result["associations_dropped"]) == (12 + 3, 4 + 1)
    make_artifacts(export.parent, items)
    result = ways.run(export)
    assert (result["associations"], result["associations_dropped"]) == (4 + 1, 0)
    ways.run(export, changed=False)
    butler = Butler.from_config(ways.staged.root)
    assert len(butler.query_datasets("raw", collections="best", instrument="Cam")) == 8
    found = butler.registry.queryDatasetAssociations("bias", collections=["calib"])
    assert {(one.ref.id, one.timespan) for one in found} == {(one, YEAR) for one in biases}


def with_id(dataset_type: str, run: str, one: uuid.UUID, data_id: dict[str, Any]) -> dict[str, Any]:
    """A block with one dataset of a certain id."""
    item = single(dataset_type, run, data_id)
    item["records"][0]["dataset_id"] = [one]
    return item


@pytest.mark.slow
def test_conflicts_with_the_repository(ways: Ways, tmp_path: Path) -> None:
    data_ids = detectors("Cam")
    ways.run(write_export(tmp_path / "in" / "export.yaml", single("bias", "run/a", *data_ids)))
    there = [dataset_id("bias", "run/a", one) for one in data_ids]
    new = uuid.uuid4()
    for conflict, message in (
        (with_id("bias", "run/a", new, data_ids[2]), f"is dataset {new} in the export and {there[2]} in the"),
        (with_id("bias", "run/c", there[1], data_ids[1]), f"dataset {there[1]} is bias .* in run run/c"),
        (
            with_id("bias", "run/a", there[1], detectors("Other")[1]),
            f"{there[1]} is bias {{instrument: Other",
        ),
        (with_id("shard", "run/a", there[0], {"htm7": 131072}), f"{there[0]} is shard {{htm7: 131072}}"),
        (with_id("config", "run/b", there[0], {}), f"{there[0]} is config {{}}"),
    ):
        others = single("bias", "run/b", *detectors("Other", "Cam"))
        export = write_export(tmp_path / "in" / "other.yaml", others, conflict)
        error = ways.refuse(export)
        assert isinstance(error, ConflictError)
        assert re.search(message, str(error))


@on_postgresql
@pytest.mark.slow
def test_contradictions_in_one_export(ways: Ways, tmp_path: Path) -> None:
    data_ids = detectors("Cam")
    used = dataset_id("bias", "run/a", data_ids[1])
    new = uuid.uuid4()
    for other, message in (
        (with_id("bias", "run/a", new, data_ids[2]), f"the data ID .* of bias twice.*{new}"),
        (with_id("bias", "run/a", used, detectors("Other")[0]), f"uses the dataset id {used}"),
        (with_id("bias", "run/b", used, data_ids[1]), f"uses the dataset id {used}"),
        (with_id("shard", "run/b", used, {"htm7": 131072}), f"uses the dataset id {used}"),
    ):
        first = single("bias", "run/a", *data_ids)
        apart = write_export(tmp_path / "in" / "apart.yaml", first, other)
        errors = [ways.refuse(apart)]
        if (other["dataset_type"], other["run"]) == ("bias", "run/a"):
            first["records"] += other["records"]
            errors.append(ways.refuse(write_export(tmp_path / "in" / "together.yaml", first)))
        for error in errors:
            assert isinstance(error, ExportError)
            assert re.search(message, str(error))


@on_postgresql
@pytest.mark.slow
def test_repeats_count_once(ways: Ways, tmp_path: Path) -> None:
    item = single("bias", "run/a", *detectors("Cam"))
    repeated = {**item, "records": [*item["records"], *item["records"][1:3]]}
    export = write_export(tmp_path / "in" / "export.yaml", repeated, item, *zoo()[-1:])
    (export.parent / item["records"][1]["path"]).unlink()
    expected = {"found": 15, "inserted": 8, "present": 0, "missing": 1, "stored": 8, "artifacts_added": 0}
    assert ways.run(export, missing="skip")["datasets"] == expected
    make_artifacts(export.parent, [item])
    assert ways.run(export)["datasets"] == {
        **expected,
        "inserted": 1,
        "present": 8,
        "missing": 0,
        "stored": 1,
    }
    assert ways.run(export, changed=False)["datasets"]["present"] == ways.count("dataset") == 9


@on_sqlite
@pytest.mark.slow
def test_default_formatter(ways: Ways, tmp_path: Path) -> None:
    """An instrument can have one of its own."""
    items = zoo()
    for item in items:
        for one in item["records"]:
            del one["formatter"]
    for repository in (ways.staged, ways.by_ref):
        config = yaml.safe_load((repository.root / "butler.yaml").read_text())
        config["datastore"]["formatters"] = {"instrument<Other>": {"bias": "no.such.OtherFormatter"}}
        (repository.root / "butler.yaml").write_text(yaml.safe_dump(config))
    ways.run(write_export(tmp_path / "in" / "export.yaml", *items))
    found = ways.staged.sql("SELECT formatter, count(*) FROM file_datastore_records GROUP BY formatter")
    assert dict(found) == {YAML_FORMATTER: N_ZOO - 6, "no.such.OtherFormatter": 6}


@on_postgresql
@pytest.mark.slow
def test_odd_paths(ways: Ways, tmp_path: Path) -> None:
    names = (
        "with space.yaml",
        "a#b.yaml",
        "100%.yaml",
        "%41.yaml",
        "ü☃.yaml",
        "q?x.yaml",
        "back\\slash.yaml",
    )
    data_ids = detectors("Cam", "Other")[: len(names)]
    item = block(
        "bias",
        "run/a",
        (record("bias", "run/a", f"o d d/{n}", d) for n, d in zip(names, data_ids, strict=True)),
    )
    export = write_export(tmp_path / "in" / "export.yaml", item)
    for transfer in ("direct", "copy"):
        run = f"run/{transfer}"
        ways.run(
            write_export(
                export,
                {
                    **item,
                    "run": run,
                    "records": [
                        {**one, "dataset_id": [uuid.uuid5(one["dataset_id"][0], run)]}
                        for one in item["records"]
                    ],
                },
            ),
            transfer=transfer,
        )
        butler = Butler.from_config(ways.staged.root)
        for name, data_id in zip(names, data_ids, strict=True):
            assert butler.get("bias", data_id, collections=run) == {"path": f"o d d/{name}"}


@pytest.mark.slow
def test_dry_run(ways: Ways, tmp_path: Path) -> None:
    """The repository need not be writeable."""
    export = write_export(tmp_path / "in" / "export.yaml", *zoo())
    assert ways.run(export, dry_run=True, changed=False)["datasets"]["inserted"] == N_ZOO
    ways.run(write_export(tmp_path / "in" / "some.yaml", *zoo()[:3]))
    result = ways.run(export, dry_run=True, changed=False)
    assert (result["datasets"]["inserted"], result["datasets"]["present"]) == (N_ZOO - 21, 21)


@pytest.mark.slow
def test_in_a_schema_of_its_own(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    repository = make_repository("postgresql")
    config = Config(str(repository.root / "butler.yaml"))
    replica = tmp_path / "replica"
    Butler.makeRepo(replica, Config({"registry": {"db": config["registry", "db"], "namespace": "other"}}))
    export = write_export(tmp_path / "in" / "export.yaml", *zoo())
    result = import_exports(replica, [export], staged_from=0)
    assert (result.total("stored"), result.files[0].notices) == (N_ZOO, [])
    for table in ("dataset", "file_datastore_records", "dataset_location"):
        assert repository.sql(f"SELECT count(*) FROM other.{table}") == [(N_ZOO,)]
    assert repository.sql("SELECT count(*) FROM dataset") == [(0,)]
    found = Butler.from_config(replica).get("bias", instrument="Other", detector=3, collections="run/b")
    assert found == {"path": "run/b/bias_3.yaml"}
    assert not import_exports(replica, [export], staged_from=0).changed


@pytest.mark.slow
def test_a_reader_sees_what_an_import_would_do(
    make_repository: Callable[..., Repository], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    repository = make_repository("postgresql")
    export = write_export(tmp_path / "in" / "export.yaml", *zoo())
    import_exports(repository, [write_export(tmp_path / "in" / "some.yaml", *zoo()[:3])], staged_from=0)
    before = content(repository)
    reader = f"reader_{repository.name}"
    postgres_server.sql(f"CREATE ROLE {reader} LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
    try:
        auth = Path(os.environ["LSST_DB_AUTH"])
        url = postgres_server.url(repository.name)
        auth.write_text(yaml.safe_dump([{"url": url, "username": reader, "password": "x"}]))
        for grants, notice in (("ALL", ""), ("CONNECT", "allows no temporary tables")):
            postgres_server.sql(f"REVOKE ALL ON DATABASE {repository.name} FROM public")
            postgres_server.sql(f"GRANT {grants} ON DATABASE {repository.name} TO {reader}")
            result = import_exports(repository, [export], dry_run=True, staged_from=0)
            assert (result.total("inserted"), result.total("present")) == (N_ZOO - 21, 21)
            assert notice in "".join(result.files[0].notices)
            assert bool(result.files[0].notices) is bool(notice)
            postgres_server.sql(f"REVOKE ALL ON DATABASE {repository.name} FROM {reader}")
    finally:
        postgres_server.sql(f"DROP OWNED BY {reader}", database=repository.name)
        postgres_server.sql(f"DROP ROLE {reader}")
    assert content(repository) == before
