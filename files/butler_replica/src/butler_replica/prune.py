"""Remove datasets without an artifact from the registry."""

from __future__ import annotations

__all__ = ["PruneResult", "prune"]

import fnmatch
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lsst.daf.butler import Butler
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from .errors import RefusedError
from .internals import artifact_path, dataset_rows, forget_datasets
from .inventory import Inventory, State, as_uuids, exists, take_inventory
from .listing import Listing
from .wording import visible
from .writing import writing

_BATCH = 10_000
"""Datasets removed in one transaction."""

_REMEDY = "Is the data mounted? If they are gone for good, say so: --allow-all (allow_all: true)."


@dataclass
class PruneResult:
    """What was removed, or would be."""

    before: dict[str, int] = field(default_factory=dict)
    """Registered datasets by dataset type."""

    removed: dict[str, int] = field(default_factory=dict)
    """Datasets removed by dataset type; none that lost nothing."""

    kept: dict[str, int] = field(default_factory=dict)
    """Datasets without an artifact that stay because their type is to be kept, by dataset type."""

    @property
    def changed(self) -> bool:
        """Whether any dataset was removed."""
        return bool(self.removed)

    @property
    def after(self) -> dict[str, int]:
        """Registered datasets by dataset type, after."""
        return {name: count - self.removed.get(name, 0) for name, count in self.before.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain JSON data."""
        return {
            "datasets": {
                "before": sum(self.before.values()),
                "removed": sum(self.removed.values()),
                "kept": sum(self.kept.values()),
                "after": sum(self.after.values()),
            },
            "dataset_types": {
                name: {
                    "before": before,
                    "removed": self.removed.get(name, 0),
                    "kept": self.kept.get(name, 0),
                    "after": self.after[name],
                }
                for name, before in self.before.items()
            },
        }

    def diff(self) -> list[dict[str, str]]:
        """Return the counts by dataset type before and after."""
        if not self.changed:
            return []
        before, after = (
            "".join(f"{visible(name)} {counts[name]}\n" for name in self.removed)
            for counts in (self.before, self.after)
        )
        header = "registered datasets by dataset type"
        return [{"before_header": header, "after_header": header, "before": before, "after": after}]

    def show(self, console: Console) -> None:
        """Print the counts for a reader."""
        table = Table("dataset type", title="Datasets by dataset type", show_footer=True, box=box.SIMPLE)
        table.columns[0].footer = "all"
        columns = {
            "before": self.before,
            "removed": self.removed,
            "kept without artifact": self.kept,
            "after": self.after,
        }
        for header, counts in columns.items():
            table.add_column(header, justify="right", footer=str(sum(counts.values())))
        for name in self.before:
            table.add_row(name, *(str(counts.get(name, 0)) for counts in columns.values()))
        console.print(table)


def prune(
    repo: str, *, keep: Iterable[str] = (), allow_all: bool = False, dry_run: bool = False
) -> PruneResult:
    """Remove every dataset whose artifact is not on disk from the registry.

    That is a dataset without a datastore record, or one whose artifact is
    gone; a symbolic link whose target is gone counts as gone. A file counts
    as there whatever it holds: what became empty or a Git LFS pointer is for
    `~butler_replica.verify.verify` to name. No file is removed, not even a
    dangling link.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    keep : `~collections.abc.Iterable` [ `str` ], optional
        Dataset types (names or globs) that stay registered without artifacts.
    allow_all : `bool`, optional
        Go on where not one artifact, or not one target of a link, is there.
    dry_run : `bool`, optional
        Only say what would be removed.

    Returns
    -------
    result : `PruneResult`
        Counts by dataset type.

    Raises
    ------
    RefusedError
        Raised where nothing at all is on disk, which is what a mount that is
        missing looks like.
    """
    keep = tuple(keep)
    with writing(repo, dry_run=dry_run) as butler:
        inventory = take_inventory(butler)
        result, candidates = _plan(inventory, keep, allow_all, repo)
        if dry_run:
            return result
        names = [group.dataset_type for group in inventory.groups]
        removed: Counter[str] = Counter()
        for start in range(0, len(candidates), _BATCH):
            batch = candidates[start : start + _BATCH]
            ids = as_uuids(inventory.ids[batch])
            gone = _still_missing(butler, ids)
            forget_datasets(butler, gone)
            removed.update(
                names[group] for group, one in zip(inventory.group[batch], ids, strict=True) if one in gone
            )
        result.removed = dict(sorted(removed.items()))
    return result


def _plan(
    inventory: Inventory, keep: tuple[str, ...], allow_all: bool, repo: str
) -> tuple[PruneResult, NDArray[np.intp]]:
    """Return the counts, and the places in the inventory of what is to go."""
    stored = int(np.count_nonzero(inventory.state == State.STORED))
    dangling = int(np.count_nonzero(inventory.state == State.DANGLING))
    if not allow_all and dangling and not stored:
        raise RefusedError(
            f"{repo}: {dangling} datasets have an artifact by the datastore's records, and not one of these "
            f"is on disk. {_REMEDY}"
        )
    if not allow_all and inventory.dangling_links and not inventory.sound_links:
        raise RefusedError(
            f"{repo}: not one of the {inventory.dangling_links} artifacts that are symbolic links points "
            f"at a file. {_REMEDY}"
        )
    names = np.array([group.dataset_type for group in inventory.groups])
    missing = inventory.state != State.STORED
    is_kept = np.array(
        [any(fnmatch.fnmatchcase(name, pattern) for pattern in keep) for name in names], dtype=bool
    )
    kept = missing & is_kept[inventory.group]
    candidates = np.flatnonzero(missing & ~kept)
    candidates = candidates[np.argsort(inventory.group[candidates], kind="stable")]
    result = PruneResult(
        *(
            dict(sorted(Counter(names[inventory.group[chosen]].tolist()).items()))
            for chosen in (slice(None), candidates, kept)
        )
    )
    return result, candidates


def _still_missing(butler: Butler, ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Look once more, since files may have come, or records, since the inventory was taken."""
    listing = Listing()
    locate = artifact_path(butler)
    return {
        row.id
        for rows in dataset_rows(butler, ids)
        for row in rows
        if row.path is None or not exists(locate(row.path), listing)
    }
