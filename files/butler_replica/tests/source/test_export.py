"""Exports of a repository: the stock importer reads them, and what is imported is what was exported."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler, CollectionType

from butler_replica.imports.importer import import_exports
from kit.exports import artifact_paths, make_artifacts, write_raws
from kit.processes import Command, run
from kit.repositories import Repository, add_datasets, certify, tree
from kit.sameness import assert_same
from kit.stock import stock_import

SHARED = [
    "ap_verify_ci_cosmos_pdr2.20220519.89b5daf.yaml",
    "ap_verify_testdata.20200924.248767b.yaml",
    "ap_verify_testdata.20241001.7d3be4c.yaml",
    "jointcal_hsc.20221103.d43ec85.yaml",
    "rc2_subset.20210611.6cbe561.yaml",
]


@pytest.fixture
def filled(make_repository: Callable[..., Repository], tmp_path: Path) -> Repository:
    """A repository with raws, calibrations, tags, chains, and datasets without artifact."""
    return fill(make_repository("sqlite"), tmp_path)


def fill(repository: Repository, folder: Path) -> Repository:
    """Fill a repository with a little of everything."""
    write_raws(folder / "raws", exposures=7, detectors=5)
    import_exports(repository, [folder / "raws"], transfer="copy", missing="register")
    certify(repository, add_datasets(repository, folder / "files", run="calib/run", count=5))
    butler = Butler.from_config(repository.root, writeable=True)
    butler.collections.register("tagged", CollectionType.TAGGED)
    butler.registry.associate("tagged", butler.query_datasets("raw", "Cam/raw/all", limit=4))
    butler.collections.register("empty")
    for chain, children in {"inner": ["calib", "empty"], "all": ["Cam/raw/all", "inner", "tagged"]}.items():
        butler.collections.register(chain, CollectionType.CHAINED, doc=f"The chain\n{chain}.")
        butler.collections.redefine_chain(chain, children)
    return repository


def exported(source: Repository, out: Path, *options: str) -> list[Path]:
    """Export by the command line; return the files in the order in which they are imported."""
    done = run("export", source.root, out, *options)
    assert done.returncode == 0, done.stderr
    return sorted(out.glob("*/_export_*"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["yaml", "yaml.gz"])
def test_there_and_back(
    make_repository: Callable[..., Repository], backend: str, tmp_path: Path, form: str
) -> None:
    source, copy, other = (
        fill(make_repository(backend), tmp_path),
        make_repository(backend),
        make_repository(),
    )
    files = exported(source, tmp_path / "out", "--format", form, "--chunk", "10")
    assert {path.name.partition(".")[2] for path in files} == {form}
    import_exports(copy, files, artifacts=source.root, transfer="copy", missing="register")
    assert_same(source, copy)
    assert tree(source.root) | {"butler.yaml": ""} == tree(copy.root) | {"butler.yaml": ""}
    import_exports(other, files, artifacts=source.root, transfer="copy", missing="register")
    assert run("compare", source.root, other.root).returncode == 0


def test_read_by_stock(
    filled: Repository, make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    copy = make_repository()
    for path in exported(filled, tmp_path / "out", "--missing", "skip"):
        stock_import(copy.root, path, filled.root, "copy")
    assert_same(filled, copy)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.filterwarnings("ignore:Constructing day_obs")
@pytest.mark.slow
def test_real_exports_there_and_back(
    make_repository: Callable[..., Repository], shared_exports: Path, tmp_path: Path, name: str
) -> None:
    artifacts = tmp_path / "artifacts"
    make_artifacts(artifact_paths(shared_exports / name), artifacts)
    source, copy = make_repository(), make_repository()
    import_exports(
        source,
        [shared_exports / name],
        artifacts=artifacts,
        rewrite=[("/", f"{artifacts}/")],
        transfer="copy",
    )
    files = exported(source, tmp_path / "out")
    import_exports(copy, files, artifacts=source.root, transfer="copy", missing="register")
    assert_same(source, copy)


def test_same_source_same_bytes(filled: Repository, tmp_path: Path) -> None:
    exported(filled, tmp_path / "one", "--chunk", "9")
    exported(filled, tmp_path / "two", "--chunk", "9")
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("raw", "instrument = 'Cam' AND exposure IN (1001..1003) AND detector < 3"),
        ("raw", "instrument = 'Cam' AND exposure.obs_id = 'MC_1002'"),
        ("bias", "instrument = 'Cam' AND detector = 2"),
    ],
)
def test_expression_as_stock_understands_it(
    filled: Repository, tmp_path: Path, kind: str, where: str
) -> None:
    files = exported(filled, tmp_path / "out", "-t", kind, "--where", where, "--collections", "all")
    ids = {
        one for path in files for one in re.findall(r"^    - !uuid '(.*)'", path.read_text(), re.MULTILINE)
    }
    said = run(
        *("query-datasets", filled.root, kind, "--where", where, "--collections", "*"),
        entry="lsst.daf.butler.cli.butler:main",
    )
    assert ids
    assert ids == set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", said.stdout))


def test_of_a_selection_no_more_than_it_needs(filled: Repository, tmp_path: Path) -> None:
    (path,) = exported(
        filled, tmp_path / "out", "-t", "raw", "--where", "instrument = 'Cam' AND exposure = 1001"
    )
    items = yaml.safe_load(path.read_text())["data"]
    records = {item["element"]: len(item["records"]) for item in items if item["type"] == "dimension"}
    # Of the focal plane all, for a camera with gaps is of little use.
    assert records == {
        "instrument": 1,
        "detector": 5,
        "day_obs": 1,
        "group": 1,
        "physical_filter": 1,
        "exposure": 1,
    }
    collections = {item["name"]: item.get("children") for item in items if item["type"] == "collection"}
    assert collections["all"] == ["Cam/raw/all", "inner", "tagged"]


def test_files_are_listed(filled: Repository, tmp_path: Path) -> None:
    exported(filled, tmp_path / "out")
    listed = [line.split("\t") for line in (tmp_path / "out/bias/_files.txt").read_text().splitlines()]
    assert len(listed) == 5
    for path, size, _ in listed:
        assert (filled.root / path).stat().st_size == int(size)


@pytest.mark.parametrize("form", ["stored", "absolute", "relative"])
def test_paths(filled: Repository, tmp_path: Path, form: str) -> None:
    files = exported(filled, tmp_path / "out", "-t", "bias", "--paths", form)
    paths = re.findall(r"^    path: (\S+)$", files[0].read_text(), re.MULTILINE)
    assert len(paths) == 5
    assert {path.startswith("/") for path in paths} == {form == "absolute"}
    assert all((filled.root / path).is_file() for path in paths)


def test_killed_and_continued(filled: Repository, tmp_path: Path) -> None:
    began = time.monotonic()
    exported(filled, tmp_path / "whole", "--chunk", "3")
    duration = time.monotonic() - began
    out = tmp_path / "out"
    for number in range(1, 6):
        with Command("export", filled.root, out, "--chunk", "3", "--resume") as process:
            time.sleep(duration * number / 6)
            process.send_signal(signal.SIGKILL)
            process.wait()
        for path in out.glob("*/_export_*.yaml"):
            assert path.read_bytes() == (tmp_path / "whole" / path.relative_to(out)).read_bytes()
    exported(filled, out, "--chunk", "3", "--resume")
    assert content(out) == content(tmp_path / "whole")
    again = json.loads(run("export", filled.root, out, "--chunk", "3", "--resume", "--json").stdout)
    assert not again["changed"]


def test_damaged_file_is_written_again(filled: Repository, tmp_path: Path) -> None:
    path = exported(filled, tmp_path / "out")[0]
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Cam", b"Map"))
    exported(filled, tmp_path / "out", "--resume")
    assert path.read_bytes() == whole


REFUSED = {
    "another export": (["-t", "bias"], ["-t", "raw", "--resume"], "holds an export of something else"),
    "no word of continuing": ([], [], "Continue it with --resume"),
    "no such collection": (None, ["--collections", "nowhere"], "no collection 'nowhere'"),
    "no such type": (None, ["-t", "nothing"], "no dataset type 'nothing'"),
    "no expression": (None, ["--where", "exposure ="], "cannot be asked for 'exposure ='"),
    "unknown name": (None, ["--where", "instrument = 'Cam' AND nothing = 3"], "cannot be asked for"),
    "no chunk": (None, ["--chunk", "0"], "chunk is 0"),
    "without artifact": (None, ["--missing", "fail"], "has no artifact in the source"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(filled: Repository, tmp_path: Path, case: str) -> None:
    before, options, message = REFUSED[case]
    if before is not None:
        exported(filled, tmp_path / "out", *before)
    if case == "without artifact":
        butler = Butler.from_config(filled.root, writeable=True)
        butler.registry.insertDatasets("bias", [{"instrument": "Cam", "detector": 0}], run="empty")
    done = run("export", filled.root, tmp_path / "out", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_else_is_written_over(filled: Repository, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    assert "holds something that is no export" in run("export", filled.root, tmp_path / "out").stderr
    assert content(tmp_path / "out") == {"notes.txt": b"mine"}
    before = tree(filled.root)
    assert "lies in the source" in run("export", filled.root, filled.root / "out").stderr
    assert tree(filled.root) == before


def test_link_is_not_followed(filled: Repository, tmp_path: Path) -> None:
    exported(filled, tmp_path / "out", "-t", "bias")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out/export.json.part").symlink_to(tmp_path / "victim")
    (tmp_path / "out/export.jsonl").symlink_to(tmp_path / "victim")
    done = run("export", filled.root, tmp_path / "out", "-t", "bias", "--resume")
    assert done.returncode == 1
    assert (tmp_path / "victim").read_text() == "mine"


def test_dry_run_writes_nothing(filled: Repository, tmp_path: Path) -> None:
    said = json.loads(run("export", filled.root, tmp_path / "out", "--dry-run", "--json").stdout)
    assert not (tmp_path / "out").exists()
    assert said["dataset_types"]["raw"]["datasets"] == 35
    assert said["changed"]
