"""Which files there are, known from listing folders instead of asking for each file."""

from __future__ import annotations

__all__ = ["FoundFile", "Listing"]

import errno
import os
import stat
from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from ..errors import ArtifactError

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_MAX_FOLDERS_KEPT = 512
_MAX_LINKS_FOLLOWED = 40  # as many as the kernel does

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_MAX_POINTER_SIZE = 1024
_POINTER_START = b"version https://git-lfs.github.com/spec/"


class _Kind(Enum):
    FILE = "file"
    LINK = "link"
    FOLDER = "folder"


class FoundFile(NamedTuple):
    """What is in place of a file."""

    size: int | None
    """Its size in bytes; `None` where there is no file."""

    reason: str
    """Why it is no artifact: ``no such file``, ``is a folder``, ``is no regular file``, and of what has a
    size ``empty file`` and ``Git LFS pointer``. Empty for an artifact."""


class Listing:
    """Which files there are, at the cost of one listing per folder.

    Asking for each of a million artifacts takes a round trip each on a
    network file system; listing its folder answers for all of them. A
    symbolic link exists where what it points at does. Folders that were listed
    are remembered (the last few hundred), so an instance shows the files as
    they were: make a new one to look again.
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[str, dict[str, _Kind]] = OrderedDict()

    def exists(self, path: str) -> bool:
        """Return whether there is a file, following symbolic links.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        exists : `bool`
            Whether it exists.

        Raises
        ------
        ArtifactError
            Raised if the folder is there but cannot be listed: whether the
            file exists is unknown then, which is not the same as missing.
        """
        return self.follow(path)[1]

    def follow(self, path: str) -> tuple[str, bool]:
        """Follow symbolic links to the file that they lead to.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        path : `str`
            Absolute path of what is, or would be, at the end of the links.
        exists : `bool`
            Whether there is a file.

        Raises
        ------
        ArtifactError
            Raised as by `exists`.
        """
        for _ in range(_MAX_LINKS_FOLLOWED):
            folder, name = os.path.split(path)
            kind = self._list(folder).get(name)
            if kind is not _Kind.LINK:
                return path, kind is _Kind.FILE
            try:
                path = os.path.join(folder, os.readlink(path))  # noqa: PTH115, PTH118
            except FileNotFoundError:
                return path, False
        return path, False

    def look(self, path: str) -> FoundFile:
        """Return whether there is an artifact, following symbolic links, and of which size.

        One system call where the listing has the name, none where it has
        not. Of a file small enough to be a Git LFS pointer the beginning is
        read.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        found : `FoundFile`
            Size, and why it is no artifact.

        Raises
        ------
        ArtifactError
            Raised if there is something that cannot be looked at.
        """
        folder, name = os.path.split(path)
        if name not in self._list(folder):
            return _NO_FILE
        try:
            return _look_at(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise ArtifactError(
                    f"{path}: cannot be looked at ({error.strerror}). Check the mount and the permissions."
                ) from error
            return _NO_FILE

    def is_link(self, path: str) -> bool:
        """Return whether a path is a symbolic link, dangling or not.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        is_link : `bool`
            Whether it is one.
        """
        folder, name = os.path.split(path)
        return self._list(folder).get(name) is _Kind.LINK

    def _list(self, folder: str) -> dict[str, _Kind]:
        found = self._folders.get(folder)
        if found is not None:
            self._folders.move_to_end(folder)
            return found
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: _kind(entry) for entry in entries}
        except OSError as error:
            if error.errno not in _ABSENT:
                raise ArtifactError(
                    f"{folder}: cannot be listed ({error.strerror}), so what it holds is unknown. "
                    "Check the mount and the permissions."
                ) from error
            found = {}
        self._folders[folder] = found
        if len(self._folders) > _MAX_FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return found


_NO_FILE = FoundFile(None, "no such file")
_FOLDER = FoundFile(None, "is a folder")
_SPECIAL = FoundFile(None, "is no regular file")
_EMPTY = FoundFile(0, "empty file")


def _kind(entry: os.DirEntry[str]) -> _Kind:
    if entry.is_symlink():
        return _Kind.LINK
    return _Kind.FOLDER if entry.is_dir(follow_symlinks=False) else _Kind.FILE


def _look_at(path: str) -> FoundFile:
    status = os.stat(path)  # noqa: PTH116 - a Path costs more than the system call
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        return _FOLDER if stat.S_ISDIR(status.st_mode) else _SPECIAL
    if not size:
        return _EMPTY
    return FoundFile(size, "Git LFS pointer" if size < _MAX_POINTER_SIZE and _is_pointer(path) else "")


def _is_pointer(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return file.read(len(_POINTER_START)) == _POINTER_START
    except PermissionError:
        # Whoever may not read it may still import it.
        return False
