"""Bringing artifacts into a repository, and taking that back.

The folders that they come from are only ever read. What is in place in the
repository is never overwritten and never removed: `Transfer` undoes only what
it has itself created.

Files are made through descriptors of their folders, in which no component of
the path is a symbolic link: whoever may write somewhere in the repository
cannot have files made elsewhere. What is copied, or linked to as a file, is
what was opened, and where that lies is asked when it is open: a source that
was swapped for a link since it was looked for leads nowhere. A symbolic link
only names its source, which may be swapped at any later time, so whoever reads
follows it with the permissions of his own.
"""

from __future__ import annotations

__all__ = ["Transfer"]

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ArtifactError
from .partial_copies import is_partial_copy, partial_name
from .rewriting import Roots

NO_SYNC = "BUTLER_REPLICA_NO_SYNC"
"""Environment variable; ``1`` leaves what was made to the kernel, which writes it to the disk some time later."""

_BLOCK = 1 << 20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HARD_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


class Transfer:
    """Brings artifacts into a repository, and can take that back.

    Parameters
    ----------
    mode : `str`
        A ``TransferMode`` of `butler_replica.options`.
    root : `pathlib.Path`
        Folder of the datastore, below which artifacts go.
    sources : `~butler_replica.artifacts.rewriting.Roots`
        Where they may come from.
    """

    def __init__(self, mode: str, root: Path, sources: Roots) -> None:
        self._mode = mode
        self._root = os.path.abspath(root)
        self._sources = sources
        self._folder = ""
        self._descriptor = -1
        """Of the folder that was last used."""

        self._partial = ""
        """Name, in that folder, of a copy that is not complete."""

        self._made: list[str] = []
        """Folders that were made."""

        self._tidy: set[str] = set()
        """Folders in which no killed run has left anything."""

        self._devices: dict[int, str] = {}
        """A folder of each file system that something is on that was made, or taken."""

        # What was created: a list of millions of paths would not do.
        self._journal = tempfile.SpooledTemporaryFile(max_size=_BLOCK)  # noqa: SIM115 (closed with this)

    @property
    def needs_space(self) -> bool:
        """Whether the artifacts themselves take room in the repository."""
        return self._mode == "copy"

    def check_space(self, artifacts: Iterable[tuple[str, str, int]]) -> None:
        """Refuse to begin what cannot fit.

        Parameters
        ----------
        artifacts : `~collections.abc.Iterable` [ `tuple` [ `str`, `str`, `int` ] ]
            Absolute target path, source, and size in bytes.

        Raises
        ------
        ArtifactError
            Raised if the files that are to be copied are larger than the room
            that is left.
        """
        room = os.statvfs(self._root)
        needed = sum(
            -(-size // room.f_frsize) * room.f_frsize
            for target, _, size in artifacts
            if not os.path.lexists(target)
        )
        free = room.f_bavail * room.f_frsize
        if needed > free:
            raise ArtifactError(
                f"{self._root}: {needed / 1e6:.1f} MB of artifacts are to be copied and {free / 1e6:.1f} MB are free. "
                "Nothing was changed. Make room, or use another transfer mode (symlink, direct)."
            )

    def run(self, artifacts: Iterable[tuple[str, str, int]]) -> None:
        """Bring artifacts to their places, and onto the disk.

        What is in place already is left alone: it was brought there by a run
        that was interrupted, and is checked to be the same artifact.

        Parameters
        ----------
        artifacts : `~collections.abc.Iterable` [ `tuple` [ `str`, `str`, `int` ] ]
            Absolute target path, source, and size in bytes.

        Raises
        ------
        ArtifactError
            Raised if an artifact cannot be brought, or if another file is in
            its place. `undo` takes back what had been done.
        """
        try:
            for target, source, size in artifacts:
                if source != target:
                    self._put(target, source, size)
        finally:
            self._close()
        self._sync()

    def undo(self) -> None:
        """Remove what `run` created, and nothing else."""
        self._journal.seek(0)
        rest = b""
        while block := self._journal.read(_BLOCK):
            *created, rest = (rest + block).split(b"\0")
            for path in created:
                self._remove(os.fsdecode(path))
        self._journal.seek(0)
        self._journal.truncate()
        while self._made:
            folder, name = os.path.split(self._made.pop())
            # What is not empty, or not what was made, stays.
            with contextlib.suppress(OSError, ArtifactError):
                self._open(folder, make=False)
                os.rmdir(name, dir_fd=self._descriptor)
        self._close()

    def _remove(self, path: str) -> None:
        folder, name = os.path.split(path)
        with contextlib.suppress(OSError, ArtifactError):
            self._open(folder, make=False)
            os.unlink(name, dir_fd=self._descriptor)

    # Folders

    def _open(self, folder: str, *, make: bool = True) -> None:
        """Have a descriptor of a folder in the repository."""
        if folder == self._folder:
            return
        self._close()
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
        self._folder, self._descriptor = folder, descriptor

    def _steps(self, folder: str) -> Iterator[str]:
        path = self._root
        for name in os.path.relpath(folder, self._root).split("/"):
            if name != ".":
                path = f"{path}/{name}"
                yield path

    def _open_to_put(self, folder: str) -> None:
        """Have a descriptor of a folder, without the copies that a killed run left in it."""
        n_made = len(self._made)
        self._open(folder)
        if folder not in self._tidy:
            self._tidy.add(folder)
            if len(self._made) == n_made:
                self._remove_partial_copies()

    def _remove_partial_copies(self) -> None:
        # The lock of the repository is held: nobody else is copying.
        with os.scandir(self._descriptor) as entries:
            left = [entry.name for entry in entries if is_partial_copy(entry.name, self._descriptor)]
        for name in left:
            os.unlink(name, dir_fd=self._descriptor)

    def _enter(self, descriptor: int, path: str, *, make: bool) -> int:
        name = os.path.basename(path)
        try:
            return os.open(name, _FOLDER, dir_fd=descriptor)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
                self._made.append(path)
            return os.open(name, _FOLDER, dir_fd=descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(path):
                raise ArtifactError(
                    f"{path}: is a symbolic link (to {os.readlink(path)}) where the repository has a folder; no "
                    "artifact is put through it. Move the folder back, or mount it there (mount --bind)."
                ) from error
            raise

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._discard()
            os.close(self._descriptor)
        self._folder, self._descriptor = "", -1

    def _discard(self) -> None:
        """Remove a copy that is not complete."""
        if self._partial:
            os.unlink(self._partial, dir_fd=self._descriptor)
            self._partial = ""

    def _sync(self) -> None:
        """Wait until what was made is on the disk, by one call for each file system."""
        if os.environ.get(NO_SYNC) == "1":
            return
        for folder in self._devices.values():
            self._open(folder, make=False)
            if _sync_file_system(self._descriptor):
                raise ArtifactError(f"{folder}: the artifacts could not be written to the disk.")
        self._close()

    # Artifacts

    def _put(self, target: str, source: str, size: int) -> None:
        folder, name = os.path.split(target)
        try:
            self._open_to_put(folder)
            self._bring(source, target, name, size)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ArtifactError(
                    f"{target}: no hard link to {source} can be made: they are on different file systems. "
                    "Use the transfer mode symlink, link or copy."
                ) from error
            raise ArtifactError(f"{target}: cannot be made from {source}: {error.strerror}.") from error

    def _bring(self, source: str, target: str, name: str, size: int) -> None:
        try:
            if self._mode == "copy":
                self._copy(source, name, size)
            elif self._mode == "symlink":
                os.symlink(source, name, dir_fd=self._descriptor)
            elif self._mode == "relsymlink":
                folder = os.path.realpath(os.path.dirname(target))
                os.symlink(os.path.relpath(source, folder), name, dir_fd=self._descriptor)
            else:
                self._link(source, name)
        except FileExistsError:
            self._discard()
            self._adopt(source, target, name, size)
            return
        self._journal.write(os.fsencode(target) + b"\0")

    def _link(self, source: str, name: str) -> None:
        try:
            with self._opened(source, os.O_PATH) as descriptor:
                os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=self._descriptor)
        except FileExistsError:
            raise
        except OSError:
            if self._mode == "hardlink":
                raise
            os.symlink(source, name, dir_fd=self._descriptor)

    @contextlib.contextmanager
    def _opened(self, source: str, how: int = os.O_RDONLY) -> Iterator[int]:
        """Open an artifact, which may have been swapped for something else since it was looked for."""
        descriptor = os.open(source, how | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ArtifactError(f"{source}: is no regular file any more. Run this again.")
            # Where an open file lies is for the kernel to say: its path may lead elsewhere the next moment.
            real = os.readlink(f"/proc/self/fd/{descriptor}")
            if not self._sources.contain(real):
                raise ArtifactError(
                    f"{source}: leads to {real} now, outside {self._sources}; it was inside when it was looked for. "
                    "Nothing of this file was imported. See who changes that folder, then run this again."
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def _copy(self, source: str, name: str, size: int) -> None:
        """Copy under another name first: a file under its own name is complete."""
        if self._is_there(name):
            raise FileExistsError
        with self._opened(source) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as read:
            before = os.fstat(descriptor)
            # As with cp: whoever may not read the artifact may not read the copy, and the umask takes what it takes.
            new = self._begin_copy(stat.S_IMODE(before.st_mode) & 0o666 | 0o600)
            with open(new, "wb", buffering=0) as write:
                shutil.copyfileobj(read, write, _BLOCK)
                copied = os.fstat(new).st_size
            after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or copied != size:
            raise ArtifactError(
                f"{source}: changes while it is copied: {size} bytes when it was looked for, {after.st_size} now, "
                f"{copied} copied. Nothing of this file was imported; run this again when nobody writes there."
            )
        self._rename(name)

    def _begin_copy(self, mode: int) -> int:
        """Make a file that nobody else has made, which alone is removed where copying fails."""
        name = partial_name()
        try:
            descriptor = os.open(name, _NEW_FILE, mode, dir_fd=self._descriptor)
        except FileExistsError as error:
            raise ArtifactError(
                f"{self._folder}/{name}: was made by somebody else this moment, and is left alone. Nothing of this "
                "file was imported. See who writes in that folder, then run this again."
            ) from error
        self._partial = name
        return descriptor

    def _rename(self, name: str) -> None:
        """Give a copy its name, unless something has that."""
        try:
            os.link(self._partial, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            os.unlink(self._partial, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            if self._is_there(name):
                raise FileExistsError from error
            os.rename(self._partial, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        self._partial = ""

    def _is_there(self, name: str) -> bool:
        try:
            os.lstat(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def _adopt(self, source: str, target: str, name: str, size: int) -> None:
        """Take what an interrupted run left, where it is the artifact."""
        is_link = stat.S_ISLNK(os.lstat(name, dir_fd=self._descriptor).st_mode)
        if is_link and not os.path.exists(target):
            # The link leads nowhere: nothing is lost by letting it lead to the artifact.
            os.unlink(name, dir_fd=self._descriptor)
            self._bring(source, target, name, size)
        elif not os.path.samefile(source, target) and (is_link or not self._holds(name, source)):
            what = f"links to {os.readlink(target)}" if is_link else "holds something else"
            raise ArtifactError(
                f"{target}: is there already and {what}; it was to become {source}. It belongs to no dataset "
                "of this repository and is left alone. Move it away, then run this again."
            )

    def _holds(self, name: str, source: str) -> bool:
        """Say whether a file in the folder has the content of another."""
        descriptor = os.open(name, _IN_PLACE, dir_fd=self._descriptor)
        with (
            open(descriptor, "rb", buffering=0) as a,
            self._opened(source) as opened,
            open(opened, "rb", buffering=0, closefd=False) as b,
        ):
            one, other = os.fstat(a.fileno()), os.fstat(b.fileno())
            if one.st_size != other.st_size or not stat.S_ISREG(one.st_mode):
                return False
            while left := a.read(_BLOCK):
                if left != b.read(_BLOCK):
                    return False
        return True


def _sync_file_system(descriptor: int) -> int:
    """Write everything of a file system to the disk: thousands of files and folders at the cost of some."""
    try:
        synchronise = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        os.sync()
        return 0
    return int(synchronise(descriptor))
