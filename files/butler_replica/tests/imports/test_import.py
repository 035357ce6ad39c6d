"""Importing export files: checked by SQL, by walking folders and by the stock butler command."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler, CollectionType, Timespan

from butler_replica.errors import ArtifactError, ConflictError, ExportError, RepositoryError
from butler_replica.imports.importer import import_exports
from kit.exports import artifact_paths, make_artifacts
from kit.processes import STOCK, run
from kit.repositories import Repository, add_datasets, tree
from kit.sameness import assert_same, registry_tables

REAL = "ap_verify_testdata.20241001.7d3be4c.yaml"


def datasets(repository: Repository) -> int:
    return int(repository.sql("SELECT count(*) FROM dataset")[0][0])


def records(repository: Repository) -> int:
    Butler.from_config(repository.root, writeable=True)  # makes the table, where nothing else has yet
    return int(repository.sql("SELECT count(*) FROM file_datastore_records")[0][0])


def counts(result) -> tuple[int, int, int, int]:
    found = result.to_dict()["datasets"]
    return found["found"], found["inserted"], found["present"], found["missing"]


def run_import(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``butler-replica import`` in a process of its own."""
    return run("import", *arguments)


@pytest.fixture
def real_export(shared_exports: Path) -> Path:
    return shared_exports / REAL


@pytest.fixture
def artifacts(real_export: Path, tmp_path: Path) -> Path:
    """Artifacts for all but ten of the 202 datasets."""
    make_artifacts(artifact_paths(real_export)[10:], tmp_path / "artifacts")
    return tmp_path / "artifacts"


class TestMissingArtifacts:
    def test_skip(self, repository: Repository, real_export: Path, artifacts: Path) -> None:
        result = import_exports(repository, [real_export], artifacts=artifacts, missing="skip")
        assert counts(result) == (202, 192, 0, 10)
        assert (datasets(repository), records(repository)) == (192, 192)
        assert len(result.missing) == 10
        # All ten are certified in the export.
        assert result.to_dict()["associations_dropped"] == 10
        assert repository.sql("SELECT count(*) FROM detector")[0][0] == 189
        before, inputs, rows = tree(repository.root), tree(artifacts), registry_tables(repository)
        again = import_exports(repository, [real_export], artifacts=artifacts, missing="skip")
        assert counts(again) == (202, 0, 192, 10)
        assert not again.changed
        assert (tree(repository.root), tree(artifacts), registry_tables(repository)) == (before, inputs, rows)

    def test_register_then_complete(self, repository: Repository, real_export: Path, artifacts: Path) -> None:
        result = import_exports(repository, [real_export], artifacts=artifacts, missing="register")
        assert counts(result) == (202, 202, 0, 10)
        assert (datasets(repository), records(repository)) == (202, 192)
        again = import_exports(repository, [real_export], artifacts=artifacts, missing="register")
        assert counts(again) == (202, 0, 202, 10)
        assert not again.changed
        before = tree(repository.root)
        make_artifacts(artifact_paths(real_export)[:10], artifacts)
        completed = import_exports(repository, [real_export], artifacts=artifacts)
        assert counts(completed) == (202, 0, 202, 0)
        assert completed.to_dict()["datasets"]["artifacts_added"] == 10
        assert (datasets(repository), records(repository)) == (202, 202)
        assert before.items() <= tree(repository.root).items()

    def test_fail_keeps_nothing(self, repository: Repository, real_export: Path, artifacts: Path) -> None:
        before, rows = tree(repository.root), registry_tables(repository)
        with pytest.raises(ArtifactError, match="10 of 202 artifacts are missing"):
            import_exports(repository, [real_export], artifacts=artifacts)
        assert (tree(repository.root), registry_tables(repository)) == (before, rows)

    def test_stored_artifacts_need_no_source(self, repository: Repository, exported: Path) -> None:
        import_exports(repository, [exported], transfer="copy")
        for path in exported.rglob("*_*.yaml"):
            if path.name != "export.yaml":
                path.unlink()
        again = import_exports(repository, [exported], transfer="copy")
        assert counts(again) == (8, 0, 8, 0)


@pytest.mark.parametrize(
    ("policy", "collections"),
    [
        ("keep", {"all", "best", "calib", "run/bias", "run/flat"}),
        ("drop-chains", {"best", "calib", "run/bias", "run/flat"}),
        ("drop", {"run/bias", "run/flat"}),
    ],
)
def test_collections(repository: Repository, exported: Path, policy: str, collections: set[str]) -> None:
    import_exports(repository, [exported], collections=policy)
    assert {name for (name,) in repository.sql("SELECT name FROM collection")} == collections
    # What was left out can be taken later, and the other way round nothing goes.
    import_exports(repository, [exported], collections="keep")
    assert len(repository.sql("SELECT name FROM collection")) == 5
    assert not import_exports(repository, [exported], collections=policy).changed


def test_runs_made_first(repository: Repository, exported: Path) -> None:
    import_exports(repository, [exported], collections="drop", runs=["run/flat", "run/empty"])
    runs = repository.sql(f"SELECT name FROM collection WHERE type = {CollectionType.RUN.value}")
    assert {name for (name,) in runs} == {"run/bias", "run/flat", "run/empty"}
    assert not import_exports(repository, [exported], collections="drop", runs=["run/empty"]).changed


def test_associations_that_were_lost_come_back(repository: Repository, exported: Path) -> None:
    import_exports(repository, [exported])
    rows = registry_tables(repository)
    butler = Butler.from_config(repository.root, writeable=True)
    refs = butler.query_datasets("bias", collections="run/bias")
    butler.pruneDatasets(refs[:2], purge=True, unstore=True, disassociate=True)
    assert registry_tables(repository) != rows
    assert counts(import_exports(repository, [exported])) == (8, 2, 6, 0)
    assert registry_tables(repository) == rows


def test_chunks_in_any_order_with_overlaps(
    make_repository: Callable[..., Repository], backend: str, exported: Path, tmp_path: Path
) -> None:
    document = yaml.load((exported / "export.yaml").read_text(), _PlainLoader)
    header = {key: value for key, value in document.items() if key != "data"}
    first = [item for item in document["data"] if item["type"] != "associations"]
    chunks = tmp_path / "chunks"
    chunks.mkdir()
    for number in range(4):
        items = []
        for item in first:
            if item["type"] == "dataset":
                # Each chunk overlaps with the next by one record.
                item = {**item, "records": item["records"][number : number + 2]}
            items.append(item)
        (chunks / f"_export_{3 - number}.yaml").write_text(
            yaml.dump({**header, "data": items}, Dumper=_PlainDumper, sort_keys=False)
        )
    whole, chunked = make_repository(backend), make_repository(backend)
    import_exports(whole, [exported])
    result = import_exports(chunked, [chunks, exported / "export.yaml"], artifacts=exported)
    assert result.to_dict()["datasets"]["inserted"] == 8
    assert_same(whole, chunked)


class _PlainLoader(yaml.SafeLoader):
    """Keeps tagged values as they are written."""


class _Tagged:
    def __init__(self, tag: str, value: object) -> None:
        self.tag, self.value = tag, value


def _keep(loader: yaml.Loader, suffix: str, node: yaml.Node) -> _Tagged:
    value = loader.construct_mapping(node) if isinstance(node, yaml.MappingNode) else node.value
    return _Tagged(node.tag, value)


class _PlainDumper(yaml.SafeDumper):
    pass


def _write(dumper: yaml.Dumper, value: _Tagged) -> yaml.Node:
    if isinstance(value.value, dict):
        return dumper.represent_mapping(value.tag, value.value)
    return dumper.represent_scalar(value.tag, value.value)


_PlainLoader.yaml_constructors = dict(yaml.SafeLoader.yaml_constructors)
for _tag in [tag for tag in _PlainLoader.yaml_constructors if tag and tag.startswith("!")]:
    del _PlainLoader.yaml_constructors[_tag]
_PlainLoader.add_multi_constructor("!", _keep)
_PlainDumper.add_representer(_Tagged, _write)


class TestRewriting:
    def test_paths_and_never_names(self, repository: Repository, exported: Path, tmp_path: Path) -> None:
        text = (exported / "export.yaml").read_text()
        moved = tmp_path / "moved.yaml"
        # The prefix of the paths is also the beginning of collection names.
        moved.write_text(text.replace("path: run/", "path: /far/away/run/"))
        result = import_exports(
            repository, [moved], rewrite=[("/far", "/nowhere"), ("/far/away/", f"{exported}/")]
        )
        assert counts(result) == (8, 8, 0, 0)
        assert {name for (name,) in repository.sql("SELECT name FROM collection")} >= {"run/bias", "run/flat"}
        relative = import_exports(
            repository, [exported], rewrite=[("run/bias", f"{exported}/run/bias")], artifacts=exported
        )
        assert not relative.changed

    def test_outside_every_prefix(self, repository: Repository, exported: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved.yaml"
        moved.write_text((exported / "export.yaml").read_text().replace("path: run/", "path: /far2/run/"))
        rows = registry_tables(repository)
        with pytest.raises(ArtifactError, match=r"/far2/run/.*outside the folders"):
            import_exports(repository, [moved], rewrite=[("/far", str(exported))])
        moved.write_text((exported / "export.yaml").read_text().replace("path: run/", "path: ../run/"))
        with pytest.raises(ArtifactError, match=r"8 artifacts lie outside .*--root DIR"):
            import_exports(repository, [moved])
        assert registry_tables(repository) == rows


@pytest.mark.parametrize("transfer", ["symlink", "relsymlink", "copy", "hardlink", "link", "direct"])
def test_transfer_modes(make_repository: Callable[..., Repository], exported: Path, transfer: str) -> None:
    repository = make_repository("sqlite")
    inputs = tree(exported)
    import_exports(repository, [exported], transfer=transfer)
    butler = Butler.from_config(repository.root)
    assert butler.get("bias", instrument="Cam", detector=2, collections="run/bias") == {
        "kind": "bias",
        "detector": 2,
    }
    (path,) = {
        p for (p,) in repository.sql("SELECT path FROM file_datastore_records WHERE path LIKE '%bias%D02%'")
    }
    match transfer:
        case "direct":
            assert path.startswith(f"file://{exported}/")
        case "symlink":
            assert (repository.root / path).readlink().is_absolute()
        case "relsymlink":
            assert not (repository.root / path).readlink().is_absolute()
        case "copy":
            assert (repository.root / path).lstat().st_nlink == 1
        case _:
            assert (repository.root / path).lstat().st_nlink == 2
    stored = tree(repository.root)
    assert not import_exports(repository, [exported], transfer=transfer).changed
    assert (tree(exported), tree(repository.root)) == (inputs, stored)


def test_artifacts_inside_the_repository(repository: Repository, exported: Path) -> None:
    with pytest.raises(ArtifactError, match="artifacts inside the repository"):
        import_exports(repository, [exported], transfer="none")
    for path in (exported / "run").rglob("*.yaml"):
        inside = repository.root / path.relative_to(exported)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(path.read_bytes())
    result = import_exports(
        repository, [exported / "export.yaml"], transfer="none", artifacts=repository.root
    )
    assert counts(result) == (8, 8, 0, 0)
    assert Butler.from_config(repository.root).get(
        "flat", instrument="Cam", detector=1, collections="run/flat"
    )


def test_formatters_are_recorded_by_name(repository: Repository, real_export: Path, artifacts: Path) -> None:
    import_exports(repository, [real_export], artifacts=artifacts, missing="skip")
    found = {name for (name,) in repository.sql("SELECT DISTINCT formatter FROM file_datastore_records")}
    assert "lsst.meas.transiNet.modelPackages.formatters.NNModelPackageFormatter" in found
    assert "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter" in found


def test_dry_run_changes_nothing(repository: Repository, exported: Path) -> None:
    before, rows = tree(repository.root), registry_tables(repository)
    result = import_exports(repository, [exported], dry_run=True)
    assert result.changed
    assert counts(result) == (8, 8, 0, 0)
    assert result.chains == {"all": ["best", "calib", "run/bias", "run/flat"]}
    assert (tree(repository.root), registry_tables(repository)) == (before, rows)
    done = import_exports(repository, [exported])
    assert done.to_dict() == {**result.to_dict(), "dry_run": False}


LOST: dict[str, tuple[Callable[[Butler], object], str]] = {
    "documentation": (
        lambda butler: butler.registry.setCollectionDocumentation("best", None),
        "documentation of collection best",
    ),
    "tags": (
        lambda butler: butler.registry.disassociate("best", butler.query_datasets("flat", "best")),
        "associations: 2",
    ),
    "certifications": (
        lambda butler: butler.registry.decertify("calib", "bias", Timespan(None, None)),
        "associations: 4",
    ),
    "datasets": (
        lambda butler: butler.pruneDatasets(
            butler.query_datasets("flat", "run/flat"), purge=True, unstore=True, disassociate=True
        ),
        "flat in run/flat: 4 datasets",
    ),
    "artifacts": (
        lambda butler: butler.pruneDatasets(
            butler.query_datasets("flat", "run/flat"), unstore=True, disassociate=False
        ),
        "artifacts added: 4",
    ),
    "children": (
        lambda butler: butler.collections.redefine_chain("all", ["best"]),
        "chain all -> best, calib, run/bias, run/flat",
    ),
}
"""Ways to lose something that an export has, and how an import shows that it comes back."""


@pytest.mark.parametrize(
    ("lost", "staged_from"), [*((lost, 1_000) for lost in LOST), ("datasets", 0), ("artifacts", 0)]
)
def test_a_dry_run_shows_what_an_import_then_does(
    make_repository: Callable[..., Repository], exported: Path, lost: str, staged_from: int
) -> None:
    """Whatever it is that changes: no import changes anything without a line that says so."""
    repository = make_repository("sqlite")
    import_exports(repository, [exported])
    whole = registry_tables(repository)
    lose, line = LOST[lost]
    lose(Butler.from_config(repository.root, writeable=True))
    assert registry_tables(repository) != whole
    shown = import_exports(repository, [exported], dry_run=True, staged_from=staged_from)
    assert shown.changed
    assert line in shown.diff()[0]["after"].splitlines()
    done = import_exports(repository, [exported], staged_from=staged_from)
    assert (done.to_dict(), done.diff()) == ({**shown.to_dict(), "dry_run": False}, shown.diff())
    assert registry_tables(repository) == whole


class TestChains:
    def test_completed_when_the_child_arrives(
        self, repository: Repository, shared_exports: Path, real_export: Path, artifacts: Path
    ) -> None:
        """The chain singleFrame of the one export has the child refcats, which the other brings."""
        cfht = shared_exports / "jointcal_cfht.20211110.b2039ca.yaml"
        result = import_exports(repository, [cfht], missing="register")
        assert result.open_chains == {"singleFrame": ["refcats"]}
        result = import_exports(repository, [cfht, real_export], artifacts=artifacts, missing="register")
        assert result.open_chains == {}
        assert Butler.from_config(repository.root).collections.get_info("singleFrame").children == (
            "singleFrame/20211113T012828Z",
            "MegaPrime/raw/all",
            "MegaPrime/calib/unbounded",
            "refcats",
        )

    def test_never_loses_or_reorders(self, repository: Repository, exported: Path) -> None:
        import_exports(repository, [exported])
        butler = Butler.from_config(repository.root, writeable=True)
        butler.collections.register("mine")
        butler.collections.redefine_chain("all", ["run/flat", "mine", "best"])
        result = import_exports(repository, [exported])
        assert result.changed
        children = Butler.from_config(repository.root).collections.get_info("all").children
        assert [c for c in children if c in ("run/flat", "mine", "best")] == ["run/flat", "mine", "best"]
        assert set(children) == {"run/flat", "mine", "best", "calib", "run/bias"}
        assert not import_exports(repository, [exported]).changed


class TestConflicts:
    def test_other_id_for_a_data_id(
        self, make_repository: Callable[..., Repository], backend: str, exported: Path, tmp_path: Path
    ) -> None:
        repository = make_repository(backend)
        (mine, *_) = add_datasets(repository.root, tmp_path / "mine", count=1)
        before, rows = tree(repository.root), registry_tables(repository)
        with pytest.raises(ConflictError, match=f"in the export and {mine.id} in the repository"):
            import_exports(repository, [exported])
        assert (tree(repository.root), registry_tables(repository)) == (before, rows)

    def test_same_id_elsewhere(self, repository: Repository, exported: Path, tmp_path: Path) -> None:
        import_exports(repository, [exported])
        other = tmp_path / "other.yaml"
        other.write_text((exported / "export.yaml").read_text().replace(": run/flat", ": run/other"))
        rows = registry_tables(repository)
        with pytest.raises(ConflictError, match="run/other in the export"):
            import_exports(repository, [other], artifacts=exported, missing="register", collections="drop")
        assert registry_tables(repository) == rows

    def test_dataset_type_and_collection_type(
        self, repository: Repository, exported: Path, tmp_path: Path
    ) -> None:
        import_exports(repository, [exported])
        other = tmp_path / "other.yaml"
        text = (exported / "export.yaml").read_text()
        other.write_text(text.replace("StructuredDataDict", "StructuredDataList"))
        rows = registry_tables(repository)
        with pytest.raises(ConflictError, match="StructuredDataList.*StructuredDataDict"):
            import_exports(repository, [other], artifacts=exported)
        other.write_text(text.replace("collection_type: TAGGED", "collection_type: RUN"))
        with pytest.raises((ConflictError, ExportError), match="best"):
            import_exports(repository, [other], artifacts=exported)
        assert registry_tables(repository) == rows

    def test_overlapping_validity_range(self, repository: Repository, exported: Path, tmp_path: Path) -> None:
        import_exports(repository, [exported])
        other = tmp_path / "other.yaml"
        other.write_text((exported / "export.yaml").read_text().replace("2022-06-01", "2022-07-01"))
        rows = registry_tables(repository)
        with pytest.raises(ConflictError, match="overlaps"):
            import_exports(repository, [other], artifacts=exported)
        assert registry_tables(repository) == rows

    def test_unknown_dataset_type(self, repository: Repository, exported: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.yaml"
        other.write_text(
            (exported / "export.yaml").read_text().replace("dataset_type: flat", "dataset_type: flap")
        )
        rows = registry_tables(repository)
        with pytest.raises(ExportError, match="'flap', which neither the export nor the repository defines"):
            import_exports(repository, [other], artifacts=exported)
        assert registry_tables(repository) == rows

    def test_missing_dimension_records(self, repository: Repository, shared_exports: Path) -> None:
        rows = registry_tables(repository)
        with pytest.raises(ConflictError, match="1 instrument records, for bias.*: instrument=LSSTCam-imSim"):
            import_exports(
                repository, [shared_exports / "ci_imsim.20250220.4c194b9.yaml"], missing="register"
            )
        assert registry_tables(repository) == rows

    def test_a_file_in_the_way(self, repository: Repository, exported: Path) -> None:
        (path,) = (exported / "run" / "bias").rglob("*D02*")
        target = repository.root / path.relative_to(exported)
        target.parent.mkdir(parents=True)
        target.write_text("somebody's")
        before, rows = tree(repository.root), registry_tables(repository)
        with pytest.raises(ArtifactError, match=f"{target.name}: is there already"):
            import_exports(repository, [exported])
        assert (tree(repository.root), registry_tables(repository)) == (before, rows)


class TestRoom:
    @pytest.mark.slow
    @pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
    def test_full_disk(self, exported: Path, tmp_path: Path) -> None:
        for path in (exported / "run").rglob("*.yaml"):
            path.write_bytes(b"x" * 500_000)
        small = tmp_path / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=True)
        try:
            # In processes of their own, which let go of the file system when they end.
            assert run("create", small / "repo", entry=STOCK).returncode == 0
            before = tree(small / "repo")
            copied = run_import(small / "repo", exported, "--transfer", "copy")
            assert copied.returncode == 1
            assert "4.0 MB of artifacts are to be copied" in copied.stderr
            assert tree(small / "repo") == before
            # Links need no room to speak of.
            linked = run_import(small / "repo", exported, "--json")
            assert json.loads(linked.stdout)["datasets"]["stored"] == 8
        finally:
            subprocess.run(["umount", small], check=True)


class TestCommandLine:
    @pytest.fixture
    def backend(self) -> str:
        return "sqlite"

    def test_json(self, repository: Repository, real_export: Path, artifacts: Path) -> None:
        done = run_import(repository, real_export, "--artifacts", artifacts, "--missing", "skip", "--json")
        assert done.returncode == 0
        output = json.loads(done.stdout)
        assert output["changed"] is True
        assert output["datasets"] == {
            **{"found": 202, "inserted": 192, "present": 0, "missing": 10},
            **{"stored": 192, "artifacts_added": 0},
        }
        assert output["files"][0]["path"] == str(real_export)
        listed = run("query-datasets", repository, "flat", "--collections", "*", entry=STOCK)
        assert "ff0c320e-7055-4492-8e41-3beda26e4894" in listed.stdout

    @pytest.mark.slow
    def test_exit_status(
        self, repository: Repository, real_export: Path, artifacts: Path, tmp_path: Path
    ) -> None:
        failed = run_import(repository, real_export, "--artifacts", artifacts)
        assert (failed.returncode, "10 of 202" in failed.stderr) == (1, True)
        assert "Traceback" not in failed.stderr
        as_json = run_import(repository, real_export, "--artifacts", artifacts, "--json")
        assert as_json.returncode == 1
        assert "10 of 202" in json.loads(as_json.stdout)["error"]
        assert run_import(repository).returncode == 2
        assert run_import(repository, real_export, "--missing", "maybe").returncode == 2
        nowhere = run_import(tmp_path / "nowhere", real_export)
        assert (nowhere.returncode, "no Butler repository is there" in nowhere.stderr) == (1, True)

    @pytest.mark.slow
    def test_plain_text(self, repository: Repository, exported: Path) -> None:
        assert "8 inserted" in run_import(repository, exported).stdout
        assert "Nothing changed" in run_import(repository, exported).stdout


def test_database_that_cannot_be_used(
    make_repository: Callable[..., Repository],
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = make_repository("postgresql")
    config = repository.root / "butler.yaml"
    auth = Path(os.environ["LSST_DB_AUTH"])
    entries = yaml.safe_load(auth.read_text())
    auth.write_text(yaml.safe_dump([{**entry, "password": "wrong"} for entry in entries]))
    with pytest.raises(RepositoryError, match="password authentication failed.*db-auth.yaml"):
        import_exports(repository, [exported])
    auth.chmod(0o644)
    with pytest.raises(RepositoryError, match="credentials"):
        import_exports(repository, [exported])
    auth.chmod(0o600)
    text = config.read_text()
    config.write_text(text.replace(repository.name, "no_such_database"))
    auth.write_text(
        yaml.safe_dump([{**e, "url": e["url"].replace(repository.name, "no_such_database")} for e in entries])
    )
    with pytest.raises(RepositoryError, match="no_such_database"):
        import_exports(repository, [exported])
    closed = text.replace(text.partition("127.0.0.1:")[2].partition("/")[0], "1")
    config.write_text(closed)
    auth.write_text(yaml.safe_dump([{**e, "url": "postgresql://127.0.0.1:1/*"} for e in entries]))
    with pytest.raises(RepositoryError, match=r"[Cc]onnection refused.*Is the PostgreSQL server running"):
        import_exports(repository, [exported])


def test_quoted_paths(repository: Repository, shared_exports: Path, tmp_path: Path) -> None:
    """Paths taken from URIs have %2C where the file has a comma."""
    export = shared_exports / "rc2_subset.20210611.6cbe561.yaml"
    quoted = [path for path in artifact_paths(export) if "%2C" in path]
    make_artifacts([path.replace("%2C", ",") for path in quoted], tmp_path)
    result = import_exports(
        repository, [export], rewrite=[("/", str(tmp_path))], artifacts=tmp_path, missing="skip"
    )
    assert result.to_dict()["datasets"]["stored"] == len(quoted) > 50
