"""Compare a repository with what its exports promised."""

from __future__ import annotations

__all__ = ["CalibrationCheck", "DatasetCheck", "VerifyResult", "verify"]

import io
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lsst.daf.butler import Butler, CollectionType
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..artifacts.evidence import Artifacts, State
from ..artifacts.finder import ArtifactFinder, make_finder
from ..artifacts.listing import Listing
from ..collections.associations import ASSOCIATED, restrict_associations
from ..collections.chains import Collections, merge_children
from ..collections.ensure import plan_collections
from ..dimensions.compared import other_records_used
from ..errors import ConflictError, ReplicaError
from ..exports.files import find_exports
from ..exports.model import ExportFile
from ..exports.reader import read_export
from ..internals import count_orphan_records, dataset_rows
from ..options import Collection, ImportSet, Placeholders
from ..progress import Progress, Report
from ..session.opening import database_errors, open_butler
from ..sets import parse_collections, parse_sets
from ..wording import ReaderConsole
from .inventory import Group, Inventory, as_uuids, take_inventory


@dataclass
class DatasetCheck:
    """Datasets of one dataset type and run that one import set promised."""

    set: str
    """Name of the import set; empty for datasets that no export promised."""

    dataset_type: str
    run: str
    promised: int = 0
    registered: int = 0
    recorded: int = 0
    """With a datastore record."""

    on_disk: int = 0
    """With a datastore record and its artifact."""

    remote: int = 0
    """With a datastore record of an artifact that is not on this machine, and was not looked at."""

    without_artifact: int = 0
    """Left out, pruned, or registered alone, and the import set allows it: there is no artifact."""

    problems: list[str] = field(default_factory=list)


@dataclass
class CalibrationCheck:
    """Validity ranges of one CALIBRATION collection."""

    collection: str
    promised: int
    """Ranges that the exports certify for datasets that are registered."""

    found: int
    """Those of them that are there."""

    total: int
    """All ranges that are there."""


@dataclass
class VerifyResult:
    """Whether a repository is what it should be."""

    repo: str
    datasets: list[DatasetCheck] = field(default_factory=list)
    calibrations: list[CalibrationCheck] = field(default_factory=list)
    chains: dict[str, list[str]] = field(default_factory=dict)
    """Children, in search order, of every chain."""

    open_chains: dict[str, list[str]] = field(default_factory=dict)
    """Children that a chain should have and that do not exist, by chain."""

    skipped_collections: dict[str, str] = field(default_factory=dict)
    """Reason by name of the collections described that are not needed."""

    notices: list[str] = field(default_factory=list)
    """What a reader should know although it is as the import sets allow, one sentence each."""

    failures: list[str] = field(default_factory=list)
    """What does not hold, one sentence each."""

    changed = False

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def totals(self) -> dict[str, int]:
        """Return the number of datasets in each column of the table."""
        return {
            column: sum(getattr(check, column) for check in self.datasets)
            for column in ("promised", "registered", "recorded", "on_disk", "remote", "without_artifact")
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "ok": self.ok,
            "failures": self.failures,
            "notices": self.notices,
            "totals": self.totals(),
            "datasets": [asdict(check) for check in self.datasets],
            "calibrations": [asdict(check) for check in self.calibrations],
            "chains": self.chains,
            "open_chains": self.open_chains,
            "skipped_collections": self.skipped_collections,
            "report": self.report(),
        }

    def report(self) -> list[str]:
        """Return what `show` prints, as lines of text."""
        console = ReaderConsole(file=io.StringIO(), width=160, record=True)
        self.show(console)
        return [line.rstrip() for line in console.export_text().splitlines()]

    def show(self, console: Console) -> None:
        """Print the tables and what does not hold."""
        table = Table(
            title=f"Datasets of {self.repo}",
            title_justify="left",
            show_footer=True,
            box=box.SIMPLE,
            pad_edge=False,
            collapse_padding=True,
        )
        with_sets = any(check.set for check in self.datasets)
        for header in (*(["import set"] if with_sets else []), "dataset type", "run"):
            table.add_column(header, overflow="fold")
        totals = self.totals()
        columns = [column for column in totals if with_sets or column not in ("promised", "without_artifact")]
        if not totals["remote"]:
            columns.remove("remote")
        for column in columns:
            table.add_column(
                column.replace("_", " ").replace("without", "no"), justify="right", footer=str(totals[column])
            )
        table.add_column("")
        table.columns[0].footer = "all"
        for check in self.datasets:
            table.add_row(
                *([check.set] if with_sets else []),
                check.dataset_type,
                check.run,
                *(str(getattr(check, column)) for column in columns),
                Text("wrong", style="red") if check.problems else "ok",
            )
        console.print(table)
        if self.calibrations:
            ranges = Table(title="Validity ranges", title_justify="left", box=box.SIMPLE, pad_edge=False)
            ranges.add_column("CALIBRATION collection")
            for header in ("promised", "found", "in all"):
                ranges.add_column(header, justify="right")
            for calibration in self.calibrations:
                counts = (calibration.promised, calibration.found, calibration.total)
                ranges.add_row(calibration.collection, *map(str, counts))
            console.print(ranges)
        for name, children in self.chains.items():
            console.print(f"chain {name} -> {', '.join(children) or 'no children'}", markup=False)
        for name, children in self.open_chains.items():
            console.print(f"open chain {name}: no collection {', '.join(children)}", markup=False)
        for name, reason in self.skipped_collections.items():
            console.print(f"not made: {name}, {reason}", markup=False)
        for notice in self.notices:
            console.print(f"notice: {notice}")
        for failure in self.failures:
            console.print(f"WRONG: {failure}", markup=False, style="red")
        console.print(
            "The replica is as it should be." if self.ok else f"{len(self.failures)} things are wrong."
        )


def verify(
    repo: str,
    sets: Iterable[ImportSet | Mapping[str, Any]] = (),
    collections: Iterable[Collection | Mapping[str, Any]] = (),
    *,
    placeholders: Placeholders = "missing",
    progress: Progress | None = None,
) -> VerifyResult:
    """Compare registry, datastore and disk with what the exports promised.

    Without import sets, only registry, datastore and disk with one another.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository; it is only read.
    sets : `~collections.abc.Iterable`, optional
        Import sets, whose exports are read one at a time.
    collections : `~collections.abc.Iterable`, optional
        Descriptions of collections, as for
        `~butler_replica.collections.ensure.ensure_collections`.
    placeholders : `str`, optional
        Whether an empty file or a Git LFS pointer is ``missing`` or good
        (``accept``) for datasets that no import set promised; for the others
        their set says it.
    progress : `~collections.abc.Callable`, optional
        Called for each export file.

    Returns
    -------
    result : `VerifyResult`
        What was found; ``ok`` is false where something does not hold.
    """
    sets = parse_sets(sets)
    described = parse_collections(collections)
    told = _tell({one.name: _find(one) for one in sets}, progress)
    butler = open_butler(repo)
    result = VerifyResult(str(repo))
    with database_errors(repo):
        inventory = take_inventory(butler, closely=True)
        comparison = _Comparison(butler, inventory, placeholders)
        for one in sets:
            result.datasets += comparison.check_set(one, told[one.name])
            if one.note:
                result.notices.append(f"import set '{one.name}': {one.note}")
        result.datasets += comparison.check_rest()
        for check in result.datasets:
            where = f"{check.dataset_type} in {check.run}"
            where = f"import set '{check.set}': {where}" if check.set else where
            result.failures += [f"{where}: {problem}" for problem in check.problems]
        result.failures += comparison.others
        if remote := result.totals()["remote"]:
            result.notices.append(f"{remote} artifacts are not on this machine and were not looked at")
        if orphans := count_orphan_records(butler):
            result.failures.append(f"{orphans} datastore records belong to no registered dataset")
        _check_collections(butler, described, comparison.promises, result)
        _check_associations(butler, inventory, comparison.promises, result)
    return result


def _find(one: ImportSet) -> list[Path]:
    try:
        return find_exports(one.exports)
    except ReplicaError as error:
        raise ReplicaError(f"import set '{one.name}': {error}") from error


def _tell(exports: Mapping[str, list[Path]], progress: Progress | None) -> dict[str, Iterator[Path]]:
    """Return the export files of each set, to be gone through one set after the other, and tell how far that is."""
    sizes = [path.stat().st_size for paths in exports.values() for path in paths]
    done = 0

    def report(doing: str) -> None:
        if progress is not None:
            progress(Report(sum(sizes[:done]), sum(sizes), 0, done, len(sizes), doing))

    def each(paths: list[Path]) -> Iterator[Path]:
        nonlocal done
        for path in paths:
            report(f"{path.name}: comparing")
            yield path
            done += 1
            report("")

    return {name: each(paths) for name, paths in exports.items()}


class _Promises:
    """What the exports say of collections, all sets together."""

    def __init__(self) -> None:
        self.types: dict[str, CollectionType] = {}
        self.children: dict[str, tuple[str, ...]] = {}
        self.tags: dict[str, set[bytes]] = defaultdict(set)
        self.ranges: dict[str, set[tuple[bytes, tuple[int, int]]]] = defaultdict(set)

    def add(self, export: ExportFile, policy: str) -> None:
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
class _Promised:
    """Datasets of one group that the exports of a set name; an ID can come several times."""

    ids: list[NDArray[np.bytes_]] = field(default_factory=list)
    available: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the artifact of each is where the set says; looked at only for what is not stored."""

    def distinct(self) -> tuple[NDArray[np.bytes_], NDArray[np.bool_]]:
        if not self.ids:
            return np.empty(0, dtype="S16"), np.empty(0, dtype=bool)
        ids, place = np.unique(np.concatenate(self.ids), return_inverse=True)
        available = np.zeros(len(ids), dtype=bool)
        np.logical_or.at(available, place, np.concatenate(self.available))
        return ids, available


class _Comparison:
    """What the exports promised beside what the repository holds."""

    def __init__(self, butler: Butler, inventory: Inventory, placeholders: Placeholders) -> None:
        self.butler = butler
        self.inventory = inventory
        self.placeholders = placeholders
        self.covered = np.zeros(len(inventory.ids), dtype=bool)
        self.promises = _Promises()
        self.others: list[str] = []
        """Datasets that are of something else than the repository's record of that name."""

    def check_set(self, one: ImportSet, paths: Iterable[Path]) -> Iterator[DatasetCheck]:
        """Compare the datasets of one import set, reading its exports one at a time."""
        promised: dict[Group, _Promised] = defaultdict(_Promised)
        listing = Listing()
        for path in paths:
            export = read_export(path)
            if one.collections == "associations":
                known = _registered(self.inventory, {each.bytes for each in export.associated()})
                export = restrict_associations(export, {uuid.UUID(bytes=each) for each in known})
            self._check_records(export)
            self.promises.add(export, one.collections)
            finder = make_finder(
                path,
                listing,
                artifacts=one.artifacts,
                rewrite=one.rewrite,
                roots=one.roots,
                placeholders=one.placeholders,
                remote=one.transfer == "direct",
            )
            for block in export.blocks:
                datasets = promised[Group(block.dataset_type, block.run)]
                for chunk in block.records.chunks():
                    ids = np.array(chunk.ids, dtype="S16")
                    states = self._states(self.inventory.find(ids)).tolist()
                    available = [
                        state < State.UNREADABLE and _is_available(chunk.paths[artifact], finder)
                        for artifact, state in zip(chunk.artifact_of_each(), states, strict=True)
                    ]
                    datasets.ids.append(ids)
                    datasets.available.append(np.array(available, dtype=bool))
        for group in sorted(promised):
            yield self._check_group(one, group, promised[group])

    def _check_records(self, export: ExportFile) -> None:
        try:
            self.others += other_records_used(self.butler, export)
        except ReplicaError as error:
            self.others.append(str(error).rstrip("."))

    def _states(self, where: NDArray[np.intp]) -> NDArray[np.uint8]:
        state = np.zeros(len(where), dtype=np.uint8)
        state[where >= 0] = self.inventory.state[where[where >= 0]]
        return state

    def _check_group(self, one: ImportSet, group: Group, promised: _Promised) -> DatasetCheck:
        ids, available = promised.distinct()
        where = self.inventory.find(ids)
        state = self._states(where)
        known = where[where >= 0]
        self.covered[known] = True
        check = DatasetCheck(one.name, *group, promised=len(ids))
        self._check_states(check, known, one.placeholders)
        for index in np.unique(self.inventory.group[known]).tolist():
            if (other := self.inventory.groups[index]) != group:
                check.problems.append(f"some are registered as {other.dataset_type} in {other.run}")

        def count(wanted: State, is_available: bool) -> int:
            return int(np.count_nonzero((state == wanted) & (available == is_available)))

        if lost := count(State.ABSENT, True):
            check.problems.append(
                f"{lost} are not registered although their artifacts are there; import them again"
            )
        if incomplete := count(State.REGISTERED, True):
            check.problems.append(
                f"{incomplete} have no datastore record although their artifacts are there; import them again"
            )
        without = count(State.ABSENT, False) + count(State.REGISTERED, False)
        dangling = int(np.count_nonzero(state == State.DANGLING))
        if one.missing == "register":
            check.without_artifact = without + dangling
            return check
        if dangling:
            check.problems.append(self._dangling(where[state == State.DANGLING]))
        if one.missing == "skip":
            check.without_artifact = without
        elif without:
            check.problems.append(
                f"{without} have no artifact, which 'missing: fail' does not allow; get them, or set skip"
            )
        return check

    def check_rest(self) -> Iterator[DatasetCheck]:
        """Check the datasets that no export promised: record and artifact have to agree."""
        rest = np.flatnonzero(~self.covered)
        rest = rest[np.argsort(self.inventory.group[rest], kind="stable")]
        numbers, starts = np.unique(self.inventory.group[rest], return_index=True)
        groups = self.inventory.groups
        members = dict(zip(numbers.tolist(), np.split(rest, starts[1:]), strict=True)) if len(rest) else {}
        for index in sorted(members, key=groups.__getitem__):
            check = DatasetCheck("", *groups[index])
            self._check_states(check, members[index], self.placeholders)
            dangling = members[index][self.inventory.state[members[index]] == State.DANGLING]
            if len(dangling):
                check.problems.append(self._dangling(dangling))
            yield check

    def _check_states(
        self, check: DatasetCheck, places: NDArray[np.intp], placeholders: Placeholders
    ) -> None:
        """Count datasets of the inventory, and say what is wrong with artifacts that are there."""
        state = self.inventory.state[places]
        wrong = {State.UNREADABLE: _UNREADABLE, State.ALTERED: _ALTERED}
        if placeholders == "missing":
            wrong |= {State.PLACEHOLDER: _PLACEHOLDER, State.EMPTIED: _PLACEHOLDER}
        else:
            wrong |= {State.EMPTIED: _ALTERED}
        check.registered = len(places)
        check.recorded = int(np.count_nonzero(state >= State.DANGLING))
        check.remote = int(np.count_nonzero(state == State.REMOTE))
        check.on_disk = int(np.count_nonzero(~np.isin(state, [*wrong, *_NOT_ON_DISK])))
        for words in dict.fromkeys(wrong.values()):
            found = places[np.isin(state, [one for one in wrong if wrong[one] is words])]
            if len(found):
                check.problems.append(f"{len(found)} {words[0]}: {self._examples(found)}; {words[1]}")

    def _dangling(self, places: NDArray[np.intp]) -> str:
        return (
            f"{len(places)} have a datastore record and no artifact on disk: {self._examples(places)}; is the data "
            "mounted? If the artifacts are at another place now, import again from there; if they are gone: prune"
        )

    def _examples(self, places: NDArray[np.intp]) -> str:
        """Name the artifacts of some datasets that are not what they should be."""
        artifacts = Artifacts(self.butler, Listing(), closely=True)
        ids = as_uuids(self.inventory.ids[np.sort(places)[:_SHOWN]])
        state = {one: self.inventory.state[place] for one, place in zip(ids, np.sort(places), strict=False)}
        shown = [
            f"{found.path or row.path} ({found.reason})"
            for rows in dataset_rows(self.butler, ids)
            for row in rows
            if (found := artifacts.find(row)).state == state[row.id] or found.state < State.STORED
        ]
        return ", ".join(shown) + (f" and {more} more" if (more := len(places) - len(ids)) else "")


def _is_available(path: str | None, finder: ArtifactFinder) -> bool:
    return path is not None and finder.find(path).size is not None


_SHOWN = 3
"""Artifacts named in a message."""

_NOT_ON_DISK = (State.ABSENT, State.REGISTERED, State.DANGLING, State.REMOTE)

_UNREADABLE = ("have an artifact on disk that cannot be read", "see to its permissions, or get it again")
_ALTERED = (
    "have an artifact on disk that is not of the size that the datastore records",
    "it is cut short, or was replaced: get it again",
)
_PLACEHOLDER = (
    "have an empty file or a Git LFS pointer on disk in place of the artifact",
    "get the artifacts, or set 'placeholders: accept'",
)


def _check_collections(
    butler: Butler, described: Iterable[Collection], promises: _Promises, result: VerifyResult
) -> None:
    known = butler.collections.query_info("*", include_doc=True)
    existing = {info.name: info for info in known}
    result.chains = {
        info.name: list(info.children)
        for info in sorted(existing.values())
        if info.type is CollectionType.CHAINED
    }
    for name, kind in sorted(promises.types.items()):
        if name not in existing:
            result.failures.append(f"collection {name} ({kind.name}) of the exports does not exist")
        elif existing[name].type is not kind and (
            name in promises.tags or name in promises.ranges or {existing[name].type, kind} != ASSOCIATED
        ):
            result.failures.append(
                f"collection {name} is {existing[name].type.name}, in the exports {kind.name}"
            )
    waiting = Collections(known)
    waiting.complete()
    open_chains = waiting.open()
    for name, children in promises.children.items():
        open_chains.setdefault(name, []).extend(child for child in children if child not in existing)
        left = [child for child in children if child in existing and child not in result.chains.get(name, ())]
        if name in result.chains and left:
            result.failures.append(f"chain {name} lacks {', '.join(left)} of the exports")
    try:
        plan = plan_collections(butler, described)
    except ConflictError as error:
        result.failures.append(str(error).rstrip("."))
    else:
        result.failures += [f"collection {name} ({kind}) does not exist" for name, kind in plan.made.items()]
        for chain in plan.chains:
            if chain.before != chain.after:
                is_now = "does not exist" if chain.before is None else f"is [{', '.join(chain.before)}]"
                result.failures.append(
                    f"chain {chain.name} {is_now} and should be [{', '.join(chain.after)}]"
                )
            open_chains.setdefault(chain.name, []).extend(chain.open)
        result.skipped_collections = plan.skipped
    result.open_chains = {name: list(dict.fromkeys(left)) for name, left in open_chains.items() if left}


def _check_associations(
    butler: Butler, inventory: Inventory, promises: _Promises, result: VerifyResult
) -> None:
    for info in sorted(butler.collections.query_info("*", CollectionType.TAGGED)):
        promised = _registered(inventory, promises.tags.get(info.name, set()))
        if promised and (
            lost := promised - {dataset_id for dataset_id, _ in _associations(butler, info.name)}
        ):
            result.failures.append(f"TAGGED collection {info.name} lacks {len(lost)} datasets of the exports")
    for info in sorted(butler.collections.query_info("*", CollectionType.CALIBRATION)):
        ranges = promises.ranges.get(info.name, set())
        known = _registered(inventory, {dataset_id for dataset_id, _ in ranges})
        promised_ranges = {one for one in ranges if one[0] in known}
        found = set(_associations(butler, info.name))
        check = CalibrationCheck(info.name, len(promised_ranges), len(promised_ranges & found), len(found))
        result.calibrations.append(check)
        if not found and not promised_ranges:
            _check_empty(info.name, len(ranges), result)
        if check.found < check.promised:
            result.failures.append(
                f"CALIBRATION collection {info.name} lacks {check.promised - check.found} validity ranges "
                "of the exports"
            )


def _check_empty(name: str, promised: int, result: VerifyResult) -> None:
    """Name a CALIBRATION collection that is searched for calibrations and has none."""
    chains = [chain for chain, children in result.chains.items() if name in children]
    if not chains:
        return
    what = f"CALIBRATION collection {name}, in the chain {', '.join(chains)}, is empty: no calibration is found by it"
    if promised:
        result.notices.append(f"{what}, since none of the {promised} that the exports certify is registered")
    else:
        result.failures.append(
            f"{what}; import an export that has its validity ranges (collections: associations), or take it out of the "
            "chain"
        )


def _registered(inventory: Inventory, ids: set[bytes]) -> set[bytes]:
    listed = list(ids)
    where = inventory.find(np.array(listed, dtype="S16"))
    return {one for one, place in zip(listed, where.tolist(), strict=True) if place >= 0}


def _associations(butler: Butler, collection: str) -> Iterator[tuple[bytes, tuple[int, int] | None]]:
    """Yield dataset ID and validity range of everything in a TAGGED or CALIBRATION collection."""
    summary = butler.collections.get_info(collection, include_summary=True)
    for name in sorted(summary.dataset_types or ()):
        for association in butler.registry.queryDatasetAssociations(
            name, collections=[collection], collectionTypes=CollectionType.all(), flattenChains=False
        ):
            timespan = association.timespan
            yield association.ref.id.bytes, None if timespan is None else timespan.nsec
