"""What is on disk in place of an artifact that a datastore has a record of."""

from __future__ import annotations

__all__ = ["Artifacts", "Found", "State", "is_remote"]

import enum
import functools
import os
import re
import zipfile
from typing import Any, NamedTuple
from urllib.parse import unquote

from lsst.daf.butler import Butler, Location
from lsst.resources import ResourcePath
from lsst.utils.doImport import doImportType

from ..errors import ArtifactError, RepositoryError
from ..internals import DatasetRow, artifact_path
from .listing import FoundFile, Listing

_OWN_FORMATTERS = "lsst.daf.butler.formatters."
"""Formatters that are always there. To ask another one would be to import what a record names."""

_MAX_ARCHIVES_KEPT = 32

_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class State(enum.IntEnum):
    """How much of a dataset there is."""

    ABSENT = 0
    """It is not in the registry."""

    REGISTERED = 1
    """It is in the registry alone."""

    DANGLING = 2
    """It has a datastore record, but its artifact is not on disk."""

    UNREADABLE = 3
    """It has a datastore record, and what is on disk cannot be read."""

    ALTERED = 4
    """It has a datastore record; what is on disk has another size."""

    EMPTIED = 5
    """It has a datastore record; on disk is an empty file or a Git LFS pointer, of another size."""

    PLACEHOLDER = 6
    """It has a datastore record; on disk is an empty file or a Git LFS pointer, as recorded."""

    REMOTE = 7
    """It has a datastore record of an artifact that is not on this machine and was not looked at."""

    STORED = 8
    """It has a datastore record and its artifact is on disk."""


class Found(NamedTuple):
    """What there is of one artifact."""

    state: State
    path: str | None
    """Absolute path of the file; `None` without one on this machine. Unless looked at closely, symbolic links are
    followed."""

    reason: str = ""
    """What is wrong with it; empty where nothing is, or where it was only asked for."""


def is_remote(recorded: str) -> bool:
    """Return whether the path of a datastore record is that of an artifact on another machine.

    Parameters
    ----------
    recorded : `str`
        Path or URI as the datastore has it.

    Returns
    -------
    is_remote : `bool`
        Whether it is a URI of another scheme than ``file``.
    """
    return _REMOTE.match(recorded) is not None


class Artifacts:
    """Looks for the artifacts of datasets.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    listing : `Listing`
        What is known of the files.
    closely : `bool`, optional
        Look at each file: its size, whether it can be read, and whether it
        is an empty file or a Git LFS pointer. Otherwise a file counts
        whatever it holds.
    """

    def __init__(self, butler: Butler, listing: Listing, *, closely: bool = False) -> None:
        self._locate = artifact_path(butler)
        self._listing = listing
        self._closely = closely
        self._is_root = os.geteuid() == 0
        self._members = functools.lru_cache(_MAX_ARCHIVES_KEPT)(_members)

    def find(self, row: DatasetRow) -> Found:
        """Return what there is of one artifact.

        Parameters
        ----------
        row : `DatasetRow`
            The dataset, with its record.

        Returns
        -------
        found : `Found`
            What there is of it.

        Raises
        ------
        ArtifactError
            Raised unless looking closely, if the folder is there but cannot
            be listed: whether the file exists is unknown then.
        RepositoryError
            Raised unless looking closely, if the butler can make nothing of
            the path that is recorded.
        """
        if row.path is None:
            return _REGISTERED
        if is_remote(row.path):
            return _NOT_LOOKED_AT
        try:
            path = self._locate(row.path)
        except RepositoryError as error:
            if not self._closely:
                raise
            return Found(State.UNREADABLE, None, str(error))
        if not isinstance(path, str):
            return _NOT_LOOKED_AT
        if not self._closely:
            path, is_there = self._listing.follow(path)
            return Found(State.STORED if is_there else State.DANGLING, path)
        try:
            state, reason = self._look(row, path)
        except ArtifactError as error:
            state, reason = State.UNREADABLE, str(error)
        except OSError as error:
            state, reason = State.UNREADABLE, error.strerror or str(error)
        return Found(state, path, reason)

    def _look(self, row: DatasetRow, path: str) -> tuple[State, str]:
        assert row.path is not None  # noqa: S101 (the caller has looked)
        size, reason = self._listing.look(path)
        if size is None:
            return State.DANGLING, reason
        if not self._is_readable(path):
            return State.UNREADABLE, "no permission to read it"
        if (member := _member(row.path)) is not None:
            size, reason = self._look_into(path, member)
            if size is None:
                return State.UNREADABLE, reason
        elif path.endswith(".zip") and not _reads_archives(row.formatter):
            return State.UNREADABLE, f"an archive, which {row.formatter} does not read"
        if row.size < 0 or row.size == size:
            return (State.PLACEHOLDER if reason else State.STORED), reason
        return (State.EMPTIED if reason else State.ALTERED), f"{size} bytes, recorded are {row.size}"

    def _is_readable(self, path: str) -> bool:
        if self._is_root:
            # Root may read everything, but a file that nobody else may is one that the repository's users cannot.
            # On a network file system root may not even be root.
            mode = os.stat(path).st_mode  # noqa: PTH116 - a Path costs more than the system call
            return bool(mode & 0o004) or (bool(mode & 0o444) and os.access(path, os.R_OK))
        return os.access(path, os.R_OK)

    def _look_into(self, path: str, member: str) -> FoundFile:
        """Check one file of an archive."""
        sizes = self._members(path)
        if sizes is None:
            return FoundFile(None, "no zip archive")
        size = sizes.get(member)
        return FoundFile(size, f"the archive has no {member}" if size is None else "")


_REGISTERED = Found(State.REGISTERED, None)
_NOT_LOOKED_AT = Found(State.REMOTE, None)


def _member(recorded: str) -> str | None:
    """Return the name of the file in a zip archive that a record is of."""
    _, mark, fragment = recorded.rpartition("#")
    name = unquote(fragment) if mark else ""
    return name.removeprefix("zip-path=") if name.startswith("zip-path=") else None


def _members(path: str) -> dict[str, int] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return {entry.filename: entry.file_size for entry in archive.infolist()}
    except zipfile.BadZipFile:
        return None


@functools.cache
def _reads_archives(formatter: str) -> bool:
    """Return whether a formatter may be one for zip archives."""
    if not formatter.startswith(_OWN_FORMATTERS):
        return True
    try:
        reader: Any = doImportType(formatter)
        reader.validate_extension(Location(None, ResourcePath("file:///archive.zip")))
    except (ValueError, NotImplementedError):
        return False
    except (ImportError, AttributeError, TypeError):
        return True
    return True
