"""What a user means by a path: ``~``, ``file://``, trailing slashes, globs that match nothing yet."""

from __future__ import annotations

__all__ = ["Overlap", "expanded", "local_path", "overlap", "places_of"]

import fnmatch
import glob
import os
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .errors import ReplicaError


class Overlap(Enum):
    """How a folder lies to a place of the data."""

    SAME = "is"
    INSIDE = "lies inside"
    ABOVE = "lies above"


def expanded(given: str | os.PathLike[str]) -> Path:
    """Return the path that a user means, relative where it was given so.

    Parameters
    ----------
    given : `str` or `os.PathLike`
        A path or glob, or the URI of a local file; ``~`` and ``~user`` are
        homes.

    Returns
    -------
    path : `pathlib.Path`
        The path, or the glob.

    Raises
    ------
    ReplicaError
        Raised if it is a URI of another host.
    """
    text = os.fspath(given)
    if text.startswith("file:"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ReplicaError(f"{text}: a file of another host. Write file:///PATH, or the path.")
        text = unquote(parts.path)
    return Path(os.path.expanduser(text))  # noqa: PTH111 (no error for a user who is not there)


def local_path(given: str | os.PathLike[str]) -> Path:
    """Return the absolute path that a user means; links and ``..`` are left to the file system.

    Parameters
    ----------
    given : `str` or `os.PathLike`
        As for `expanded`.

    Returns
    -------
    path : `pathlib.Path`
        The path.
    """
    return expanded(given).absolute()


def places_of(given: str | os.PathLike[str]) -> list[Path]:
    """Return the places that a path or glob stands for, each as it is written and as it is reached.

    Parameters
    ----------
    given : `str` or `os.PathLike`
        As for `expanded`. A glob that matches nothing stands for itself.

    Returns
    -------
    places : `list` [ `pathlib.Path` ]
        Absolute paths; only those of a glob that matches nothing are globs.
    """
    path = str(local_path(given))
    matches = [path] if os.path.lexists(path) or not glob.has_magic(path) else glob.glob(path)  # noqa: PTH207
    # A path through a link ends with the link, so the path as it is written counts, too.
    found = {Path(way(match)) for match in matches or [path] for way in (os.path.abspath, os.path.realpath)}
    return sorted(found)


def overlap(folder: Path, place: Path) -> Overlap | None:
    """Return how a folder lies to a place.

    Parameters
    ----------
    folder : `pathlib.Path`
        An absolute path.
    place : `pathlib.Path`
        Another, which may be a glob.

    Returns
    -------
    overlap : `Overlap` or `None`
        Nothing where they lie apart.
    """
    ours, theirs = folder.parts, place.parts
    literal = not glob.has_magic(str(place)) or os.path.lexists(place)
    if not all(
        one == other or (not literal and fnmatch.fnmatchcase(one, other))
        for one, other in zip(ours, theirs, strict=False)
    ):
        return None
    if len(ours) == len(theirs):
        return Overlap.SAME
    return Overlap.INSIDE if len(ours) > len(theirs) else Overlap.ABOVE
