"""A path means the same however it is written, and every root of a repository works or is refused in a sentence."""

from __future__ import annotations

import contextlib
import gc
import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler, DatasetType

from butler_replica.errors import RefusedError, RepositoryError
from butler_replica.exports.files import find_exports
from butler_replica.repository.making import RepositoryResult, ensure_repository
from butler_replica.session.opening import open_butler
from kit.processes import STOCK, run

CONFIG = {"registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}}

SPELLINGS: dict[str, Callable[[Path], str]] = {
    "plain": str,
    "trailing slash": lambda path: f"{path}/",
    "slashes and dots": lambda path: f"{path.parent}//./{path.name}/.",
    "up and down": lambda path: f"{path}/../{path.name}",
    "home": lambda path: f"~/{path.name}",
    "URI": lambda path: path.as_uri(),
    "URI of this host": lambda path: f"file://localhost{path}/",
    "link": lambda path: f"{path.parent}/link-to-{path.name}",
    "link in the way": lambda path: f"{path.parent}/way/{path.name}",
    "up from a link": lambda path: f"{path.parent}/far/../{path.name}",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with links, in which every spelling of a path below it is that path."""
    folder = tmp_path / "a home"
    (folder / "inner").mkdir(parents=True)
    (folder / "way").symlink_to(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "far").symlink_to(folder / "inner")
    for name in ("dc2", "data"):
        (folder / f"link-to-{name}").symlink_to(folder / name)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def ensure(
    root: str | Path, confirm_destroy: str = "", *data: str, dry_run: bool = False
) -> RepositoryResult:
    sets = [{"name": place, "exports": place} for place in data]
    options = {"label": "dc2", "confirm_destroy": confirm_destroy, "sets": sets, "dry_run": dry_run}
    return ensure_repository(root, config=CONFIG, **options)


def use(root: str) -> None:
    """Put an artifact into a repository with the stock butler."""
    butler = Butler.from_config(root, writeable=True, run="a/run")
    butler.registry.insertDimensionData("instrument", {"name": "Cam"})
    thing = DatasetType("thing", ("instrument",), "StructuredDataDict", universe=butler.dimensions)
    butler.registry.registerDatasetType(thing)
    butler.put({"a": 1}, thing, instrument="Cam")
    del butler, thing
    gc.collect()  # lsst-daf-butler 29 cannot close a butler


def test_root(home: Path) -> None:
    """One repository, however its folder is written."""
    root = home / "dc2"
    assert ensure(SPELLINGS["link"](root)).created
    assert (root / "butler.yaml").is_file()
    for spelling in SPELLINGS.values():
        assert not ensure(spelling(root)).changed
    use(str(root))
    for spelling in SPELLINGS.values():
        assert ensure(spelling(root), "dc2", dry_run=True).removed_files == 1
    assert ensure(SPELLINGS["link"](root), "dc2").destroyed
    assert {path.name for path in root.iterdir()} == {"butler.yaml", "gen3.sqlite3", ".dc2-replica.lock"}
    assert Path(home, "link-to-dc2").is_symlink()


def test_data_folder(home: Path) -> None:
    """The guard and the import see the same."""
    data = home / "data"
    data.mkdir()
    (data / "export.yaml").touch()
    ensure(data / "dc2")
    before = sorted(data.rglob("*"))
    for spelling in SPELLINGS.values():
        assert [path.resolve() for path in find_exports([spelling(data)])] == [data / "export.yaml"]
        with pytest.raises(RefusedError, match="lies inside the data folder"):
            ensure(data / "dc2", "dc2", spelling(data))
    assert sorted(data.rglob("*")) == before


GLOBS = {
    "dc2/exports-*": "lies above",
    "dc2/*/none": "lies above",
    "d?2/none": "lies above",
    "*/*/none": "lies above",
    "nothing-*": "",
    "dc2-*/x": "",
}


def test_globs_that_match_nothing_yet(home: Path) -> None:
    ensure(home / "dc2")
    for glob, how in GLOBS.items():
        if how:
            with pytest.raises(RefusedError, match=f"{how} the data folder"):
                ensure(home / "dc2", "dc2", f"~/{glob}")
        else:
            assert ensure(home / "dc2", "dc2", f"~/{glob}", dry_run=True).destroyed
    with pytest.raises(RefusedError, match="lies inside the data folder"):
        ensure(home / "dc2", "dc2", str(home.parent / "*"))


ROOTS = ["dc2.v1.0", "dc2.yaml", "dc2.", ".d c2%+x@&;", "~grüße:a", "<'q\"\\{y}*>", "2021"]


@pytest.mark.parametrize("name", ROOTS)
def test_roots_that_work(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / name
    assert ensure(root).created
    assert yaml.safe_load((root / "butler.yaml").read_text()).keys() == {"datastore", "registry"}
    use(str(root))
    assert len(list(root.rglob("thing_*.yaml"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    open_butler(str(root))
    gc.collect()
    index = tmp_path / "index.yaml"
    index.write_text(yaml.safe_dump({"label": str(root)}))
    monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(index))
    assert list(Butler.from_config("label").collections.query("*")) == ["a/run"]
    gc.collect()
    moved = tmp_path / "moved"
    assert ensure(root, "dc2").destroyed
    root.rename(moved)
    use(str(moved))
    assert len(list(moved.rglob("thing_*.yaml"))) == 1


@pytest.mark.parametrize("name", ["dc2#a", "dc2?x", "dc2%20x", "dc2%2Fx", "$HOME", "${HOME}", "new\nline"])
def test_roots_that_the_butler_takes_for_others(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    with pytest.raises(
        RepositoryError, match=r"Take a folder without|not in the repository folder"
    ) as caught:
        ensure(root)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dotted_root_by_its_label(tmp_path: Path) -> None:
    """As the README has it, in a process of its own."""
    root = tmp_path / "dc2.v1.0"
    ensure(root)
    use(str(root))
    index = tmp_path / "index.yaml"
    index.write_text(f"dc2: {root}\n")
    for repo in ("dc2", str(root), f"{root}/", f"{root}/butler.yaml"):
        done = run("query-collections", repo, entry=STOCK, DAF_BUTLER_REPOSITORY_INDEX=str(index))
        assert "a/run" in done.stdout


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o755), (0o077, 0o2770), (0o022, 0o750)])
def test_who_may_read_the_folder_may_open_the_repository(tmp_path: Path, mask: int, mode: int) -> None:
    root = tmp_path / "dc2"
    root.mkdir()
    root.chmod(mode)
    old = os.umask(mask)
    try:
        ensure(root)
    finally:
        os.umask(old)
    expected = {0o755: (0o644, 0o644), 0o750: (0o640, 0o640), 0o2770: (0o640, 0o660)}[mode]
    for name, bits in zip(("butler.yaml", "gen3.sqlite3"), expected, strict=True):
        assert oct(stat.S_IMODE((root / name).stat().st_mode)) == oct(bits)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["data", "dc2", "dc2/inside", ""])
def test_folders_that_may_not_be_entered(tmp_path: Path, closed: str) -> None:
    """One sentence or success, and no traceback, as a user without rights."""
    # What is imported late is imported here: that user may be unable to read this Python.
    ensure(tmp_path / "dc2")
    ensure(tmp_path / "dc2", "dc2", str(tmp_path / "data" / "*.yaml"))
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "data" / "deep").mkdir(parents=True)
        (work / "dc2" / "inside").mkdir(parents=True)
        for path in (work, *work.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        os.chown(work / closed, 0, 0)
        (work / closed).chmod(0o700)
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            status = 1
            try:
                os.setgroups([])
                os.setresgid(*[nobody.pw_gid] * 3)
                os.setresuid(*[nobody.pw_uid] * 3)
                for confirm in ("", "dc2"):
                    with contextlib.suppress(RepositoryError):
                        ensure(work / "dc2", confirm, str(work / "data" / "deep" / "*.yaml"))
                status = 0
            finally:
                os._exit(status)
        assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0
