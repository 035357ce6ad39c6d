"""Artifacts that are not what they seem: empty files, Git LFS pointers, folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler

from butler_replica.artifacts.finder import FoundArtifact, make_finder
from butler_replica.artifacts.listing import Listing
from butler_replica.cli import main
from butler_replica.errors import ArtifactError
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.repositories import Repository, add_datasets

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)


@pytest.fixture
def exported(make_repository, tmp_path: Path) -> Path:
    """Four biases and their export, the artifacts beside it."""
    source = make_repository("sqlite", tmp_path / "source")
    refs = add_datasets(source, tmp_path / "files")
    folder = tmp_path / "exported"
    folder.mkdir()
    with Butler.from_config(str(source)).export(
        directory=str(folder), filename=str(folder / "export.yaml"), transfer="copy"
    ) as export:
        export.saveDatasets(refs)
    return folder


def artifacts(folder: Path) -> list[Path]:
    return sorted(folder.glob("run/**/*.yaml"))


def sizes(repository: Repository) -> list[int]:
    return [size for (size,) in repository.sql("SELECT file_size FROM file_datastore_records ORDER BY path")]


def test_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("version 2 of the data")
    (tmp_path / "large").write_text(POINTER + "x" * 1024)
    (tmp_path / "with%20percent").write_text("12")
    (tmp_path / "with space").write_text("1")
    (tmp_path / "pointer").write_text(POINTER)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "pointer", "empty", "folder", "gone"):
        (tmp_path / f"to_{name}").symlink_to(name)
    os.mkfifo(tmp_path / "pipe")
    there = {"file": 21, "to_file": 21, "large": len(POINTER) + 1024}
    placeholders = {"pointer": "Git LFS pointer", "empty": "empty file"}
    missing = {
        "gone": "no such file",
        "to_gone": "no such file",
        "no/folder": "no such file",
        "file/below": "no such file",
        "folder": "is a folder",
        "to_folder": "is a folder",
        "pipe": "is no regular file",
        **placeholders,
        **{f"to_{name}": reason for name, reason in placeholders.items()},
    }
    finder = make_finder(tmp_path / "export.yaml", Listing())
    for name, size in there.items():
        assert finder.find(name) == (str(tmp_path / name), size, "")
    for name, reason in missing.items():
        assert finder.find(name) == (str(tmp_path / name), None, reason)
    lenient = make_finder(tmp_path / "export.yaml", Listing(), placeholders="accept")
    for name, reason in missing.items():
        kind = name.removeprefix("to_")
        size = {"empty": 0, "pointer": len(POINTER)}.get(kind)
        assert lenient.find(name) == (
            str(tmp_path / name),
            size,
            "" if kind in placeholders else reason,
        )
    # As it is written first, then with the characters that %XX stands for.
    assert finder.find("with%20percent") == FoundArtifact(str(tmp_path / "with%20percent"), 2, "")
    assert finder.find("with%20space") == FoundArtifact(str(tmp_path / "with space"), 1, "")


def test_a_file_that_vanished_after_its_folder_was_listed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    listing = Listing()
    assert listing.exists(str(tmp_path / "file"))
    (tmp_path / "file").unlink()
    assert listing.look(str(tmp_path / "file")) == (None, "no such file")


def test_import_and_verify(repository: Repository, exported: Path) -> None:
    """Empty, a pointer, through a link; each with its reason, and whole when they come."""
    content = {path: path.read_bytes() for path in artifacts(exported)}
    empty, pointer, linked, whole = content
    empty.write_bytes(b"")
    pointer.write_text(POINTER)
    linked.unlink()
    linked.symlink_to(pointer)
    with pytest.raises(ArtifactError, match="3 of 4 artifacts are missing") as error:
        import_exports(repository, [exported])
    for path, reason in ((empty, "empty file"), (pointer, "Git LFS pointer"), (linked, "Git LFS pointer")):
        assert f"{path} ({reason})" in str(error.value)
    assert repository.sql("SELECT count(*) FROM dataset") == [(0,)]

    result = import_exports(repository, [exported], missing="register")
    assert sorted((missing.path, missing.reason) for missing in result.missing) == sorted(
        [(str(empty), "empty file"), (str(pointer), "Git LFS pointer"), (str(linked), "Git LFS pointer")]
    )
    assert sizes(repository) == [len(content[whole])]
    one = {"name": "biases", "exports": str(exported), "missing": "skip"}
    assert verify(str(repository), [one]).ok
    (failure,) = verify(str(repository), [{**one, "placeholders": "accept"}]).failures
    assert "3 have no datastore record although their artifacts are there" in failure

    linked.unlink()
    for path, data in content.items():
        path.write_bytes(data)
    completed = import_exports(repository, [exported])
    assert completed.to_dict()["datasets"]["artifacts_added"] == 3
    assert sizes(repository) == [len(data) for data in content.values()]
    assert verify(str(repository), [{**one, "missing": "fail"}]).ok


def test_accepted_as_they_are(repository: Repository, exported: Path) -> None:
    empty, pointer, *_ = artifacts(exported)
    empty.write_bytes(b"")
    pointer.write_text(POINTER)
    import_exports(repository, [exported], placeholders="accept", transfer="copy")
    assert sizes(repository)[:2] == [0, len(POINTER)]
    assert not import_exports(repository, [exported], placeholders="accept", transfer="copy").changed
    one = {"name": "biases", "exports": str(exported), "placeholders": "accept"}
    assert verify(str(repository), [one]).ok
    assert verify(str(repository), placeholders="accept").ok


def test_artifacts_that_turned_into_placeholders(repository: Repository, exported: Path) -> None:
    """Verify names them, for the set and without one; prune leaves them."""
    import_exports(repository, [exported])
    artifacts(exported)[0].write_bytes(b"")
    artifacts(exported)[1].write_text(POINTER)
    said = "2 have an empty file or a Git LFS pointer on disk in place of the artifact"
    for missing in ("fail", "skip", "register"):
        result = verify(str(repository), [{"name": "all", "exports": str(exported), "missing": missing}])
        (failure,) = result.failures
        assert f"import set 'all': bias in run/bias: {said}" in failure
        assert (result.totals()["recorded"], result.totals()["on_disk"]) == (4, 2)
    (failure,) = verify(str(repository)).failures
    assert f"bias in run/bias: {said}" in failure
    assert not prune(str(repository)).changed
    assert repository.sql("SELECT count(*) FROM dataset") == [(4,)]


def test_command(make_repository, exported: Path, tmp_path: Path) -> None:
    repository = make_repository()
    shutil.copyfile("/dev/null", artifacts(exported)[0])
    arguments = [str(repository), str(exported)]
    done = CliRunner().invoke(main, ["import", *arguments])
    assert done.exit_code == 1
    assert "(empty file)" in done.output
    for verb in ("import", "verify"):
        done = CliRunner().invoke(main, [verb, *arguments, "--placeholders", "accept"])
        assert done.exit_code == 0, done.output
    assert CliRunner().invoke(main, ["verify", *arguments]).exit_code == 1
    assert CliRunner().invoke(main, ["verify", str(repository)]).exit_code == 1
    assert CliRunner().invoke(main, ["verify", str(repository), "--placeholders", "accept"]).exit_code == 0
    description = tmp_path / "sets.yml"
    one = {"name": "biases", "exports": str(exported), "placeholders": "accept"}
    description.write_text(yaml.safe_dump({"dc2_import_sets": [one]}))
    assert CliRunner().invoke(main, ["verify", str(repository), "--sets", str(description)]).exit_code == 0
