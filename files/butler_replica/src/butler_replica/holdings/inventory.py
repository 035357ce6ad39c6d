"""What a repository holds: every dataset, its datastore record, its artifact."""

from __future__ import annotations

__all__ = ["Group", "Inventory", "State", "as_bytes", "as_uuids", "take_inventory"]

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from lsst.daf.butler import Butler
from numpy.typing import NDArray

from ..artifacts.evidence import Artifacts, State
from ..artifacts.listing import Listing
from ..artifacts.places import Places
from ..internals import dataset_rows


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
    """The state of each artifact; shape (N,)."""

    places: Places | None = None
    """Where artifacts are, and where some are missing, if that was asked for."""

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.intp]:
        """Return rows of datasets.

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

    def registered(self, ids: Iterable[bytes]) -> set[bytes]:
        """Select the datasets that the repository has.

        Parameters
        ----------
        ids : `~collections.abc.Iterable` [ `bytes` ]
            IDs of 16 bytes.

        Returns
        -------
        ids : `set` [ `bytes` ]
            Those that are there.
        """
        listed = list(ids)
        where = self.find(np.array(listed, dtype="S16"))
        return {one for one, place in zip(listed, where.tolist(), strict=True) if place >= 0}


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


def take_inventory(butler: Butler, *, closely: bool = False, places: bool = False) -> Inventory:
    """Compare the registry, the datastore's records and the files on disk.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    closely : `bool`, optional
        Look at each file, too; otherwise it counts whatever it holds.
    places : `bool`, optional
        Note in which folders artifacts are, and in which some are missing;
        not together with ``closely``.

    Returns
    -------
    inventory : `Inventory`
        Every dataset that is registered. A disassembled dataset is as good as
        the worst of its artifacts.
    """
    artifacts = Artifacts(butler, Listing(), closely=closely)
    noted = Places() if places else None
    groups: dict[Group, int] = {}
    ids: list[NDArray[np.bytes_]] = []
    group: list[NDArray[np.int32]] = []
    state: list[NDArray[np.uint8]] = []
    for rows in dataset_rows(butler):
        found = [artifacts.find(row) for row in rows]
        numbers = [groups.setdefault(Group(r.dataset_type, r.run), len(groups)) for r in rows]
        if noted is not None:
            for one, number in zip(found, numbers, strict=True):
                if one.path is not None:
                    noted.note(one.path, number, is_there=one.state is not State.DANGLING)
        ids.append(as_bytes(row.id for row in rows))
        group.append(np.array(numbers, dtype=np.int32))
        state.append(np.array([one.state for one in found], dtype=np.uint8))
    all_ids = np.concatenate(ids) if ids else np.array([], dtype="S16")
    if not len(all_ids):
        return Inventory([], all_ids, np.array([], np.int32), np.array([], np.uint8), noted)
    order = np.argsort(all_ids, kind="stable")
    all_ids = all_ids[order]
    first = np.flatnonzero(np.concatenate([[True], all_ids[1:] != all_ids[:-1]]))
    return Inventory(
        list(groups),
        all_ids[first],
        np.concatenate(group)[order][first],
        np.minimum.reduceat(np.concatenate(state)[order], first),
        noted,
    )
