"""Nothing that the stock butler cannot read passes verify."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType

from butler_replica.cli import main
from butler_replica.collections.ensure import set_chain
from butler_replica.errors import ReplicaError
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from kit.repositories import add_datasets, certify

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("a") as stream:
        stream.write("more: 1\n")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def turn_into_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


FAULTS = {
    "cut to half": (
        cut,
        "1 have an artifact on disk that is not of the size",
        r"\(\d+ bytes, recorded are \d+\)",
    ),
    "grown": (grow, "1 have an artifact on disk that is not of the size", r"\(\d+ bytes, recorded are \d+\)"),
    "empty": (lambda path: path.write_text(""), "1 have an empty file or a Git LFS pointer", ""),
    "pointer": (lambda path: path.write_text(POINTER), "1 have an empty file or a Git LFS pointer", ""),
    "no permission": (
        lambda path: path.chmod(0),
        "1 have an artifact on disk that cannot be read",
        "no permission",
    ),
    "deleted": (Path.unlink, "1 have a datastore record and no artifact on disk", "no such file"),
    "folder": (replace_by_folder, "1 have a datastore record and no artifact on disk", "is a folder"),
    "pipe": (replace_by_pipe, "1 have a datastore record and no artifact on disk", "is no regular file"),
    "loop": (turn_into_loop, "1 have a datastore record and no artifact on disk", "no such file"),
}


@pytest.mark.parametrize(
    ("fault", "transfer"),
    [
        *((fault, "direct") for fault in FAULTS),
        *((fault, way) for fault in ("grown", "deleted", "pipe") for way in ("copy", "symlink")),
    ],
)
def test_faults(make_repository, tmp_path, fault, transfer):
    wound, said, why = FAULTS[fault]
    repository = make_repository()
    refs = add_datasets(repository, tmp_path / "data", transfer=transfer)
    assert verify(str(repository)).ok
    butler = Butler.from_config(str(repository))
    path = Path(butler.getURI(refs[2]).ospath)
    wound(path.resolve())
    result = verify(str(repository))
    (failure,) = result.failures
    assert failure.startswith(f"bias in run/bias: {said}")
    assert str(path) in failure
    if why:
        assert re.search(why, failure), failure
    assert (result.totals()["recorded"], result.totals()["on_disk"]) == (4, 3)
    if fault not in ("pipe", "no permission"):  # it would wait for a writer; root may read everything
        with pytest.raises(Exception):  # noqa: B017
            butler.get(refs[2])
    done = CliRunner().invoke(main, ["verify", str(repository)])
    assert done.exit_code == 1
    assert "wrong" in done.output


def test_placeholders_that_are_accepted_have_their_size(make_repository, tmp_path):
    repository = make_repository()
    add_datasets(repository, tmp_path / "data", transfer="direct")
    (tmp_path / "data" / "bias_1.yaml").write_text("")
    (failure,) = verify(str(repository), placeholders="accept").failures
    assert "1 have an artifact on disk that is not of the size" in failure
    repository.sql("UPDATE file_datastore_records SET file_size = 0 WHERE path LIKE '%bias_1%'")
    assert verify(str(repository), placeholders="accept").ok
    repository.sql("UPDATE file_datastore_records SET file_size = -1")
    assert verify(str(repository), placeholders="accept").ok


def test_a_path_that_the_butler_makes_nothing_of(make_repository, tmp_path):
    """Verify names it; prune does not take it for gone."""
    repository = make_repository()
    refs = add_datasets(repository, tmp_path / "data")
    repository.sql("UPDATE file_datastore_records SET path = 'file://[x/y' WHERE path LIKE '%D01%'")
    with pytest.raises(Exception):  # noqa: B017
        Butler.from_config(str(repository)).get(refs[1])
    (failure,) = verify(str(repository)).failures
    assert "1 have an artifact on disk that cannot be read: file://[x/y" in failure
    with pytest.raises(ReplicaError, match="makes no location"):
        prune(str(repository))
    assert repository.sql("SELECT count(*) FROM dataset") == [(4,)]


def test_examples_are_few(make_repository, tmp_path):
    repository = make_repository()
    add_datasets(repository, tmp_path / "data", count=6, transfer="direct")
    for number in range(5):
        grow(tmp_path / "data" / f"bias_{number}.yaml")
    (failure,) = verify(str(repository)).failures
    assert failure.count("bytes, recorded are") == 3
    assert " and 2 more; " in failure


@pytest.fixture
def zipped(make_repository, tmp_path):
    """Make a repository whose datasets are in one archive, by the stock butler; return it and the archive."""
    source = make_repository("sqlite", tmp_path / "source")
    add_datasets(source, tmp_path / "files")
    butler = Butler.from_config(str(source))
    refs = butler.query_datasets("bias", "run/bias", with_dimension_records=True)
    archive = butler.retrieve_artifacts_zip(refs, destination=tmp_path / "zips")
    repository = make_repository("sqlite", tmp_path / "zipped")
    add_datasets(repository, tmp_path / "others", kind="flat", run="run/flat")
    target = Butler.from_config(str(repository), writeable=True)
    target.registry.registerDatasetType(refs[0].datasetType)
    target.collections.register("run/bias")
    target.ingest_zip(archive, transfer="copy")
    (found,) = repository.root.rglob("*.zip")
    return repository, found


def rewrite(archive: Path, change) -> None:
    with zipfile.ZipFile(archive) as before:
        members = {name: before.read(name) for name in before.namelist()}
    change(members)
    with zipfile.ZipFile(archive, "w") as after:
        for name, content in members.items():
            after.writestr(name, content)


def drop_one(members: dict[str, bytes]) -> None:
    del members[next(name for name in members if "D01" in name)]


def cut_one(members: dict[str, bytes]) -> None:
    name = next(name for name in members if "D01" in name)
    members[name] = members[name][:5]


ZIP_FAULTS = {
    "a member is missing": (lambda path: rewrite(path, drop_one), 1, "the archive has no "),
    "a member is cut": (lambda path: rewrite(path, cut_one), 1, "5 bytes, recorded are "),
    "cut to half": (cut, 4, "no zip archive"),
    "another file": (lambda path: path.write_text("No archive."), 4, "no zip archive"),
    "deleted": (Path.unlink, 4, "no such file"),
}


@pytest.mark.parametrize("fault", ZIP_FAULTS)
def test_members_of_archives(zipped, fault):
    wound, count, why = ZIP_FAULTS[fault]
    repository, archive = zipped
    assert verify(str(repository)).ok
    wound(archive)
    (failure,) = verify(str(repository)).failures
    assert failure.startswith(f"bias in run/bias: {count} have ")
    assert why in failure
    butler = Butler.from_config(str(repository))
    unread = 0
    for ref in butler.query_datasets("bias", "run/bias"):
        try:
            butler.get(ref)
        except Exception:
            unread += 1
    assert unread == count


def test_an_archive_in_place_of_an_artifact(zipped):
    """A reader for YAML is given the whole archive."""
    repository, _ = zipped
    repository.sql(
        "UPDATE file_datastore_records SET path = substr(path, 1, instr(path, '#') - 1), file_size = -1 "
        "WHERE path LIKE '%#%'"
    )
    (failure,) = verify(str(repository)).failures
    assert failure.startswith("bias in run/bias: 4 have an artifact on disk that cannot be read")
    assert "an archive, which lsst.daf.butler.formatters.yaml.YamlFormatter does not read" in failure


def test_an_empty_calibration_collection_in_a_chain(make_repository, tmp_path):
    repository = make_repository()
    refs = add_datasets(repository, tmp_path / "data")
    butler = Butler.from_config(str(repository), writeable=True)
    butler.collections.register("calib", CollectionType.CALIBRATION)
    assert verify(str(repository)).ok
    set_chain(str(repository), "defaults", ["calib", "run/bias"])
    (failure,) = verify(str(repository)).failures
    assert failure.startswith("CALIBRATION collection calib, in the chain defaults, is empty")
    certify(repository, refs[:1])
    assert verify(str(repository)).ok


def test_a_calibration_collection_is_empty_since_nothing_came(make_repository, exported, tmp_path):
    """The set allows that artifacts are missing, and with them what they are certified for."""
    repository = make_repository()
    for path in (exported / "run" / "bias").rglob("*.yaml"):
        path.unlink()
    done = CliRunner().invoke(main, ["import", str(repository), str(exported), "--missing", "skip"])
    assert done.exit_code == 0, done.output
    one = {"name": "all", "exports": str(exported), "missing": "skip"}
    result = verify(str(repository), [one])
    assert result.ok, result.failures
    (notice,) = result.notices
    assert notice.startswith("CALIBRATION collection calib, in the chain all, is empty")
    assert any(line.startswith("notice: CALIBRATION collection calib") for line in result.report())
