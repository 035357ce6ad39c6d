"""One writer at a time: an exclusive lock on a repository folder.

The lock is a ``flock`` on a file in the folder. The kernel releases it with
the process that holds it, so a killed import leaves nothing to clean up. The
file's content, which says who holds the lock, only serves the message of
those who find it taken. On PostgreSQL a lock of the database is held beside
it, since hosts that share a folder do not always share its locks, and some
file systems have none.
"""

from __future__ import annotations

__all__ = ["LOCK_NAME", "LOCK_WAIT_SECONDS", "DatabaseLock", "repository_lock"]

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import RepositoryError
from ..processes import describe_process

LOCK_NAME = ".dc2-replica.lock"
"""Name of the lock file in the repository folder."""

LOCK_WAIT_SECONDS = 3600.0
"""How long a verb waits for another writer: an import holds the lock for one file at a time."""

_LOG = logging.getLogger(__name__)

_POLL_SECONDS = 0.2

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say that have no ``flock``."""

_CONTENT_BEGINS = b'{"pid"'
_MAX_CONTENT_BYTES = 4096

_held: dict[Path, int] = {}
"""Folders that this process has locked, and how many times."""


class DatabaseLock(Protocol):
    """A lock of the database that other writers ask for, too."""

    def try_acquire(self) -> bool:
        """Acquire the lock; return whether that could be done."""
        ...

    def holder(self) -> str:
        """Return who has it."""
        ...

    def release(self) -> None:
        """Release it."""
        ...


@contextmanager
def repository_lock(
    root: str | os.PathLike[str], *, wait_seconds: float = 0.0, database_lock: DatabaseLock | None = None
) -> Iterator[None]:
    """Lock a repository for writing.

    A process that holds the lock may take it again, so that one verb can call
    another.

    Parameters
    ----------
    root : `str` or `os.PathLike`
        The repository folder, which must exist.
    wait_seconds : `float`, optional
        How long to wait for another writer before giving up.
    database_lock : `DatabaseLock`, optional
        Is held, too; alone where the file system has no locks.

    Raises
    ------
    RepositoryError
        The folder cannot be locked, or another process holds the lock; the
        message says which one.
    """
    folder = Path(root).resolve()
    if folder in _held:
        _held[folder] += 1
        try:
            yield
        finally:
            _held[folder] -= 1
        return
    waiting = _Waiting(folder, time.monotonic() + wait_seconds)
    with _locked_file(folder / LOCK_NAME, waiting, database_lock), _locked_database(database_lock, waiting):
        _held[folder] = 1
        try:
            yield
        finally:
            del _held[folder]


class _Waiting:
    """Waits for another writer, and reports for whom.

    Parameters
    ----------
    folder : `pathlib.Path`
        The repository folder.
    deadline : `float`
        When to give up, by the monotonic clock.
    """

    def __init__(self, folder: Path, deadline: float) -> None:
        self._folder = folder
        self._deadline = deadline
        self._reported = ""

    def for_holder(self, holder: str) -> None:
        """Wait a little."""
        if time.monotonic() >= self._deadline:
            raise RepositoryError(
                f"{self._folder}: another process is writing to this repository: {holder}. "
                "Wait until it has finished, or stop it, and run this again."
            )
        if holder != self._reported:
            _LOG.warning("%s: waiting for another writer, %s.", self._folder, holder)
            self._reported = holder
        time.sleep(_POLL_SECONDS)


@contextmanager
def _locked_database(lock: DatabaseLock | None, waiting: _Waiting) -> Iterator[None]:
    if lock is None:
        yield
        return
    try:
        while not lock.try_acquire():
            waiting.for_holder(lock.holder())
        yield
    finally:
        lock.release()


@contextmanager
def _locked_file(path: Path, waiting: _Waiting, database_lock: DatabaseLock | None) -> Iterator[None]:
    try:
        descriptor = _acquire(path, waiting)
    except _NoLocksError as error:
        if database_lock is None:
            raise RepositoryError(
                f"{path}: the file system does not lock files ({error}), and there is no other lock: only a repository "
                "that is there, with its registry on PostgreSQL, has one. Mount it with locks (Lustre: -o flock), or "
                "have the repository folder on another file system."
            ) from error
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


class _NoLocksError(Exception):
    """The file system has no ``flock``."""


def _acquire(path: Path, waiting: _Waiting) -> int:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise _NoLocksError(error.strerror) from error
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _cannot_lock(path, str(error.strerror)) from error
            waiting.for_holder(holder)
            continue
        if _is_current(descriptor, path):
            _write_holder(descriptor)
            return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file, which is made if there is none; what is not one is refused, and not touched."""
    # A device or a FIFO must not hold up who opens it.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    while True:
        try:
            with contextlib.suppress(PermissionError):
                return _checked(path, os.open(path, os.O_RDWR | flags))
            # Made by another user for himself: to lock it, reading is enough.
            return _checked(path, os.open(path, os.O_RDONLY | flags))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _cannot_lock(path, str(error.strerror)) from error
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_lock(path, str(error.strerror)) from error
        _open_up(descriptor, path.parent)
        return descriptor


def _checked(path: Path, descriptor: int) -> int:
    problem = _problem(descriptor)
    if problem:
        os.close(descriptor)
        raise RepositoryError(
            f"{path}: the repository cannot be locked for writing: this {problem}, and no lock file of dc2-replica. "
            "It was left as it is. Move it away."
        )
    if os.fstat(descriptor).st_uid == os.geteuid():
        # Older releases left it to the umask.
        _open_up(descriptor, path.parent)
    return descriptor


def _problem(descriptor: int) -> str:
    """Return what an open file is that is not a lock file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_nlink > 1:
        return "is another name (hard link) of some other file"
    content = os.pread(descriptor, _MAX_CONTENT_BYTES, 0)
    # A power cut can leave zeros.
    if content.strip(b"\0") and not content.startswith(_CONTENT_BEGINS):
        return "is a file with another content"
    return ""


def _open_up(descriptor: int, folder: Path) -> None:
    """Give the lock file to those who may use the folder, and to nobody else."""
    of_folder, status = folder.stat(), os.fstat(descriptor)
    owner = of_folder.st_uid if os.geteuid() == 0 else -1
    with contextlib.suppress(OSError):
        if (of_folder.st_gid, owner) not in ((status.st_gid, -1), (status.st_gid, status.st_uid)):
            os.fchown(descriptor, owner, of_folder.st_gid)
    mode = 0o600 | (of_folder.st_mode & 0o066)
    if os.fstat(descriptor).st_gid != of_folder.st_gid:
        # The bits of the folder's group are not for another one.
        mode &= 0o606
    if mode | stat.S_IMODE(status.st_mode) != stat.S_IMODE(status.st_mode):
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)


def _cannot_lock(path: Path, problem: str) -> RepositoryError:
    return RepositoryError(
        f"{path}: the repository cannot be locked for writing: {problem}. Work as a user who may write to the "
        "repository folder and to this file; where it is a link, remove it."
    )


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one in the folder, and not removed by hand meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    # What others read is not worth failing: the disk is full, or the file is open for reading only.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(describe_process()).encode()[:_MAX_CONTENT_BYTES], 0)


def _read_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, _MAX_CONTENT_BYTES, 0))
        return f"process {holder['pid']} on {holder['host']} ({holder['command']}), since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said its name"
