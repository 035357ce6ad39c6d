"""What a repository holds: every dataset, its datastore record, its artifact."""

from __future__ import annotations

__all__ = ["Group", "Inventory", "State", "as_bytes", "as_uuids", "exists", "take_inventory"]

import enum
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath
from numpy.typing import NDArray

from .internals import artifact_path, dataset_rows
from .listing import Listing


class State(enum.IntEnum):
    """How much of a dataset there is."""

    ABSENT = 0
    """It is not in the registry."""

    REGISTERED = 1
    """It is in the registry alone."""

    DANGLING = 2
    """It has a datastore record, but its artifact is not on disk."""

    PLACEHOLDER = 3
    """It has a datastore record; on disk is an empty file or a Git LFS pointer."""

    STORED = 4
    """It has a datastore record and its artifact is on disk."""


class Group(NamedTuple):
    """Datasets of one dataset type in one run."""

    dataset_type: str
    run: str


@dataclass
class Inventory:
    """Datasets of a repository as arrays, ordered by dataset ID (N datasets)."""

    groups: list[Group]

    ids: NDArray[np.bytes_]
    """Dataset IDs, the 16 bytes of each UUID; shape (N,)."""

    group: NDArray[np.int32]
    """Index into ``groups``; shape (N,)."""

    state: NDArray[np.uint8]
    """`State` of each; shape (N,)."""

    dangling_links: int = 0
    """Artifacts that are symbolic links whose target is gone."""

    sound_links: int = 0
    """Artifacts that are symbolic links to a file."""

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.intp]:
        """Look datasets up.

        Parameters
        ----------
        ids : `numpy.ndarray`
            Dataset IDs as in ``Inventory.ids``; shape (M,).

        Returns
        -------
        where : `numpy.ndarray`
            Place of each in the arrays, -1 where it is absent; shape (M,).
        """
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.intp)
        where = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[where] == ids, where, -1)


def as_bytes(ids: Iterable[uuid.UUID]) -> NDArray[np.bytes_]:
    """Return dataset IDs as in ``Inventory.ids``.

    Parameters
    ----------
    ids : `~collections.abc.Iterable` [ `uuid.UUID` ]
        Dataset IDs.

    Returns
    -------
    ids : `numpy.ndarray`
        The same.
    """
    return np.array([one.bytes for one in ids], dtype="S16")


def as_uuids(ids: NDArray[np.bytes_]) -> list[uuid.UUID]:
    """Return dataset IDs as the butler has them; the inverse of `as_bytes`.

    Parameters
    ----------
    ids : `numpy.ndarray`
        Dataset IDs as in ``Inventory.ids``.

    Returns
    -------
    ids : `list` [ `uuid.UUID` ]
        The same.
    """
    raw = ids.tobytes()
    return [uuid.UUID(bytes=raw[start : start + 16]) for start in range(0, len(raw), 16)]


def exists(path: str | ResourcePath, listing: Listing) -> bool:
    """Say whether an artifact is there.

    Parameters
    ----------
    path : `str` or `lsst.resources.ResourcePath`
        Absolute path of a local file, or URI of another.
    listing : `Listing`
        What is known of local files.

    Returns
    -------
    exists : `bool`
        Whether it exists.
    """
    return listing.exists(path) if isinstance(path, str) else path.exists()


def _state(path: str | ResourcePath, listing: Listing, placeholders: bool) -> State:
    if not (placeholders and isinstance(path, str)):
        return State.STORED if exists(path, listing) else State.DANGLING
    size, reason = listing.look(path)
    if size is None:
        return State.DANGLING
    return State.PLACEHOLDER if reason else State.STORED


def take_inventory(
    butler: Butler, listing: Listing | None = None, *, placeholders: bool = False
) -> Inventory:
    """Compare the registry, the datastore's records and the files on disk.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    listing : `Listing`, optional
        What is known of the files already.
    placeholders : `bool`, optional
        Look at each file, too, and tell placeholders apart; otherwise they
        count as artifacts.

    Returns
    -------
    inventory : `Inventory`
        Every dataset that is registered. A disassembled dataset is as good as
        the worst of its artifacts.
    """
    listing = listing or Listing()
    locate = artifact_path(butler)
    groups: dict[Group, int] = {}
    ids: list[NDArray[np.bytes_]] = []
    group: list[NDArray[np.int32]] = []
    state: list[NDArray[np.uint8]] = []
    links = dict.fromkeys(State, 0)
    for rows in dataset_rows(butler):
        states = []
        for row in rows:
            if row.path is None:
                states.append(State.REGISTERED)
                continue
            path = locate(row.path)
            found = _state(path, listing, placeholders)
            states.append(found)
            if isinstance(path, str) and listing.is_link(path):
                links[found] += 1
        ids.append(as_bytes(row.id for row in rows))
        group.append(
            np.array(
                [groups.setdefault(Group(r.dataset_type, r.run), len(groups)) for r in rows], dtype=np.int32
            )
        )
        state.append(np.array(states, dtype=np.uint8))
    all_ids = np.concatenate(ids) if ids else np.array([], dtype="S16")
    if not len(all_ids):
        return Inventory([], all_ids, np.array([], np.int32), np.array([], np.uint8))
    order = np.argsort(all_ids, kind="stable")
    all_ids = all_ids[order]
    first = np.flatnonzero(np.concatenate([[True], all_ids[1:] != all_ids[:-1]]))
    return Inventory(
        list(groups),
        all_ids[first],
        np.concatenate(group)[order][first],
        np.minimum.reduceat(np.concatenate(state)[order], first),
        links[State.DANGLING],
        links[State.PLACEHOLDER] + links[State.STORED],
    )
