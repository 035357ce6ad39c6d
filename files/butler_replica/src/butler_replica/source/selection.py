"""What is taken of a source, and what that comes to."""

from __future__ import annotations

__all__ = ["Associations", "Kind", "Selection", "is_among"]

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from lsst.daf.butler import CollectionType, DatasetType, Timespan
from numpy.typing import NDArray


@dataclass(frozen=True)
class Selection:
    """What is taken of a source."""

    dataset_types: tuple[str, ...] = ("*",)
    """Names and globs."""

    collections: tuple[str, ...] = ("*",)
    """Names and globs; of a chain all that is in it."""

    where: str = ""
    """In the butler's own language; all if empty."""


@dataclass(frozen=True)
class Kind:
    """A dataset type of a selection, and where its datasets are."""

    type: DatasetType
    runs: tuple[str, ...]
    """Runs with datasets of the selection, by name."""

    counts: tuple[int, ...]
    """Number of datasets of each run."""

    associations: tuple[Associations, ...]
    some: Mapping[str, NDArray[np.bytes_]]
    """Runs that were not asked for: of them only the datasets, ordered by ID, that are in the TAGGED and CALIBRATION
    collections of the selection."""

    @property
    def name(self) -> str:
        """Name of the dataset type."""
        return self.type.name

    @property
    def total(self) -> int:
        """Number of datasets."""
        return sum(self.counts)


@dataclass(frozen=True)
class Associations:
    """Datasets of one dataset type in a TAGGED or CALIBRATION collection."""

    collection: str
    type: CollectionType
    ids: NDArray[np.bytes_]
    """Dataset IDs in order, 16 bytes each; shape (N,)."""

    validity: NDArray[np.intp]
    """Index of the validity range of each among ``timespans``; shape (N,)."""

    timespans: tuple[Timespan, ...] = ()

    def of(self, ids: NDArray[np.bytes_]) -> list[tuple[int, int]]:
        """Return which of some datasets are associated.

        Parameters
        ----------
        ids : `numpy.ndarray`
            Dataset IDs, 16 bytes each; shape (M,).

        Returns
        -------
        found : `list` [ `tuple` [ `int`, `int` ] ]
            Places in ``ids``, and the validity range of each association.
        """
        begin, end = (np.searchsorted(self.ids, ids, side=side) for side in ("left", "right"))
        return [
            (place, int(self.validity[position]))
            for place in np.flatnonzero(end > begin).tolist()
            for position in range(begin[place], end[place])
        ]


def is_among(one: uuid.UUID, ids: NDArray[np.bytes_]) -> bool:
    """Return whether a dataset is one of some.

    Parameters
    ----------
    one : `uuid.UUID`
        Its ID.
    ids : `numpy.ndarray`
        IDs in order, 16 bytes each; shape (N,).

    Returns
    -------
    is_among : `bool`
        Whether it is.
    """
    place = int(np.searchsorted(ids, np.bytes_(one.bytes)))
    return place < len(ids) and bool(ids[place] == one.bytes.rstrip(b"\0"))
