"""Copies of artifacts, each whole or not there: what is copied is what was opened, from where it may come."""

from __future__ import annotations

__all__ = ["copy_artifact", "has_content", "is_in_place", "opened_source"]

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator

from ..errors import ArtifactError
from .open_folders import OpenFolders
from .partial_copies import partial_name
from .rewriting import Roots

_BLOCK = 1 << 20
"""Bytes that are read at a time."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HARD_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


@contextlib.contextmanager
def opened_source(source: str, sources: Roots, how: int = os.O_RDONLY) -> Iterator[int]:
    """Open an artifact, which may have been swapped for something else since it was looked for.

    Parameters
    ----------
    source : `str`
        Absolute path.
    sources : `Roots`
        Where it may lie.
    how : `int`, optional
        Flags of `os.open`.

    Yields
    ------
    descriptor : `int`
        Of the artifact.

    Raises
    ------
    ArtifactError
        Raised if it is no regular file, or lies elsewhere.
    """
    descriptor = os.open(source, how | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(f"{source}: is no regular file any more. Run this again.")
        # Where an open file lies is for the kernel to say: its path may lead elsewhere the next moment.
        real = os.readlink(f"/proc/self/fd/{descriptor}")
        if not sources.contain(real):
            raise ArtifactError(
                f"{source}: leads to {real} now, outside {sources}; it was inside when it was looked for. "
                "Nothing of this file was imported. See who changes that folder, then run this again."
            )
        yield descriptor
    finally:
        os.close(descriptor)


def copy_artifact(source: str, sources: Roots, folder: OpenFolders, name: str, size: int) -> None:
    """Copy an artifact into the open folder, under another name first: a file under its own name is complete.

    Parameters
    ----------
    source : `str`
        Absolute path.
    sources : `Roots`
        Where it may lie.
    folder : `OpenFolders`
        Where the copy goes.
    name : `str`
        Name of the copy.
    size : `int`
        Size in bytes that was planned with.

    Raises
    ------
    ArtifactError
        Raised if the source changes meanwhile, or somebody makes the same file.
    FileExistsError
        Raised if something has the name.
    """
    if is_in_place(folder, name):
        raise FileExistsError
    with (
        opened_source(source, sources) as descriptor,
        open(descriptor, "rb", buffering=0, closefd=False) as read,
    ):
        before = os.fstat(descriptor)
        # Whoever may not read the artifact may not read the copy; who gets to it is for the folders to say.
        with _begun(folder, stat.S_IMODE(before.st_mode) & 0o666 | 0o600) as (partial, new):
            with open(new, "wb", buffering=0) as write:
                shutil.copyfileobj(read, write, _BLOCK)
                copied = os.fstat(new).st_size
            after = os.fstat(descriptor)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or copied != size:
                raise ArtifactError(
                    f"{source}: changes while it is copied: {size} bytes when it was looked for, {after.st_size} "
                    f"now, {copied} copied. Nothing of this file was imported; run this again when nobody writes there."
                )
            _rename(folder, partial, name)


@contextlib.contextmanager
def _begun(folder: OpenFolders, mode: int) -> Iterator[tuple[str, int]]:
    """Make a file that nobody else has made, which alone is removed where copying fails."""
    name = partial_name()
    try:
        descriptor = os.open(name, _NEW_FILE, mode, dir_fd=folder.descriptor)
    except FileExistsError as error:
        raise ArtifactError(
            f"{folder.path}/{name}: was made by somebody else this moment, and is left alone. Nothing of this "
            "file was imported. See who writes in that folder, then run this again."
        ) from error
    try:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)
        yield name, descriptor
    except BaseException:
        os.unlink(name, dir_fd=folder.descriptor)
        raise


def _rename(folder: OpenFolders, partial: str, name: str) -> None:
    """Give a copy its name, unless something has that."""
    try:
        os.link(partial, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
        os.unlink(partial, dir_fd=folder.descriptor)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        if is_in_place(folder, name):
            raise FileExistsError from error
        os.rename(partial, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)


def is_in_place(folder: OpenFolders, name: str) -> bool:
    """Return whether the open folder has something of a name.

    Parameters
    ----------
    folder : `OpenFolders`
        The folder.
    name : `str`
        The name.

    Returns
    -------
    is_in_place : `bool`
        Whether it has; a symbolic link counts wherever it leads.
    """
    try:
        os.lstat(name, dir_fd=folder.descriptor)
    except FileNotFoundError:
        return False
    return True


def has_content(folder: OpenFolders, name: str, source: str, sources: Roots) -> bool:
    """Return whether a file in the open folder has the content of an artifact.

    Parameters
    ----------
    folder : `OpenFolders`
        The folder.
    name : `str`
        Name of the file in it.
    source : `str`
        Absolute path of the artifact.
    sources : `Roots`
        Where that may lie.

    Returns
    -------
    has_content : `bool`
        Whether it has, byte for byte.
    """
    descriptor = os.open(name, _IN_PLACE, dir_fd=folder.descriptor)
    with (
        open(descriptor, "rb", buffering=0) as a,
        opened_source(source, sources) as opened,
        open(opened, "rb", buffering=0, closefd=False) as b,
    ):
        one, other = os.fstat(a.fileno()), os.fstat(b.fileno())
        if one.st_size != other.st_size or not stat.S_ISREG(one.st_mode):
            return False
        while left := a.read(_BLOCK):
            if left != b.read(_BLOCK):
                return False
    return True
