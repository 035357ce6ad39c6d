"""Remove datasets whose artifact is gone from the registry."""

from __future__ import annotations

__all__ = ["MAX_NUMBER", "MAX_SHARE", "Limits", "PruneResult", "prune"]

import fnmatch
import os
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lsst.daf.butler import Butler
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from ..artifacts.evidence import Artifacts, State
from ..artifacts.listing import Listing
from ..errors import RefusedError
from ..internals import DatasetDetails, dataset_details, dataset_rows, datastore_root, forget_datasets
from ..repository.folder import PRUNED_FOLDER
from ..results import Difference, Result
from ..session.writing import writing
from ..wording import visible
from .inventory import Inventory, as_uuids, take_inventory
from .pruned import PrunedWriter

_TRANSACTION_BATCH = 10_000
"""Datasets removed in one transaction."""

_MAX_LISTED = 5
"""Folders named in a message."""

MAX_SHARE = 0.5
"""Default of the largest share of the datasets with an artifact that may have lost it."""

MAX_NUMBER = 1000
"""Default of the largest number of them."""


class Limits(NamedTuple):
    """What may be taken for gone without asking."""

    max_share: float = MAX_SHARE
    """Share of the datasets with an artifact on this machine that may have lost it."""

    max_number: int = MAX_NUMBER
    """Number of datasets that may have lost their artifact."""

    gone: tuple[str, ...] = ()
    """Folders whose artifacts are gone for good where they are not there."""

    allow_all: bool = False
    """Whatever is not there is gone for good."""


@dataclass
class PruneResult(Result):
    """What was removed, or would be."""

    before: dict[str, int] = field(default_factory=dict)
    """Registered datasets by dataset type."""

    removed: dict[str, int] = field(default_factory=dict)
    """Datasets removed by dataset type; none that lost nothing."""

    kept: dict[str, int] = field(default_factory=dict)
    """Datasets without an artifact that stay because their type is to be kept, by dataset type."""

    remote: dict[str, int] = field(default_factory=dict)
    """Datasets whose artifact is not on this machine and was not looked for, by dataset type."""

    collections: dict[str, dict[str, int]] = field(default_factory=dict)
    """Datasets removed from TAGGED and CALIBRATION collections (``TAGGED best``), by dataset type."""

    folder: str = ""
    """Where what was removed is written down."""

    files: list[Path] = field(default_factory=list)
    """What was written there; empty in a dry run."""

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
        counts = {
            "before": self.before,
            "removed": self.removed,
            "kept": self.kept,
            "remote": self.remote,
            "after": self.after,
        }
        return {
            "collections": dict(self._by_collection()),
            "datasets": {name: sum(by_type.values()) for name, by_type in counts.items()},
            "dataset_types": {
                one: {name: by_type.get(one, 0) for name, by_type in counts.items()} for one in self.before
            },
            "written_to": self.folder if self.changed else "",
        }

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        if lost := "".join(f"{visible(line)}\n" for line in self._lost()):
            yield Difference("datasets that leave TAGGED and CALIBRATION collections", lost, "")
        before, after = (
            "".join(f"{visible(name)} {counts[name]}\n" for name in self.removed)
            for counts in (self.before, self.after)
        )
        yield Difference("registered datasets by dataset type", before, after)

    def _lost(self) -> list[str]:
        return [
            f"{name}: {', '.join(f'{count} {kind}' for kind, count in by_type.items())}"
            for name, by_type in self._by_collection()
        ]

    def _by_collection(self) -> list[tuple[str, dict[str, int]]]:
        """TAGGED collections first, since what a user has chosen is in no export."""
        by_name = ((name, dict(sorted(by_type.items()))) for name, by_type in self.collections.items())
        return sorted(by_name, key=lambda one: (one[0].startswith("CALIBRATION"), one[0]))

    def show(self, console: Console) -> None:
        """Print what collections lose, and the counts, for a reader."""
        if lost := self._lost():
            console.print("Datasets that leave collections, their validity ranges with them:")
            for line in lost:
                console.print(f"  {line}")
        table = Table("dataset type", title="Datasets by dataset type", show_footer=True, box=box.SIMPLE)
        table.columns[0].footer = "all"
        columns = {
            "before": self.before,
            "removed": self.removed,
            "kept without artifact": self.kept,
            **({"remote, not looked at": self.remote} if self.remote else {}),
            "after": self.after,
        }
        for header, counts in columns.items():
            table.add_column(header, justify="right", footer=str(sum(counts.values())))
        for name in self.before:
            table.add_row(name, *(str(counts.get(name, 0)) for counts in columns.values()))
        console.print(table)
        if self.files:
            console.print("Written down, each with the command that brings it back:")
            for path in self.files:
                console.print(f"  {path}")


def prune(
    repo: str,
    *,
    keep: Iterable[str] = (),
    max_share: float = MAX_SHARE,
    max_number: int = MAX_NUMBER,
    gone: Iterable[str | os.PathLike[str]] = (),
    allow_all: bool = False,
    dry_run: bool = False,
) -> PruneResult:
    """Remove every dataset whose artifact is known to be gone from the registry.

    That is a dataset without a datastore record, or one whose artifact is
    gone; a symbolic link whose target is gone counts as gone. A file counts
    as there whatever it holds: what became empty or a Git LFS pointer is for
    `~butler_replica.holdings.verify.verify` to name. An artifact that is not on this
    machine (``https``, ``s3``) is not looked at, and its dataset stays. No
    file is removed, not even a dangling link.

    What is removed is written down before, below ``.dc2-replica/pruned`` of
    the repository, as exports that can be imported again.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    keep : `~collections.abc.Iterable` [ `str` ], optional
        Dataset types (names or globs) that stay registered without artifacts.
    max_share : `float`, optional
        Refuse where more than this share of the datasets with an artifact has
        lost it, of all that are not kept. Datasets that never had one do not
        count.
    max_number : `int`, optional
        Refuse where more datasets than this have lost their artifact.
    gone : `~collections.abc.Iterable` [ `str` ], optional
        Folders whose artifacts are gone for good, although the folder shows
        nothing of what is recorded in it, as if it were not mounted.
    allow_all : `bool`, optional
        Take everything that is not there for gone, whatever it looks like.
    dry_run : `bool`, optional
        Only report what would be removed.

    Returns
    -------
    result : `PruneResult`
        Counts by dataset type.

    Raises
    ------
    RefusedError
        Raised where a folder shows nothing of what is recorded in and below
        it, which is what a mount that is missing looks like, or where more
        is missing than the limits allow. Nothing is removed then.
    """
    keep = tuple(keep)
    limits = Limits(max_share, max_number, tuple(os.fspath(folder) for folder in gone), allow_all)
    with writing(repo, dry_run=dry_run) as butler:
        plan = _make_plan(butler, keep, limits, repo)
        if dry_run:
            plan.note_collections(dataset_details(butler, as_uuids(plan.inventory.ids[plan.candidates])))
        else:
            _remove(butler, plan, repo)
    return plan.result


@dataclass
class _Plan:
    """What is to go."""

    inventory: Inventory
    candidates: NDArray[np.intp]
    """Places in the inventory."""

    groups: frozenset[int]
    """Groups of the inventory that they are of."""

    limits: Limits
    result: PruneResult

    def note_collections(self, datasets: Iterable[DatasetDetails]) -> None:
        """Count by collection what its users lose."""
        lost = self.result.collections
        for dataset in datasets:
            names = [f"TAGGED {name}" for name in dataset.tags]
            names += {f"CALIBRATION {name}" for name, _ in dataset.ranges}
            for name in names:
                by_type = lost.setdefault(name, {})
                by_type[dataset.dataset_type] = by_type.get(dataset.dataset_type, 0) + 1


def _make_plan(butler: Butler, keep: tuple[str, ...], limits: Limits, repo: str) -> _Plan:
    inventory = take_inventory(butler, places=True)
    names = np.array([group.dataset_type for group in inventory.groups])
    is_kept = np.array(
        [any(fnmatch.fnmatchcase(name, pattern) for pattern in keep) for name in names], dtype=bool
    )
    missing = inventory.state < State.UNREADABLE
    kept = missing & is_kept[inventory.group]
    candidates = np.flatnonzero(missing & ~kept)
    candidates = candidates[np.argsort(inventory.group[candidates], kind="stable")]
    groups = frozenset(np.unique(inventory.group[candidates]).tolist())
    lost = inventory.state[candidates] == State.DANGLING
    had_one = (inventory.state >= State.DANGLING) & (inventory.state != State.REMOTE)
    _refuse_unseen(inventory, groups, limits, repo)
    known = inventory.places.below(limits.gone, groups) if inventory.places is not None else 0
    _refuse_many(int(lost.sum()) - known, int((had_one & ~is_kept[inventory.group]).sum()), limits, repo)
    before, removed, without, remote = (
        dict(sorted(Counter(names[inventory.group[chosen]].tolist()).items()))
        for chosen in (slice(None), candidates, kept, inventory.state == State.REMOTE)
    )
    folder = str(datastore_root(butler) / PRUNED_FOLDER)
    result = PruneResult(before, removed, without, remote, folder=folder)
    return _Plan(inventory, candidates, groups, limits, result)


def _refuse_unseen(inventory: Inventory, groups: Collection[int], limits: Limits, repo: str) -> None:
    """Refuse where a folder is as if it were not mounted."""
    if limits.allow_all or inventory.places is None:
        return
    unseen = inventory.places.unseen(groups, limits.gone)
    if not unseen:
        return
    lines = [
        f"  {one.folder}: {one.missing} recorded, none there; {one.condition}" for one in unseen[:_MAX_LISTED]
    ]
    if len(unseen) > _MAX_LISTED:
        lines.append(f"  and {len(unseen) - _MAX_LISTED} more")
    raise RefusedError(
        f"{repo}: nothing was removed, since not one of the artifacts recorded in and below these folders is there. "
        "Is the data mounted?",
        *lines,
        "If artifacts are gone for good, name their folder, or one above: --gone FOLDER (gone). "
        "To take everything that is missing for gone: --allow-all (allow_all: true).",
        arguments=["gone", "allow_all"],
    )


def _refuse_many(lost: int, had_one: int, limits: Limits, repo: str) -> None:
    """Refuse where more is missing than anybody would lose by and by."""
    if limits.allow_all or lost <= 0:
        return
    argument = ""
    if lost > limits.max_number:
        argument, remedy = "max_number", f"--max-number {lost} (max_number: {lost})"
        limit = f"{limits.max_number}"
    elif lost > limits.max_share * had_one:
        share = -(-100 * lost // had_one) / 100
        argument, remedy = "max_share", f"--max-share {share:g} (max_share: {share:g})"
        limit = f"a share of {limits.max_share:g}"
    if argument:
        raise RefusedError(
            f"{repo}: nothing was removed, since {lost} of {had_one} datasets with an artifact have lost it, which is "
            f"more than {limit}. Is the data mounted, and complete? If they are gone for good: {remedy}.",
            arguments=[argument],
        )


def _remove(butler: Butler, plan: _Plan, repo: str) -> None:
    writer = PrunedWriter(butler)
    removed: Counter[str] = Counter()
    for start in range(0, len(plan.candidates), _TRANSACTION_BATCH):
        ids = as_uuids(plan.inventory.ids[plan.candidates[start : start + _TRANSACTION_BATCH]])
        datasets = list(dataset_details(butler, _still_missing(butler, ids)))
        _refuse_changed(plan, repo)
        with writer.written_down(datasets):
            forget_datasets(butler, [dataset.id for dataset in datasets])
        removed.update(dataset.dataset_type for dataset in datasets)
        plan.note_collections(datasets)
    plan.result.removed = dict(sorted(removed.items()))
    plan.result.files = writer.files


def _still_missing(butler: Butler, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Check once more, since files may have come, or records, since the inventory was taken."""
    artifacts = Artifacts(butler, Listing())
    return {
        row.id
        for rows in dataset_rows(butler, ids)
        for row in rows
        if artifacts.find(row).state < State.UNREADABLE
    }


def _refuse_changed(plan: _Plan, repo: str) -> None:
    """Refuse where a folder has stopped showing what it showed, as if it had been unmounted meanwhile."""
    if plan.limits.allow_all or plan.inventory.places is None:
        return
    listing = Listing()
    for witness in plan.inventory.places.witnesses(plan.groups):
        if not listing.exists(witness):
            raise RefusedError(
                f"{repo}: {witness} was there when this began, and is not any more. Was the folder unmounted "
                "meanwhile? Nothing further was removed; run this again."
            )
