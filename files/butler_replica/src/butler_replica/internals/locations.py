"""Where artifacts are by the datastore's own rule; see the package for what is private here.

The path that a datastore record has is neither a path nor a URI: the butler
expands ``~`` and ``$X`` in it, takes ``%41`` for a character, and what follows
the last ``#`` for something within the file. Which of that, and how often,
depends on what else the path has in it. `Locations` asks the butler, and
decides itself only where nothing of the kind is there.
"""

from __future__ import annotations

__all__ = ["Locations", "artifact_path", "file_uri", "is_plain"]

import os
import re
from collections.abc import Callable
from urllib.parse import quote

from lsst.daf.butler import Butler, StorageClass
from lsst.daf.butler._location import LocationFactory
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.resources import ResourcePath

from ..errors import RepositoryError
from .datasets import file_datastore

is_plain = re.compile(r"[A-Za-z0-9_.,+=@/-]*").fullmatch
"""Whether a path has only characters that mean themselves, to the file system, in a URI and to the butler."""

_VARIABLE = re.compile(r"\$(\w|\{)")


def file_uri(path: str) -> str:
    """Write an absolute path as a URI: to `ResourcePath`, ``#`` and ``%41`` in a path mean something else.

    Parameters
    ----------
    path : `str`
        Absolute path of a file.

    Returns
    -------
    uri : `str`
        The same, quoted, as a ``file`` URI.
    """
    return f"file://{quote(path)}"


class Locations:
    """Turns what a datastore records into paths of files, and the other way.

    Parameters
    ----------
    root : `str`
        Absolute path of the datastore's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        """Absolute path of the datastore's folder."""

        self._factory = LocationFactory(ResourcePath(file_uri(self.root), forceDirectory=True))

    @classmethod
    def of(cls, butler: Butler) -> Locations:
        """Return those of a repository.

        Parameters
        ----------
        butler : `lsst.daf.butler.Butler`
            The repository.

        Returns
        -------
        locations : `Locations`
            Those of its datastore.
        """
        return cls(file_datastore(butler).root.ospath)

    def find(self, recorded: str) -> str | ResourcePath:
        """Return the file that a datastore record names.

        Parameters
        ----------
        recorded : `str`
            Path of the record: below the datastore's root, or a URI.

        Returns
        -------
        path : `str` or `lsst.resources.ResourcePath`
            Absolute path of a local file, or the URI of one that is not
            local.

        Raises
        ------
        RepositoryError
            Raised if the butler can make nothing of the path.
        """
        if is_plain(recorded):
            if _is_tidy(recorded):
                return f"{self.root}/{recorded}"
        elif recorded.startswith("file:///") and is_plain(path := recorded[len("file://") :]):
            return path
        try:
            uri = _as_info(recorded).file_location(self._factory).uri
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise RepositoryError(
                f"The datastore has a record with the path {recorded!r}, of which the butler makes no location: {error}"
            ) from error
        return uri.ospath if uri.isLocal else uri

    def find_own(self, recorded: str) -> str | None:
        """Return the file that a datastore record names, if the datastore keeps it.

        Parameters
        ----------
        recorded : `str`
            Path of the record.

        Returns
        -------
        path : `str` or `None`
            Absolute path below the datastore's folder; `None` for what the
            datastore only refers to, or lies elsewhere, or is no location.
        """
        if is_plain(recorded) and _is_tidy(recorded):
            return f"{self.root}/{recorded}"
        try:
            if ResourcePath(recorded, forceAbsolute=False, forceDirectory=False).isabs():
                return None
            path = self.find(recorded)
        except (ValueError, NotImplementedError, RuntimeError, RepositoryError):
            return None
        return path if isinstance(path, str) and path.startswith(f"{self.root}/") else None

    def make(self, formatted: str, extension: str) -> tuple[str, str]:
        """Return where an artifact goes, and what the datastore records of that.

        Parameters
        ----------
        formatted : `str`
            What the datastore's file template made for a dataset.
        extension : `str`
            Extension of the artifact, with its dot; may be empty.

        Returns
        -------
        recorded : `str`
            Path for the record.
        path : `str`
            Absolute path of the file, where the butler looks for that record.

        Raises
        ------
        ValueError
            Raised if that is no place of its own within the repository. The
            message says why.
        """
        if is_plain(formatted) and is_plain(extension) and _is_tidy(formatted):
            recorded = f"{formatted}{extension}"
            return recorded, f"{self.root}/{recorded}"
        if _VARIABLE.search(formatted):
            raise ValueError("has a $ in it, which the butler takes for a variable of the environment")
        try:
            location = self._factory.fromPath(formatted, trusted_path=True)
            location.updateExtension(extension)
            uri, recorded = location.uri, location.pathInStore.path
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"is no path below the repository to the butler ({error})") from error
        path: str = uri.ospath
        if uri.fragment or uri.query or uri.params:
            raise ValueError("is taken by the butler for a URI of which only a part is the path of a file")
        if not path.startswith(f"{self.root}/") or os.path.normpath(path) != path:
            raise ValueError(f"leads out of the repository: the butler would put it at {path}")
        if (found := self.find(recorded)) != path:
            raise ValueError(f"is put at {path} by the butler and looked for at {found}")
        return recorded, path

    def record(self, path: str) -> str:
        """Return what the datastore records of a file that lies in its folder.

        Parameters
        ----------
        path : `str`
            Absolute path of the file.

        Returns
        -------
        recorded : `str`
            Path for the record.

        Raises
        ------
        ValueError
            Raised if the butler would not find the file by that. The message
            says why.
        """
        recorded = os.path.relpath(path, self.root)
        if (found := self.find(recorded)) != path:
            raise ValueError(f"would be looked for at {found} by the butler")
        return recorded


def artifact_path(butler: Butler) -> Callable[[str], str | ResourcePath]:
    """Return a function that finds the artifact that a datastore record names.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    locate : `~collections.abc.Callable`
        `Locations.find` of the repository.
    """
    return Locations.of(butler).find


def _as_info(recorded: str) -> StoredFileInfo:
    return StoredFileInfo(
        formatter="",
        path=recorded,
        storageClass=StorageClass(""),
        component=None,
        checksum=None,
        file_size=-1,
    )


def _is_tidy(path: str) -> bool:
    """Return whether a plain path is relative and normal, for certain."""
    return (
        "//" not in path
        and "./" not in path
        and ".." not in path
        and path[-1:] not in "/."
        and path[0] != "/"
    )
