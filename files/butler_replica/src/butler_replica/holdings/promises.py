"""What exports promise that a repository has."""

from __future__ import annotations

__all__ = ["Promised", "Promises"]

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from lsst.daf.butler import CollectionType
from numpy.typing import NDArray

from ..collections.chains import merge_children
from ..exports.model import ExportFile


class Promises:
    """What the exports say of collections, all sets together."""

    def __init__(self) -> None:
        self.types: dict[str, CollectionType] = {}
        self.children: dict[str, tuple[str, ...]] = {}
        self.tags: dict[str, set[bytes]] = defaultdict(set)
        self.ranges: dict[str, set[tuple[bytes, tuple[int, int]]]] = defaultdict(set)

    def add(self, export: ExportFile, policy: str) -> None:
        """Register what an export promises.

        Parameters
        ----------
        export : `~butler_replica.exports.model.ExportFile`
            What it says.
        policy : `str`
            Which collections of it are taken.
        """
        if policy == "drop":
            return
        for item in export.collections.values():
            if item.type is CollectionType.CHAINED:
                if policy == "drop-chains":
                    continue
                self.children[item.name] = merge_children(self.children.get(item.name, ()), item.children)
            self.types.setdefault(item.name, item.type)
        for name, ids in export.tags.items():
            self.types[name] = CollectionType.TAGGED
            self.tags[name].update(one.bytes for one in ids)
        for name, certifications in export.certifications.items():
            self.types[name] = CollectionType.CALIBRATION
            self.ranges[name].update(
                (one.bytes, certification.timespan.nsec)
                for certification in certifications
                for one in certification.ids
            )


@dataclass
class Promised:
    """Datasets of one group that the exports of a set name; an ID can come several times."""

    ids: list[NDArray[np.bytes_]] = field(default_factory=list)
    available: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the artifact of each is where the set says; looked at only for what is not stored."""

    def distinct(self) -> tuple[NDArray[np.bytes_], NDArray[np.bool_]]:
        """Return each dataset once.

        Returns
        -------
        ids : `numpy.ndarray`, (n,)
            IDs of 16 bytes, ascending.
        available : `numpy.ndarray`, (n,)
            Whether an artifact is where a set says.
        """
        if not self.ids:
            return np.empty(0, dtype="S16"), np.empty(0, dtype=bool)
        ids, place = np.unique(np.concatenate(self.ids), return_inverse=True)
        available = np.zeros(len(ids), dtype=bool)
        np.logical_or.at(available, place, np.concatenate(self.available))
        return ids, available
