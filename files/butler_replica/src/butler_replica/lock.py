"""One writer at a time: an exclusive lock on a repository folder.

The lock is a ``flock`` on a file in the folder. The kernel releases it with
the process that holds it, so a killed import leaves nothing to clean up. The
file's content, which says who holds the lock, only serves the message of
those who find it taken.
"""

from __future__ import annotations

__all__ = ["LOCK_NAME", "repository_lock"]

import errno
import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .errors import RepositoryError

LOCK_NAME = ".dc2-replica.lock"
"""Name of the lock file in the repository folder."""

_LOG = logging.getLogger(__name__)

_POLL_SECONDS = 0.2

_held: dict[Path, int] = {}
"""Folders that this process has locked, and how many times."""


@contextmanager
def repository_lock(root: str | os.PathLike[str], *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the exclusive lock of a repository while it is written to.

    A process that holds the lock may take it again, so that one verb can call
    another.

    Parameters
    ----------
    root : `str` or `os.PathLike`
        The repository folder, which must exist.
    wait_seconds : `float`, optional
        How long to wait for another writer before giving up.

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
    descriptor = _acquire(folder / LOCK_NAME, time.monotonic() + wait_seconds)
    _held[folder] = 1
    try:
        yield
    finally:
        del _held[folder]
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _acquire(path: Path, deadline: float) -> int:
    told = ""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o664)
        except OSError as error:
            raise RepositoryError(
                f"{path}: the repository cannot be locked for writing: {error.strerror}. "
                "Work as the user who owns the repository folder."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RepositoryError(
                    f"{path}: the file system does not lock files: {error.strerror}."
                ) from error
            if time.monotonic() >= deadline:
                raise RepositoryError(
                    f"{path.parent}: another process is writing to this repository: {holder}. "
                    "Wait until it has finished, or stop it, and run this again."
                ) from None
            if holder != told:
                _LOG.warning("%s: waiting for another writer, %s.", path.parent, holder)
                told = holder
            time.sleep(_POLL_SECONDS)
            continue
        if _is_current(descriptor, path):
            _write_holder(descriptor)
            return descriptor
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one in the folder, and not removed by hand meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(Path(part).name if i == 0 else part for i, part in enumerate(sys.argv[:3])),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} ({holder['command']}), since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said its name yet"
