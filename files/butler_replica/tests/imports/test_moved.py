"""Data that lie elsewhere than when they were imported: the import sets links and records anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.repositories import Repository
from kit.sameness import registry_tables

TRANSFERS = ("symlink", "relsymlink", "copy", "hardlink", "link", "direct")
STORE = {"file_datastore_records", "dataset_location"}


@pytest.fixture(params=["by ref", "staged"])
def way(request: pytest.FixtureRequest) -> int:
    """Return from how many datasets on they are compared set by set, instead of one by one."""
    return 1 if request.param == "staged" else 1_000


def is_whole(repository: Repository, export: Path, artifacts: Path) -> bool:
    """Whether the stock butler reads every dataset, and verify has nothing to say."""
    butler = Butler.from_config(str(repository))
    for kind in ("bias", "flat"):
        for ref in butler.query_datasets(kind, f"run/{kind}"):
            assert butler.get(ref) == {"kind": kind, "detector": ref.dataId["detector"]}
    return verify(str(repository), [{"name": "all", "exports": str(export), "artifacts": str(artifacts)}]).ok


@pytest.mark.parametrize(
    ("backend", "way", "transfer"),
    [
        ("sqlite", "by ref", "symlink"),
        ("sqlite", "by ref", "direct"),
        ("sqlite", "staged", "relsymlink"),
        pytest.param("postgresql", "by ref", "relsymlink", marks=pytest.mark.postgres),
        pytest.param("postgresql", "staged", "symlink", marks=pytest.mark.postgres),
        pytest.param("postgresql", "staged", "direct", marks=pytest.mark.postgres),
    ],
    indirect=["way"],
)
def test_moved(
    make_repository: Callable[..., Repository],
    backend: str,
    exported: Path,
    tmp_path: Path,
    way: int,
    transfer: str,
) -> None:
    repository = make_repository(backend)
    export = Path(shutil.copyfile(exported / "export.yaml", tmp_path / "export.yaml"))
    import_exports(repository, [export], artifacts=exported, transfer=transfer, staged_from=way)
    tables = registry_tables(repository)
    exported.rename(tmp_path / "elsewhere")
    # Nothing is found there, and nothing is changed.
    assert not import_exports(
        repository, [export], artifacts=exported, transfer=transfer, missing="skip", staged_from=way
    ).changed
    moved = {"artifacts": tmp_path / "elsewhere", "transfer": transfer}
    planned = import_exports(repository, [export], dry_run=True, **moved, staged_from=way)
    done = import_exports(repository, [export], **moved, staged_from=way)
    for result in (planned, done):
        assert result.changed
        assert (result.total("artifacts_renewed"), result.total("stored"), result.total("present")) == (
            8,
            8,
            8,
        )
        assert (result.total("artifacts_added"), result.total("inserted")) == (0, 0)
        assert result.to_dict()["artifacts_renewed"] == 8
    assert is_whole(repository, export, tmp_path / "elsewhere")
    after = registry_tables(repository)
    assert {name for name in tables if tables[name] != after[name]} <= STORE
    assert {name: len(rows) for name, rows in after.items()} == {
        name: len(rows) for name, rows in tables.items()
    }
    assert not import_exports(repository, [export], **moved, staged_from=way).changed


@pytest.mark.parametrize(
    ("way", "transfer"),
    [*(("by ref", transfer) for transfer in TRANSFERS), ("staged", "symlink"), ("staged", "direct")],
    indirect=["way"],
)
def test_some_were_lost(
    make_repository: Callable[..., Repository], exported: Path, tmp_path: Path, way: int, transfer: str
) -> None:
    """Some were deleted in the repository, or moved within the data; the others are left alone."""
    repository = make_repository()
    import_exports(repository, [exported], transfer=transfer, staged_from=way)
    folder = exported / "run" / "bias"
    if transfer == "direct":
        folder.rename(exported / "moved")
        rewrite = [("run/bias", str(exported / "moved"))]
    else:
        shutil.rmtree(repository.root / "run" / "bias")
        rewrite = []
    kept = {path: path.lstat().st_ino for path in repository.root.rglob("flat*.yaml")}
    result = import_exports(repository, [exported], rewrite=rewrite, transfer=transfer, staged_from=way)
    assert (result.total("artifacts_renewed"), result.total("stored")) == (4, 4)
    assert {path: path.lstat().st_ino for path in repository.root.rglob("flat*.yaml")} == kept
    butler = Butler.from_config(str(repository))
    for ref in butler.query_datasets("bias", "run/bias"):
        assert butler.get(ref)["kind"] == "bias"
    assert not import_exports(
        repository, [exported], rewrite=rewrite, transfer=transfer, staged_from=way
    ).changed


def test_another_way_than_before(
    make_repository: Callable[..., Repository], exported: Path, tmp_path: Path, way: int
) -> None:
    """What was recorded where it was becomes links, and links become records."""
    repository = make_repository()
    export = Path(shutil.copyfile(exported / "export.yaml", tmp_path / "export.yaml"))
    import_exports(repository, [export], artifacts=exported, transfer="direct", staged_from=way)
    for n, transfer in enumerate(("symlink", "direct", "copy")):
        exported = exported.rename(tmp_path / f"place{n}")
        result = import_exports(repository, [export], artifacts=exported, transfer=transfer, staged_from=way)
        assert result.total("artifacts_renewed") == 8
        assert is_whole(repository, export, exported)


def test_artifacts_that_come_one_after_the_other(
    repository: Repository, exported: Path, tmp_path: Path, way: int
) -> None:
    """A dataset that is registered alone gets nothing in the datastore when another's artifact comes."""
    export = Path(shutil.copyfile(exported / "export.yaml", tmp_path / "export.yaml"))
    (tmp_path / "come").mkdir()
    options = {"artifacts": tmp_path / "come", "missing": "register"}
    import_exports(repository, [export], **options, staged_from=way)
    for n, path in enumerate(sorted(exported.rglob("run/**/*.yaml")), 1):
        target = tmp_path / "come" / path.relative_to(exported)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        assert import_exports(repository, [export], **options, staged_from=way).total("artifacts_added") == 1
        for table in STORE:
            assert repository.sql(f"SELECT count(*) FROM {table}") == [(n,)]


def test_half_a_record(repository: Repository, exported: Path, way: int) -> None:
    """The row of the location is there and that of the record is not: the import makes both anew."""
    import_exports(repository, [exported], staged_from=way)
    repository.sql("DELETE FROM file_datastore_records WHERE path LIKE '%D01%'")
    assert import_exports(repository, [exported], staged_from=way).total("artifacts_added") == 2
    for table in STORE:
        assert repository.sql(f"SELECT count(*) FROM {table}") == [(8,)]
