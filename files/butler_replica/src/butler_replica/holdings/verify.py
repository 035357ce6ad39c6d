"""Compare a repository with what its exports promised."""

from __future__ import annotations

__all__ = ["CalibrationCheck", "DatasetCheck", "VerifyResult", "verify"]

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lsst.daf.butler import Butler
from numpy.typing import NDArray

from ..artifacts.evidence import Artifacts, State
from ..artifacts.finder import ArtifactFinder, make_finder
from ..artifacts.listing import Listing
from ..collections.associations import restrict_associations
from ..dimensions.compared import other_records_used
from ..errors import ReplicaError
from ..exports.files import find_exports
from ..exports.model import ExportFile
from ..exports.reader import read_export
from ..internals import count_orphan_records, dataset_rows
from ..options import Collection, ImportSet, Placeholders
from ..progress import Progress, Report
from ..session.reading import reading
from ..sets import parse_collections, parse_sets
from .inventory import Group, Inventory, as_uuids, take_inventory
from .promises import Promised, Promises
from .verify_collections import check_collections
from .verify_result import CalibrationCheck, DatasetCheck, VerifyResult


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
    exports = _reported({one.name: _find(one) for one in sets}, progress)
    result = VerifyResult(str(repo))
    with reading(repo) as butler:
        inventory = take_inventory(butler, closely=True)
        comparison = _Comparison(butler, inventory, placeholders)
        for one in sets:
            result.datasets += comparison.check_set(one, exports[one.name])
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
        check_collections(butler, described, inventory, comparison.promises, result)
    return result


def _find(one: ImportSet) -> list[Path]:
    try:
        return find_exports(one.exports)
    except ReplicaError as error:
        raise ReplicaError(f"import set '{one.name}': {error}") from error


def _reported(exports: Mapping[str, list[Path]], progress: Progress | None) -> dict[str, Iterator[Path]]:
    """Return the export files of each set, to be gone through one set after the other, and report the progress."""
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


class _Comparison:
    """What the exports promised beside what the repository holds."""

    def __init__(self, butler: Butler, inventory: Inventory, placeholders: Placeholders) -> None:
        self.butler = butler
        self.inventory = inventory
        self.placeholders = placeholders
        self.covered = np.zeros(len(inventory.ids), dtype=bool)
        self.promises = Promises()
        self.others: list[str] = []
        """Datasets that are of something else than the repository's record of that name."""

    def check_set(self, one: ImportSet, paths: Iterable[Path]) -> Iterator[DatasetCheck]:
        """Compare the datasets of one import set, reading its exports one at a time."""
        promised: dict[Group, Promised] = defaultdict(Promised)
        listing = Listing()
        for path in paths:
            export = read_export(path)
            if one.collections == "associations":
                known = self.inventory.registered({each.bytes for each in export.associated()})
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

    def _check_group(self, one: ImportSet, group: Group, promised: Promised) -> DatasetCheck:
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
        """Count datasets of the inventory, and report what is wrong with artifacts that are there."""
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
        """List the artifacts of some datasets that are not what they should be."""
        artifacts = Artifacts(self.butler, Listing(), closely=True)
        ids = as_uuids(self.inventory.ids[np.sort(places)[:_MAX_LISTED]])
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


_MAX_LISTED = 3
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
