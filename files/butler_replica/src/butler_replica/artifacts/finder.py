"""Artifacts: where an export says they are, and where they are."""

from __future__ import annotations

__all__ = ["ArtifactFinder", "FoundArtifact", "make_finder"]

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ..local_paths import expanded
from ..options import Placeholders
from .listing import Listing
from .rewriting import OUTSIDE, PathMapper, Roots, is_uri, without_secrets

_ZIP_INDEX = "_butler_zip_index.json"
"""Table of contents of an archive that ``Butler.retrieve_artifacts_zip`` made."""


UNSEEN = -1
"""Size of an artifact that was not looked at, as the butler records it."""


class FoundArtifact(NamedTuple):
    """Where an artifact is, or was expected."""

    source: str
    """Absolute path on this machine, or URI."""

    size: int | None
    """Its size in bytes; `None` where it is missing, ``UNSEEN`` where it is remote."""

    reason: str
    """Why it is missing; empty where it is there."""


class ArtifactFinder:
    """Finds the artifacts that an export names on this machine.

    Parameters
    ----------
    mapper : `~butler_replica.artifacts.rewriting.PathMapper`
        Where they are by their names.
    roots : `~butler_replica.artifacts.rewriting.Roots`
        Where they may be.
    listing : `~butler_replica.artifacts.listing.Listing`
        Which files there are.
    placeholders : `str`, optional
        Whether an empty file or a Git LFS pointer is ``missing`` (default) or
        is to be taken as it is (``accept``).
    remote : `bool`, optional
        Take what is on another machine to be there, unseen.
    """

    def __init__(
        self,
        mapper: PathMapper,
        roots: Roots,
        listing: Listing,
        *,
        placeholders: Placeholders = "missing",
        remote: bool = False,
    ) -> None:
        self._map = mapper
        self.roots = roots
        self._listing = listing
        self._accept = placeholders == "accept"
        self._remote = remote

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
        source, reason, is_remote = self._map(path)
        if is_remote and self._remote:
            return FoundArtifact(source, UNSEEN, "")
        if reason:
            return FoundArtifact(without_secrets(source), None, reason)
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
    remote: bool = False,
) -> ArtifactFinder:
    """Make what finds the artifacts of one export.

    Parameters
    ----------
    export : `pathlib.Path`
        The export file, from whose folder artifacts may be taken.
    listing : `~butler_replica.artifacts.listing.Listing`
        Which files there are.
    artifacts : `str` or `pathlib.Path`, optional
        Where relative paths begin; the folder of the export if not given.
    rewrite : `~collections.abc.Sequence` [ `tuple` [ `str`, `str` ] ], optional
        Old and new prefixes of paths.
    roots : `~collections.abc.Iterable`, optional
        Further folders from which artifacts may be taken.
    placeholders, remote : optional
        As for `ArtifactFinder`.

    Returns
    -------
    finder : `ArtifactFinder`
        What finds them.
    """
    mapper = PathMapper(rewrite, expanded(artifacts) if artifacts else export.parent)
    allowed = Roots([*mapper.folders, export.absolute().parent, *roots])
    return ArtifactFinder(mapper, allowed, listing, placeholders=placeholders, remote=remote)


def _is_archive(path: str) -> bool:
    """Return whether a zip file is one that the butler made of many artifacts."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _ZIP_INDEX in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
