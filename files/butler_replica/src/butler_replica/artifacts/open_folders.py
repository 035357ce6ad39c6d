"""Folders of a repository by their descriptors: no component of a path is a symbolic link."""

from __future__ import annotations

__all__ = ["NO_SYNC", "OpenFolders", "sync_file_system"]

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from ..errors import ArtifactError
from .partial_copies import is_partial_copy

NO_SYNC = "BUTLER_REPLICA_NO_SYNC"
"""Environment variable; ``1`` leaves what was made to the kernel, which writes it to the disk some time later."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OpenFolders:
    """Folders below a datastore's root, of which one at a time is open; those that are missing are made.

    Parameters
    ----------
    root : `str`
        Absolute path of the datastore's root.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.path = ""
        self.descriptor = -1
        """Of the folder that is open."""

        self._made: list[str] = []
        """Folders that were made."""

        self._tidy: set[str] = set()
        """Folders in which no killed run has left anything."""

        self._devices: dict[int, str] = {}
        """A folder of each file system that something is on that was made, or taken."""

    def open(self, folder: str, *, make: bool = True) -> None:
        """Open a folder, and close the one that was open.

        Parameters
        ----------
        folder : `str`
            Absolute path.
        make : `bool`, optional
            Make it, and those above it, where it is missing.

        Raises
        ------
        ArtifactError
            Raised if a symbolic link is on the way.
        OSError
            Raised if it cannot be opened or made.
        """
        if folder == self.path:
            return
        self.close()
        descriptor = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for path in self._steps(folder):
                below = self._enter(descriptor, path, make=make)
                os.close(descriptor)
                descriptor = below
            self._devices.setdefault(os.fstat(descriptor).st_dev, folder)
        except BaseException:
            os.close(descriptor)
            raise
        self.path, self.descriptor = folder, descriptor

    def _steps(self, folder: str) -> Iterator[str]:
        path = self._root
        for name in os.path.relpath(folder, self._root).split("/"):
            if name != ".":
                path = f"{path}/{name}"
                yield path

    def _enter(self, descriptor: int, path: str, *, make: bool) -> int:
        name = os.path.basename(path)
        try:
            return os.open(name, _FOLDER, dir_fd=descriptor)
        except FileNotFoundError:
            if not make:
                raise
            return self._make(descriptor, path)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(path):
                raise ArtifactError(
                    f"{path}: is a symbolic link (to {os.readlink(path)}) where the repository has a folder; no "
                    "artifact is put through it. Move the folder back, or mount it there (mount --bind)."
                ) from error
            raise

    def _make(self, descriptor: int, path: str) -> int:
        """Make a folder, which whoever may use the one above may use, whatever the umask; open it."""
        name = os.path.basename(path)
        try:
            os.mkdir(name, dir_fd=descriptor)
        except FileExistsError:
            return os.open(name, _FOLDER, dir_fd=descriptor)
        self._made.append(path)
        made = os.open(name, _FOLDER, dir_fd=descriptor)
        # Some file systems have no modes.
        with contextlib.suppress(OSError):
            os.fchmod(made, os.fstat(descriptor).st_mode & 0o2777)
        return made

    def open_to_put(self, folder: str) -> None:
        """Open a folder, and remove the copies that a killed run left in it.

        Parameters
        ----------
        folder : `str`
            Absolute path.
        """
        n_made = len(self._made)
        self.open(folder)
        if folder not in self._tidy:
            self._tidy.add(folder)
            if len(self._made) == n_made:
                self._remove_partial_copies()

    def _remove_partial_copies(self) -> None:
        # The lock of the repository is held: nobody else is copying.
        with os.scandir(self.descriptor) as entries:
            left = [entry.name for entry in entries if is_partial_copy(entry.name, self.descriptor)]
        for name in left:
            os.unlink(name, dir_fd=self.descriptor)

    def close(self) -> None:
        """Close the folder that is open."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.path, self.descriptor = "", -1

    def remove(self, path: str) -> None:
        """Remove a file that was made, where that can be done.

        Parameters
        ----------
        path : `str`
            Absolute path.
        """
        folder, name = os.path.split(path)
        with contextlib.suppress(OSError, ArtifactError):
            self.open(folder, make=False)
            os.unlink(name, dir_fd=self.descriptor)

    def remove_made(self) -> None:
        """Remove the folders that were made; what is not empty, or not what was made, stays."""
        while self._made:
            folder, name = os.path.split(self._made.pop())
            with contextlib.suppress(OSError, ArtifactError):
                self.open(folder, make=False)
                os.rmdir(name, dir_fd=self.descriptor)
        self.close()

    def sync(self) -> None:
        """Wait until what was made is on the disk, by one call for each file system."""
        if os.environ.get(NO_SYNC) == "1":
            return
        for folder in self._devices.values():
            self.open(folder, make=False)
            if sync_file_system(self.descriptor):
                raise ArtifactError(f"{folder}: the artifacts could not be written to the disk.")
        self.close()


def sync_file_system(descriptor: int) -> int:
    """Write everything of a file system to the disk: thousands of files and folders at the cost of some.

    Parameters
    ----------
    descriptor : `int`
        Of anything on it.

    Returns
    -------
    failed : `int`
        0 where it was written.
    """
    try:
        synchronise = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        os.sync()
        return 0
    return int(synchronise(descriptor))
