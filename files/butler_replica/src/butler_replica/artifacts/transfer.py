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

import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..errors import ArtifactError
from .copying import copy_artifact, has_content, opened_source
from .open_folders import OpenFolders
from .rewriting import Roots

_BLOCK = 1 << 20
"""Bytes of the journal that are in memory, and that are read at a time."""


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
        self._folder = OpenFolders(self._root)
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

    def bring(self, artifacts: Iterable[tuple[str, str, int]]) -> None:
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
            self._folder.close()
        self._folder.sync()

    def undo(self) -> None:
        """Remove what `bring` created, and nothing else."""
        self._journal.seek(0)
        rest = b""
        while block := self._journal.read(_BLOCK):
            *created, rest = (rest + block).split(b"\0")
            for path in created:
                self._folder.remove(os.fsdecode(path))
        self._journal.seek(0)
        self._journal.truncate()
        self._folder.remove_made()

    def _put(self, target: str, source: str, size: int) -> None:
        folder, name = os.path.split(target)
        try:
            self._folder.open_to_put(folder)
            self._make(source, target, name, size)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ArtifactError(
                    f"{target}: no hard link to {source} can be made: they are on different file systems. "
                    "Use the transfer mode symlink, link or copy."
                ) from error
            raise ArtifactError(f"{target}: cannot be made from {source}: {error.strerror}.") from error

    def _make(self, source: str, target: str, name: str, size: int) -> None:
        try:
            if self._mode == "copy":
                copy_artifact(source, self._sources, self._folder, name, size)
            elif self._mode == "symlink":
                os.symlink(source, name, dir_fd=self._folder.descriptor)
            elif self._mode == "relsymlink":
                folder = os.path.realpath(os.path.dirname(target))
                os.symlink(os.path.relpath(source, folder), name, dir_fd=self._folder.descriptor)
            else:
                self._link(source, name)
        except FileExistsError:
            self._adopt(source, target, name, size)
            return
        self._journal.write(os.fsencode(target) + b"\0")

    def _link(self, source: str, name: str) -> None:
        try:
            with opened_source(source, self._sources, os.O_PATH) as descriptor:
                os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=self._folder.descriptor)
        except FileExistsError:
            raise
        except OSError:
            if self._mode == "hardlink":
                raise
            os.symlink(source, name, dir_fd=self._folder.descriptor)

    def _adopt(self, source: str, target: str, name: str, size: int) -> None:
        """Accept what an interrupted import left, where it is the artifact."""
        is_link = stat.S_ISLNK(os.lstat(name, dir_fd=self._folder.descriptor).st_mode)
        if is_link and not os.path.exists(target):
            # The link leads nowhere: nothing is lost by letting it lead to the artifact.
            os.unlink(name, dir_fd=self._folder.descriptor)
            self._make(source, target, name, size)
        elif not os.path.samefile(source, target) and (
            is_link or not has_content(self._folder, name, source, self._sources)
        ):
            what = f"links to {os.readlink(target)}" if is_link else "holds something else"
            raise ArtifactError(
                f"{target}: is there already and {what}; it was to become {source}. It belongs to no dataset "
                "of this repository and is left alone. Move it away, then run this again."
            )
