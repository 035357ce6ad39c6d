"""Files are made where they belong, whole, readable by whom the artifact is, and on the disk before the commit."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from butler_replica.artifacts import open_folders
from butler_replica.artifacts.rewriting import Roots
from butler_replica.artifacts.transfer import Transfer
from butler_replica.errors import ArtifactError
from butler_replica.imports.importer import import_exports
from butler_replica.progress import Report
from kit.repositories import Repository, tree

WRITING = ("symlink", "relsymlink", "copy", "hardlink", "link")
TARGET = "run/bias/bias_Cam_D00_run_bias.yaml"


def bring(mode: str, root: Path, source: Path, name: str = TARGET, size: int | None = None) -> Transfer:
    one = Transfer(mode, root, Roots([source.parent]))
    size = source.stat().st_size if size is None else size
    one.bring([(str(root / name), str(source), size)])
    return one


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artifact").write_text("content")
    return tmp_path / "data" / "artifact"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "victim").write_text("precious")
    return tmp_path / "elsewhere" / "victim"


def plant_folder(root: Path, victim: Path) -> None:
    """The folder itself leads elsewhere."""
    (root / "run").mkdir()
    (root / "run" / "bias").symlink_to(victim.parent)


def plant_folder_above(root: Path, victim: Path) -> None:
    """One above it does, absolutely."""
    (root / "run").symlink_to(victim.parent)


def plant_relative_folder(root: Path, victim: Path) -> None:
    """One above it does, by ``..``."""
    (root / "run").symlink_to(Path("..") / victim.parent.name)


def plant_file(root: Path, victim: Path) -> None:
    """The file is a link to another."""
    (root / TARGET).parent.mkdir(parents=True)
    (root / TARGET).symlink_to(victim)


PLANTED = (plant_folder, plant_folder_above, plant_relative_folder, plant_file)


@pytest.mark.parametrize("mode", WRITING)
@pytest.mark.parametrize("plant", PLANTED)
def test_planted_links(
    root: Path, source: Path, victim: Path, mode: str, plant: Callable[[Path, Path], None]
) -> None:
    """Nothing is made, changed or removed through them."""
    plant(root, victim)
    before = tree(root), tree(victim.parent)
    one = Transfer(mode, root, Roots([source.parent]))
    with pytest.raises(ArtifactError, match="symbolic link|links to"):
        one.bring([(str(root / TARGET), str(source), 7)])
    one.undo()
    assert (tree(root), tree(victim.parent)) == before


@pytest.mark.parametrize("name", [f"{TARGET}.partial", f"{TARGET}.part", f"{TARGET}~"])
@pytest.mark.parametrize("mode", WRITING)
def test_names_of_incomplete_copies(root: Path, source: Path, victim: Path, mode: str, name: str) -> None:
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(victim)
    bring(mode, root, source)
    assert victim.read_text() == "precious"
    assert (root / TARGET).read_text() == "content"
    assert len(list((root / TARGET).parent.iterdir())) == 2


def plant_content(path: Path, victim: Path) -> None:
    path.write_text("of somebody else, and longer")


def plant_second_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def plant_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def plant_dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent / "not there yet")


@pytest.mark.parametrize("plant", [plant_content, plant_second_name, plant_link, plant_dangling_link])
def test_something_under_the_name_of_an_incomplete_copy(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    source: Path,
    victim: Path,
    plant: Callable[[Path, Path], None],
) -> None:
    """Whoever guessed the name, and was faster, has nothing written into what is there, or elsewhere."""
    planted = (root / TARGET).with_name(f".{'5' * 32}.partial")

    def guessed(number: int) -> str:
        plant(planted, victim)
        return "5" * 2 * number

    monkeypatch.setattr("secrets.token_hex", guessed)
    with pytest.raises(ArtifactError, match="made by somebody else"):
        bring("copy", root, source)
    assert planted.is_symlink() or planted.read_text() in ("precious", "of somebody else, and longer")
    assert {path.name: path.read_text() for path in victim.parent.iterdir()} == {"victim": "precious"}
    assert not (root / TARGET).exists()


def test_a_root_that_is_a_link(root: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    linked = tmp_path / "deep" / "link"
    linked.symlink_to(root)
    for mode in WRITING:
        bring(mode, linked, source, f"{mode}/file")
        assert (root / mode / "file").read_text() == "content"


@pytest.mark.parametrize(
    ("mode", "umask", "expected"),
    [
        (0o644, 0o022, 0o644),
        (0o600, 0o022, 0o600),
        (0o640, 0o002, 0o640),
        (0o664, 0o002, 0o664),
        (0o664, 0o027, 0o664),
        (0o644, 0o077, 0o644),
        (0o600, 0, 0o600),
        (0o444, 0o022, 0o644),
        (0o4755, 0o022, 0o644),
    ],
)
def test_modes_of_copies(root: Path, source: Path, mode: int, umask: int, expected: int) -> None:
    """That of the artifact, whatever the umask; the owner may write."""
    source.chmod(mode)
    before = os.umask(umask)
    try:
        bring("copy", root, source)
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / TARGET).stat().st_mode) == expected


@pytest.mark.parametrize("of_root", [0o755, 0o700, 0o750, 0o775, 0o2775, 0o2770])
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_who_may_enter_the_repository_may_enter_its_folders(
    root: Path, source: Path, of_root: int, umask: int, mode: str
) -> None:
    """Readers of a repository whose user has umask 077; the second writer of a group."""
    root.chmod(of_root)
    before = os.umask(umask)
    try:
        bring(mode, root, source, "run/kind/one")
        bring(mode, root, source, "run/kind/two")
    finally:
        os.umask(before)
    made = [root / "run", root / "run/kind"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [of_root, of_root]


def grown(source: Path) -> None:
    with source.open("a") as file:
        file.write("more")


def truncated(source: Path) -> None:
    source.write_text("c")


def touched(source: Path) -> None:
    os.utime(source, ns=(1, 1))


@pytest.mark.parametrize("change", [grown, truncated])
def test_an_artifact_that_changed_before_it_is_copied(
    root: Path, source: Path, change: Callable[[Path], None]
) -> None:
    change(source)
    one = Transfer("copy", root, Roots([source.parent]))
    with pytest.raises(ArtifactError, match="changes while it is copied: 7 bytes"):
        one.bring([(str(root / TARGET), str(source), 7)])
    one.undo()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("change", [grown, truncated, touched])
def test_an_artifact_that_changes_while_it_is_copied(
    monkeypatch: pytest.MonkeyPatch, root: Path, source: Path, change: Callable[[Path], None]
) -> None:
    copy = shutil.copyfileobj

    def slow(*of: Any) -> None:
        copy(*of)
        change(source)

    monkeypatch.setattr(shutil, "copyfileobj", slow)
    one = Transfer("copy", root, Roots([source.parent]))
    with pytest.raises(ArtifactError, match="changes while it is copied"):
        one.bring([(str(root / TARGET), str(source), 7)])
    one.undo()
    assert list(root.iterdir()) == []


def test_a_pipe_in_place_of_the_artifact(root: Path, source: Path) -> None:
    source.unlink()
    os.mkfifo(source)
    with pytest.raises(ArtifactError, match="no regular file"):
        bring("copy", root, source, size=7)


def test_file_systems_without_hard_links(monkeypatch: pytest.MonkeyPatch, root: Path, source: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    bring("copy", root, source)
    assert (root / TARGET).read_text() == "content"
    assert len(list((root / TARGET).parent.iterdir())) == 1


@pytest.fixture
def synchronised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Folders whose file systems were written to the disk."""
    folders: list[str] = []
    original = open_folders.sync_file_system

    def record(descriptor: int) -> int:
        folders.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return original(descriptor)

    monkeypatch.setattr(open_folders, "sync_file_system", record)
    monkeypatch.delenv("BUTLER_REPLICA_NO_SYNC")
    yield folders


@pytest.mark.parametrize("mode", ["symlink", "copy", "direct"])
def test_on_the_disk_before_the_commit(
    monkeypatch: pytest.MonkeyPatch,
    make_repository: Callable[..., Repository],
    exported: Path,
    synchronised: list[str],
    mode: str,
) -> None:
    """Once for all artifacts of a file, when these are in place and their datasets are not."""
    repository = make_repository()
    seen = []
    recorded = open_folders.sync_file_system

    def look(descriptor: int) -> int:
        in_place = [path for path in repository.root.rglob("*.yaml") if path.name != "butler.yaml"]
        seen.append((len(in_place), repository.sql("SELECT count(*) FROM dataset")[0][0]))
        return recorded(descriptor)

    monkeypatch.setattr(open_folders, "sync_file_system", look)
    import_exports(repository, [exported], transfer=mode)
    assert seen == ([] if mode == "direct" else [(8, 0)])
    assert all(folder.startswith(str(repository.root)) for folder in synchronised)
    import_exports(repository, [exported], transfer=mode)
    assert len(seen) == (0 if mode == "direct" else 1)


def test_not_on_the_disk(
    root: Path, source: Path, synchronised: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTLER_REPLICA_NO_SYNC", "1")
    bring("copy", root, source)
    assert synchronised == []


def swap_file(source: Path, victim: Path) -> None:
    """The artifact is a link now."""
    source.unlink()
    source.symlink_to(victim)


def swap_folder(source: Path, victim: Path) -> None:
    """Its folder is one, in which there are files of the same names."""
    shutil.copytree(source.parent, victim.parent, dirs_exist_ok=True)
    source.parent.rename(source.parent.with_name("was"))
    source.parent.symlink_to(victim.parent)


def swap_relative(source: Path, victim: Path) -> None:
    """The artifact is a link by way of ``..``."""
    source.unlink()
    source.symlink_to(os.path.relpath(victim, source.parent))


SWAPPED = (swap_file, swap_folder, swap_relative)


@pytest.mark.parametrize("mode", ["copy", "hardlink", "link"])
@pytest.mark.parametrize("swap", SWAPPED)
def test_an_artifact_that_is_swapped_after_it_was_found(
    make_repository: Callable[..., Repository],
    exported: Path,
    victim: Path,
    mode: str,
    swap: Callable[[Path, Path], None],
) -> None:
    """What it leads to then is of the same size, and is neither copied nor linked to."""
    repository = make_repository()
    artifact = next(exported.rglob("bias_*.yaml"))
    victim.write_bytes(b"x" * artifact.stat().st_size)
    before = tree(repository.root).keys()

    def between(report: Report) -> None:
        if report.doing.endswith("writing") and victim.parent not in artifact.resolve().parents:
            swap(artifact, victim)

    with pytest.raises(ArtifactError, match="outside .*it was inside when it was looked for"):
        import_exports(repository, [exported], transfer=mode, progress=between)
    assert repository.sql("SELECT count(*) FROM dataset") == [(0,)]
    assert {
        path for path in tree(repository.root).keys() - before if "dc2" not in path and "bias" in path
    } == set()
    assert {path.stat().st_nlink for path in victim.parent.iterdir()} == {1}


@pytest.mark.parametrize("mode", ["copy", "hardlink", "link"])
def test_an_artifact_that_is_swapped_for_another_inside(root: Path, source: Path, mode: str) -> None:
    """Links within the roots are followed, as they are when artifacts are looked for."""
    (source.parent / "other").write_text("another")
    source.unlink()
    source.symlink_to("other")
    bring(mode, root, source)
    assert (root / TARGET).read_text() == "another"
    assert not (root / TARGET).is_symlink()
