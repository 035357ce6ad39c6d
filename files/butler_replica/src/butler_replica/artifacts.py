"""Artifacts: where an export says they are, where they are, and bringing them into the repository.

The folders that they come from are only ever read. An artifact that is in
place in the repository is never overwritten and never removed: `Transfer`
undoes only what it has itself created.
"""

from __future__ import annotations

__all__ = [
    "TRANSFER_MODES",
    "ArtifactFinder",
    "FoundArtifact",
    "Transfer",
    "make_finder",
]

import contextlib
import errno
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from .errors import ArtifactError
from .listing import Listing, Placeholders
from .rewriting import OUTSIDE, PathMapper, Roots, is_uri

TRANSFER_MODES = ("symlink", "relsymlink", "copy", "hardlink", "link", "direct", "none")
"""How an artifact becomes the repository's: ``link`` is a hard link where the
file system allows it and a symbolic link elsewhere; ``direct`` records where it
is; ``none`` expects it inside the repository already."""

_ZIP_INDEX = "_butler_zip_index.json"
"""Table of contents of an archive that ``Butler.retrieve_artifacts_zip`` made."""


class FoundArtifact(NamedTuple):
    """Where an artifact is, or was expected."""

    source: str
    """Absolute path on this machine."""

    size: int | None
    """Its size in bytes; `None` where it is missing."""

    reason: str
    """Why it is missing; empty where it is there."""


class ArtifactFinder:
    """Finds the artifacts that an export names on this machine.

    Parameters
    ----------
    mapper : `~butler_replica.rewriting.PathMapper`
        Where they are by their names.
    roots : `~butler_replica.rewriting.Roots`
        Where they may be.
    listing : `~butler_replica.listing.Listing`
        Which files there are.
    placeholders : `str`, optional
        Whether an empty file or a Git LFS pointer is ``missing`` (default) or
        is to be taken as it is (``accept``).
    """

    def __init__(
        self,
        mapper: PathMapper,
        roots: Roots,
        listing: Listing,
        *,
        placeholders: Placeholders = "missing",
    ) -> None:
        self._map = mapper
        self.roots = roots
        self._listing = listing
        self._accept = placeholders == "accept"

    def find(self, path: str) -> FoundArtifact:
        """Find one artifact.

        Parameters
        ----------
        path : `str`
            As the export has it.

        Returns
        -------
        found : `FoundArtifact`
            Where it is, and its size or why it is missing.
        """
        found = self._find(path)
        if found.size is None and not found.reason.startswith(OUTSIDE) and not is_uri(path):
            if "%" in path:
                # Some exports have the paths of URIs, with characters as %XX.
                unquoted = self._find(unquote(path))
                if unquoted.size is not None or unquoted.reason.startswith(OUTSIDE):
                    return unquoted
            whole, mark, part = path.rpartition("#")
            if mark and "/" not in part and self._find(whole).size is not None:
                return found._replace(reason=f"names only a part (#{part}) of a file")
        return found

    def _find(self, path: str) -> FoundArtifact:
        source, reason = self._map(path)
        if reason:
            return FoundArtifact(source, None, reason)
        if reason := self.roots.have(source, is_link=self._listing.is_link(source)):
            return FoundArtifact(source, None, reason)
        size, reason = self._listing.look(source)
        if size is not None and not reason and source.endswith(".zip") and _is_archive(source):
            return FoundArtifact(source, None, "is an archive of the artifacts of several datasets")
        if size is None or not reason:
            return FoundArtifact(source, size, reason)
        return FoundArtifact(source, size, "") if self._accept else FoundArtifact(source, None, reason)


def make_finder(
    export: Path,
    listing: Listing,
    *,
    artifacts: str | Path | None = None,
    rewrite: Sequence[tuple[str, str]] = (),
    roots: Iterable[str | Path] = (),
    placeholders: Placeholders = "missing",
) -> ArtifactFinder:
    """Make what finds the artifacts of one export.

    Parameters
    ----------
    export : `pathlib.Path`
        The export file, from whose folder artifacts may be taken.
    listing : `~butler_replica.listing.Listing`
        Which files there are.
    artifacts : `str` or `pathlib.Path`, optional
        Where relative paths begin; the folder of the export if not given.
    rewrite : `~collections.abc.Sequence` [ `tuple` [ `str`, `str` ] ], optional
        Old and new prefixes of paths.
    roots : `~collections.abc.Iterable`, optional
        Further folders from which artifacts may be taken.
    placeholders : `str`, optional
        As for `ArtifactFinder`.

    Returns
    -------
    finder : `ArtifactFinder`
        What finds them.
    """
    mapper = PathMapper(rewrite, Path(artifacts) if artifacts else export.parent)
    allowed = Roots([*mapper.folders, export.absolute().parent, *roots])
    return ArtifactFinder(mapper, allowed, listing, placeholders=placeholders)


def _is_archive(path: str) -> bool:
    """Say whether a zip file is one that the butler made of many artifacts."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _ZIP_INDEX in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


class Transfer:
    """Brings artifacts into a repository, and can take that back.

    Parameters
    ----------
    mode : `str`
        One of `TRANSFER_MODES`.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._stopped = False
        self._partial = ""
        self._folders: list[str] = []
        # What was created: a list of millions of paths would not do.
        self._journal = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115 (closed with this)

    @property
    def writes(self) -> bool:
        """Whether anything is created."""
        return self._mode not in ("direct", "none")

    @property
    def needs_space(self) -> bool:
        """Whether the artifacts themselves take room in the repository."""
        return self._mode == "copy"

    def check_space(self, artifacts: Iterable[tuple[str, str, int]], root: Path) -> None:
        """Refuse to begin what cannot fit.

        Parameters
        ----------
        artifacts : `~collections.abc.Iterable` [ `tuple` [ `str`, `str`, `int` ] ]
            Absolute target path, source, and size in bytes.
        root : `pathlib.Path`
            Root of the datastore.

        Raises
        ------
        ArtifactError
            Raised if the files that are to be copied are larger than the room
            that is left.
        """
        room = os.statvfs(root)
        needed = sum(
            -(-size // room.f_frsize) * room.f_frsize
            for target, _, size in artifacts
            if not os.path.lexists(target)
        )
        free = room.f_bavail * room.f_frsize
        if needed > free:
            raise ArtifactError(
                f"{root}: {needed / 1e6:.1f} MB of artifacts are to be copied and {free / 1e6:.1f} MB are free. "
                "Nothing was changed. Make room, or use another transfer mode (symlink, direct)."
            )

    def run(self, artifacts: Iterable[tuple[str, str, int]]) -> None:
        """Bring artifacts to their places; may run in any thread.

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
        last_folder = ""
        for target, source, _ in artifacts:
            if self._stopped:
                return
            if source == target:
                continue
            folder = os.path.dirname(target)
            try:
                if folder != last_folder:
                    self._make_folder(folder)
                    last_folder = folder
                self._bring(source, target)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise ArtifactError(
                        f"{target}: no hard link to {source} can be made: they are on different file systems. "
                        "Use the transfer mode symlink, link or copy."
                    ) from error
                raise ArtifactError(f"{target}: cannot be made from {source}: {error.strerror}.") from error

    def stop(self) -> None:
        """Let `run`, in another thread, end after the artifact that it is at."""
        self._stopped = True

    def undo(self) -> None:
        """Remove what `run` created, and nothing else."""
        if self._partial:
            Path(self._partial).unlink(missing_ok=True)
        self._journal.seek(0)
        rest = b""
        while block := self._journal.read(1 << 20):
            *created, rest = (rest + block).split(b"\0")
            for path in created:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        self._journal.seek(0)
        self._journal.truncate()
        while self._folders:
            try:
                Path(self._folders.pop()).rmdir()
            except OSError:
                # Somebody put something there: it stays.
                continue

    def _make_folder(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            self._folders.append(path)

    def _bring(self, source: str, target: str) -> None:
        try:
            if self._mode == "copy":
                self._copy(source, target)
            elif self._mode == "symlink":
                os.symlink(source, target)
            elif self._mode == "relsymlink":
                os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
            elif self._mode == "hardlink":
                os.link(os.path.realpath(source), target)
            else:
                try:
                    os.link(os.path.realpath(source), target)
                except FileExistsError:
                    raise
                except OSError:
                    os.symlink(source, target)
        except FileExistsError:
            self._adopt(source, target)
            return
        self._journal.write(os.fsencode(target) + b"\0")

    def _copy(self, source: str, target: str) -> None:
        """Copy under another name first: a file under its own name is complete."""
        if os.path.lexists(target):
            raise FileExistsError
        self._partial = f"{target}.partial"
        shutil.copyfile(source, self._partial)
        os.rename(self._partial, target)
        self._partial = ""

    def _adopt(self, source: str, target: str) -> None:
        """Take what an interrupted run left, where it is the artifact."""
        if os.path.islink(target) and not os.path.exists(target):
            # The link leads nowhere: nothing is lost by letting it lead to the artifact.
            os.unlink(target)
            self._bring(source, target)
        elif not os.path.samefile(source, target) and (
            os.path.islink(target) or not _same_content(source, target)
        ):
            what = f"links to {os.readlink(target)}" if os.path.islink(target) else "holds something else"
            raise ArtifactError(
                f"{target}: is there already and {what}; it was to become {source}. It belongs to no dataset "
                "of this repository and is left alone. Move it away, then run this again."
            )


def _same_content(one: str, other: str) -> bool:
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True
