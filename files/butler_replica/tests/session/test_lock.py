"""The lock of a repository: what is in its place, who may take it, where the file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from butler_replica.dimensions.instrument import register_instrument
from butler_replica.errors import ReplicaError, RepositoryError
from butler_replica.session.lock import LOCK_NAME, repository_lock
from kit.importers import TIMEOUT, killed_at_end
from kit.repositories import Repository

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

HOLD = (
    "import sys; from butler_replica.session.lock import repository_lock\n"
    "with repository_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own temporary folder: that one is closed to other users."""
    made = Path(tempfile.mkdtemp(prefix="butler-replica-lock-"))
    yield made
    shutil.rmtree(made)


def take(folder: Path) -> None:
    with repository_lock(folder):
        pass


def as_user(uid: int, gid: int, groups: list[int], work: Callable[[], object]) -> str:
    """Do something as another user, in a child process; return what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "something unforeseen"
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.umask(0o022)
            work()
            answer = ""
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, answer.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def plant_fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def plant_socket(place: Path, victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))


PLANTED: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "hard link": (lambda place, victim: os.link(victim, place), "hard link"),
    "symbolic link": (lambda place, victim: place.symlink_to(victim), "where it is a link, remove it"),
    "symbolic link to nothing": (lambda place, victim: place.symlink_to("nothing"), "is a link, remove it"),
    "FIFO": (plant_fifo, "no regular file"),
    "socket": (plant_socket, "cannot be locked"),
    "folder": (lambda place, victim: place.mkdir(), "cannot be locked"),
    "other content": (lambda place, victim: place.write_text("mine"), "another content"),
    "much content": (lambda place, victim: place.write_text("x" * 10_000), "another content"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_no_lock_file_is_left_alone(folder: Path, planted: str) -> None:
    victim, place = folder / "victim", folder / LOCK_NAME
    victim.write_text("precious")
    victim.chmod(0o640)
    plant, message = PLANTED[planted]
    plant(place, victim)
    before = place.lstat()
    with pytest.raises(RepositoryError, match=message):
        take(folder)
    after = place.lstat()
    assert (after.st_mode, after.st_ino, after.st_size) == (before.st_mode, before.st_ino, before.st_size)
    assert victim.read_text() == "precious"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640
    assert not (folder / "nothing").exists()


@pytest.mark.parametrize("content", ["", "\0\0\0", '{"pid": 1, "ho'])
def test_what_a_cut_run_left_is_taken(folder: Path, content: str) -> None:
    (folder / LOCK_NAME).write_text(content)
    take(folder)
    assert (folder / LOCK_NAME).stat().st_size == 0


@pytest.mark.parametrize(
    ("of_folder", "mode"),
    [(0o700, 0o600), (0o755, 0o644), (0o2775, 0o664), (0o2770, 0o660), (0o750, 0o640), (0o1777, 0o666)],
)
def test_the_folder_says_who_may_lock(folder: Path, of_folder: int, mode: int) -> None:
    folder.chmod(of_folder)
    previous = os.umask(0o077)
    try:
        take(folder)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((folder / LOCK_NAME).stat().st_mode) == mode


def test_a_narrow_file_of_an_older_release_is_opened_up(folder: Path) -> None:
    folder.chmod(0o775)
    (folder / LOCK_NAME).touch(0o644)
    take(folder)
    assert stat.S_IMODE((folder / LOCK_NAME).stat().st_mode) == 0o664


@needs_root
def test_members_of_a_group_share_it(folder: Path) -> None:
    os.chown(folder, 4001, 4000)
    folder.chmod(0o2775)
    assert as_user(4001, 4001, [4000], lambda: take(folder)) == ""
    status = (folder / LOCK_NAME).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o664, 4000)
    assert as_user(4002, 4002, [4000], lambda: take(folder)) == ""
    (folder / LOCK_NAME).chmod(0o644)  # as an older release left it: reading is enough
    assert as_user(4002, 4002, [4000], lambda: take(folder)) == ""
    (folder / LOCK_NAME).chmod(0o600)
    assert "Work as a user who may write" in as_user(4002, 4002, [4000], lambda: take(folder))
    assert as_user(4003, 4003, [], lambda: take(folder)).startswith("RepositoryError")


@needs_root
def test_bits_of_the_group_are_for_the_group_of_the_folder_only(folder: Path) -> None:
    os.chown(folder, 0, 4000)
    folder.chmod(0o777)
    assert as_user(4001, 4001, [], lambda: take(folder)) == ""
    status = (folder / LOCK_NAME).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o606, 4001)


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(folder: Path) -> None:
    os.chown(folder, 4001, 4001)
    folder.chmod(0o755)
    take(folder)
    assert (folder / LOCK_NAME).stat().st_uid == 4001
    assert as_user(4001, 4001, [], lambda: take(folder)) == ""


@needs_root
def test_folder_that_everybody_may_write_to(folder: Path) -> None:
    """There the kernel protects files of others from those who would make them."""
    folder.chmod(0o1777)
    for uid in (4001, 4002):
        assert as_user(uid, uid, [], lambda: take(folder)) == ""


def no_flock(code: int) -> Callable[[int, int], None]:
    def refuse(_: int, __: int) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As Lustre is without ``-o flock``; no such file system can be had everywhere."""
    monkeypatch.setattr(fcntl, "flock", no_flock(code))
    if repository.backend == "sqlite":
        with pytest.raises(ReplicaError, match=r"PostgreSQL.*-o flock"):
            register_instrument(str(repository))
        return
    assert register_instrument(str(repository)).changed


@pytest.mark.postgres
def test_the_lock_of_the_database_keeps_out_hosts_that_do_not_share_the_folder(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    """Two folders stand for two hosts whose file system keeps its locks to itself."""
    repository = make_repository("postgresql")
    elsewhere = shutil.copytree(repository.root, tmp_path / "elsewhere")
    script = (
        "import sys; from butler_replica.session.writing import writing\n"
        "with writing(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with killed_at_end(
        subprocess.Popen(
            [sys.executable, "-c", script, str(elsewhere)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with killed_at_end(
            subprocess.Popen(
                [sys.executable, "-m", "butler_replica", "chain", str(repository), "all", "none"],
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        ) as waiting:
            line = waiting.stderr.readline()
            assert re.search(rf"waiting for another writer, .*process {holder.pid} on ", line), line
            holder.kill()  # the lock goes with the process
            assert waiting.wait(TIMEOUT) == 0, waiting.stderr.read()
    assert ("all",) in repository.sql("SELECT name FROM collection")
    assert not repository.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")


def test_a_process_holds_it_for_another_one(folder: Path) -> None:
    with killed_at_end(
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RepositoryError, match=f"process {holder.pid} "):
            take(folder)
        holder.kill()
        holder.wait()
        take(folder)


def test_a_butler_learns_what_was_written_while_it_waited(repository: Repository) -> None:
    from butler_replica.session.writing import opened

    with opened(str(repository)) as early:
        Butler.from_config(str(repository), writeable=True).collections.register("late")
        with early.locked():
            assert early.butler.collections.get_info("late").name == "late"
