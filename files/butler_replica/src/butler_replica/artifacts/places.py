"""In which folders artifacts are, and which folders show none of those recorded there.

A folder of data that is not mounted looks like one whose files were deleted.
What can be told is whether a folder still shows anything of what is recorded
in it or below it: a file that is missing beside others is gone, one that is
missing with all others may be back with the next mount.
"""

from __future__ import annotations

__all__ = ["Places", "Unseen"]

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Unseen(NamedTuple):
    """A folder that shows nothing of what is recorded in it and below it."""

    folder: str
    missing: int
    """Artifacts that are recorded there."""

    condition: str
    """What the folder looks like: ``there is no such folder``, ``it is empty``, ``it holds other things``."""


class Places:
    """Folders in which artifacts are, or should be."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._witnesses: dict[str, str] = {}
        """Of each folder with artifacts, one that is there."""

        self._missing: Counter[tuple[str, int]] = Counter()
        """How many artifacts each folder lacks of each group of datasets."""

    def note(self, path: str, group: int, *, is_there: bool) -> None:
        """Note one artifact.

        Parameters
        ----------
        path : `str`
            Absolute path of the file itself, symbolic links followed.
        group : `int`
            The group of datasets that it belongs to.
        is_there : `bool`
            Whether there is a file.
        """
        folder = self._real_folder(os.path.dirname(path))  # noqa: PTH120
        if not is_there:
            self._missing[folder, group] += 1
        elif folder not in self._witnesses:
            self._witnesses[folder] = path

    def unseen(self, groups: Collection[int], gone: Iterable[str] = ()) -> list[Unseen]:
        """Return the folders that show nothing of what is recorded in and below them.

        Parameters
        ----------
        groups : `~collections.abc.Collection` [ `int` ]
            Groups of datasets in question.
        gone : `~collections.abc.Iterable` [ `str` ], optional
            Folders whose artifacts are known to be gone.

        Returns
        -------
        unseen : `list` [ `Unseen` ]
            The largest such folders, those that lack most first.
        """
        showing = {above for folder in self._witnesses for above in _upwards(folder)}
        known = _as_prefixes(gone)
        lacking: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for folder, count in self._lacking(groups).items():
            if folder not in showing and not f"{folder}/".startswith(known):
                lacking[_highest(folder, showing)][folder] += count
        unseen = [
            Unseen(common := os.path.commonpath(list(counts)), counts.total(), _condition(common))
            for counts in lacking.values()
        ]
        return sorted(unseen, key=lambda one: (-one.missing, one.folder))

    def below(self, gone: Iterable[str], groups: Collection[int]) -> int:
        """Return how many missing artifacts are below some folders.

        Parameters
        ----------
        gone : `~collections.abc.Iterable` [ `str` ]
            Folders.
        groups : `~collections.abc.Collection` [ `int` ]
            Groups of datasets in question.

        Returns
        -------
        count : `int`
            Number of artifacts.
        """
        known = _as_prefixes(gone)
        return sum(count for folder, count in self._lacking(groups).items() if f"{folder}/".startswith(known))

    def witnesses(self, groups: Collection[int]) -> list[str]:
        """Return artifacts that show that the folders in which others are missing can be seen.

        Parameters
        ----------
        groups : `~collections.abc.Collection` [ `int` ]
            Groups of the datasets whose artifacts are missing.

        Returns
        -------
        witnesses : `list` [ `str` ]
            One for each folder that shows something.
        """
        below: dict[str, str] = {}
        for folder, witness in self._witnesses.items():
            for above in _upwards(folder):
                below.setdefault(above, witness)
        return sorted({below[folder] for folder in self._lacking(groups) if folder in below})

    def _lacking(self, groups: Collection[int]) -> Counter[str]:
        lacking: Counter[str] = Counter()
        for (folder, group), count in self._missing.items():
            if group in groups:
                lacking[folder] += count
        return lacking

    def _real_folder(self, folder: str) -> str:
        real = self._real.get(folder)
        if real is None:
            real = self._real[folder] = os.path.realpath(folder)
        return real


def _as_prefixes(folders: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{os.path.realpath(os.path.expanduser(folder)).rstrip('/')}/" for folder in folders)  # noqa: PTH111


def _upwards(folder: str) -> Iterator[str]:
    """Yield a folder and those above it."""
    yield folder
    yield from map(str, Path(folder).parents)


def _highest(folder: str, showing: Collection[str]) -> str:
    """Return the highest folder above one that shows nothing either."""
    highest = folder
    for above in _upwards(folder):
        if above in showing:
            break
        highest = above
    return highest


def _condition(folder: str) -> str:
    try:
        with os.scandir(folder) as entries:
            return "it holds other things" if next(entries, None) else "it is empty"
    except (FileNotFoundError, NotADirectoryError):
        return "there is no such folder"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
