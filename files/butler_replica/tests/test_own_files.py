"""Whatever is planted where credentials and index go is refused in words, and neither followed nor written."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from butler_replica.errors import RepositoryError
from butler_replica.repository.access import AccessResult, ensure_credentials, ensure_index_entry

NOBODY = pwd.getpwnam("nobody")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")

Verb = Callable[[Path], AccessResult]
VERBS: dict[str, Verb] = {
    "credentials": lambda path: ensure_credentials(
        path, url="postgresql://h:5432/dc2", username="dc2", password="secret"
    ),
    "index": lambda path: ensure_index_entry(path, label="dc2", root="/repo/dc2"),
}


@pytest.fixture(params=VERBS)
def verb(request: pytest.FixtureRequest) -> Verb:
    return VERBS[request.param]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter, with a folder of another user in it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "theirs").mkdir()
        if os.geteuid() == 0:
            os.chown(Path(folder) / "theirs", NOBODY.pw_uid, NOBODY.pw_gid)
        yield Path(folder)


def given(path: Path) -> Path:
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    return path


def hard_link(place: Path) -> Path:
    (place / "other").write_text("")
    os.link(place / "other", place / "file")
    return place / "file"


def fifo(place: Path) -> Path:
    os.mkfifo(place / "file")
    return place / "file"


def their_fifo(place: Path) -> Path:
    return given(fifo(place))


def listening_socket(place: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "file"))
    return place / "file"


def a_folder(place: Path) -> Path:
    (place / "file").mkdir()
    return place / "file"


def their_file(place: Path) -> Path:
    (place / "file").write_text("")
    return given(place / "file")


def their_link(place: Path) -> Path:
    (place / "target").write_text("")
    (place / "file").symlink_to(place / "target")
    return given(place / "file")


def their_dangling_link(place: Path) -> Path:
    (place / "file").symlink_to(place / "not-there")
    return given(place / "file")


def their_link_in_the_way(place: Path) -> Path:
    (place / "folder").mkdir()
    (place / "way").symlink_to(place / "folder")
    given(place / "way")
    return place / "way" / "file"


def their_folder(place: Path) -> Path:
    return place / "theirs" / "file"


def their_folder_to_be_filled(place: Path) -> Path:
    return place / "theirs" / "new" / "file"


def own_link_to_their_folder(place: Path) -> Path:
    (place / "way").symlink_to("theirs/../theirs")
    return place / "way" / "file"


def open_folder(place: Path) -> Path:
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    return place / "open" / "file"


def link_loop(place: Path) -> Path:
    (place / "file").symlink_to("file")
    return place / "file"


PLANTED: list[Callable[[Path], Path]] = [hard_link, fifo, listening_socket, a_folder, open_folder, link_loop]
THEIRS: list[Callable[[Path], Path]] = [
    *(their_fifo, their_file, their_link, their_dangling_link, their_link_in_the_way),
    *(their_folder, their_folder_to_be_filled, own_link_to_their_folder),
]


def tree(place: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (status.st_mode, status.st_uid, status.st_size)
        for path in sorted(place.rglob("*"))
        for status in [path.lstat()]
    }


@pytest.mark.parametrize("plant", [*PLANTED, *(pytest.param(plant, marks=only_root) for plant in THEIRS)])
def test_what_is_planted_is_refused(place: Path, verb: Verb, plant: Callable[[Path], Path]) -> None:
    path = plant(place)
    before = tree(place)
    with pytest.raises(
        RepositoryError, match=r"hard links|pipe|folder|belongs to user 'nobody'|others may|symbolic"
    ):
        verb(path)
    assert tree(place) == before


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_modes_whatever_the_umask(place: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        VERBS["credentials"](place / "a" / ".lsst" / "db-auth.yaml")
        VERBS["index"](place / "b" / "index.yaml")
    finally:
        os.umask(old)
    modes = {
        str(path.relative_to(place)): oct(stat.S_IMODE(path.stat().st_mode))
        for folder in "ab"
        for path in place.rglob(f"{folder}/**/*")
    }
    assert modes == {"a/.lsst": "0o700", "a/.lsst/db-auth.yaml": "0o600", "b/index.yaml": "0o644"}


def test_a_mode_is_never_widened(place: Path) -> None:
    for name, mode in (("credentials", 0o600), ("index", 0o600), ("index", 0o640)):
        path = place / f"{name}{mode}"
        path.touch()
        path.chmod(mode)
        assert VERBS[name](path).changed
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_no_moment_at_which_others_can_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever something is done to the file, by whatever name, it is private."""
    seen = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "fchmod")}

    def watched(name: str) -> Callable[..., None]:
        def call(*args: object, **kwargs: object) -> None:
            seen.extend(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in place.rglob("*auth*"))
            real[name](*args, **kwargs)

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    old = os.umask(0)
    try:
        VERBS["credentials"](place / ".lsst" / "db-auth.yaml")
    finally:
        os.umask(old)
    assert seen
    assert set(seen) == {0}


def test_own_links_are_followed(place: Path, verb: Verb) -> None:
    (place / "dotfiles").mkdir()
    (place / "home").mkdir()
    (place / "home" / "folder").symlink_to("../dotfiles")
    (place / "dotfiles" / "file").symlink_to(place / "dotfiles" / "real.yaml")
    assert verb(place / "home" / "folder" / "file").changed
    assert (place / "dotfiles" / "file").is_symlink()
    assert yaml.safe_load((place / "dotfiles" / "real.yaml").read_text())
    assert not verb(place / "home" / "folder" / "file").changed


@only_root
def test_a_user_follows_links_of_root(place: Path) -> None:
    (place / "link").symlink_to(place / "theirs" / "file")
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        status = 1
        try:
            os.setgroups([])
            os.setresgid(*[NOBODY.pw_gid] * 3)
            os.setresuid(*[NOBODY.pw_uid] * 3)
            status = not VERBS["credentials"](place / "link").changed
        finally:
            os._exit(status)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0
    found = (place / "theirs" / "file").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY.pw_uid, 0o600)
