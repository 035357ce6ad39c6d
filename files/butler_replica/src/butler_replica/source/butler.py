"""A repository as a source: what it holds, streamed as the content of export files."""

from __future__ import annotations

__all__ = ["REGISTRY_FOLDER", "ButlerSource"]

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lsst.daf.butler import (
    Butler,
    ButlerUserError,
    CollectionInfo,
    CollectionType,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    Timespan,
)
from lsst.daf.butler.queries import Query
from numpy.typing import NDArray

from ..errors import ReplicaError, RepositoryError
from ..exports.model import CollectionItem, DatasetTypeItem, ExportFile
from ..internals import artifact_records
from ..options import MissingPolicy
from .closure import RecordFinder
from .filling import Rename, add_associations, add_datasets
from .model import SourceFile
from .selection import Associations, Kind, Selection, is_among

REGISTRY_FOLDER = "_registry"
"""Folder of the export files without datasets; no dataset type can have that name."""


@dataclass
class ButlerSource:
    """A repository that is read through the butler's queries.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    selection : `Selection`, optional
        What is taken of it.
    """

    butler: Butler
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        self._collections = self._find_collections()

    @property
    def collections(self) -> dict[str, CollectionInfo]:
        """Collections of the selection by name, those in chains included."""
        return self._collections

    def kinds(self) -> Iterator[Kind]:
        """Find where the datasets of each dataset type are.

        Yields
        ------
        kind : `Kind`
            Dataset types by name, those without a dataset left out.

        Raises
        ------
        ReplicaError
            Raised if the expression is none, or a name is not there.
        """
        for kind in self._find_dataset_types():
            with self.butler.query() as query, _expression_errors(self.selection.where):
                found = self._look_at(query, kind)
            if found.total:
                yield found

    def files(
        self, kind: Kind, chunk: int, *, missing: MissingPolicy, rename: Rename
    ) -> Iterator[SourceFile]:
        """Stream the datasets of a dataset type as the content of export files.

        Parameters
        ----------
        kind : `Kind`
            The dataset type, from `kinds`.
        chunk : `int`
            Largest number of datasets in one of them.
        missing : `str`
            What a dataset without datastore record does: ``fail``, ``skip`` or
            ``register``.
        rename : `~collections.abc.Callable`
            Gives artifacts the path that the export has.

        Yields
        ------
        file : `SourceFile`
            Some datasets, by run and data ID, with all that they need.

        Raises
        ------
        ReplicaError
            Raised if a dataset has no artifact and ``missing`` is ``fail``.
        """
        with self.butler.query() as query, _expression_errors(self.selection.where):
            finder = RecordFinder(query, self.butler.dimensions)
            refs = itertools.chain.from_iterable(
                self._of_run(query, kind.type, run, kind.some.get(run)) for run in kind.runs
            )
            for number in itertools.count():
                some = list(itertools.islice(refs, chunk))
                if not some:
                    return
                recorded = artifact_records(self.butler, [ref.id for ref in some])
                lacking = [ref for ref in some if ref.id not in recorded]
                if lacking and missing == "fail":
                    raise RepositoryError(
                        f"{lacking[0]} has no artifact in the source, and {len(lacking) - 1} others beside it. Leave "
                        "such datasets out (missing: skip), or have them in the registry only (missing: register)."
                    )
                kept = [ref for ref in some if missing == "register" or ref.id in recorded]
                content = self._content(kind.name, number)
                content.dataset_types[kind.name] = _item(kind.type)
                content.dimensions = finder.needed(ref.dataId for ref in kept)
                artifacts = add_datasets(content, kept, recorded, rename)
                add_associations(content, kept, kind.associations)
                content.collections = self._described(
                    {block.run for block in content.blocks} | set(content.tags) | set(content.certifications)
                )
                yield SourceFile(content, artifacts, len(lacking))

    @property
    def is_whole(self) -> bool:
        """Whether the selection is all that the repository holds."""
        return self.selection == Selection()

    def registry_files(self, chunk: int) -> Iterator[SourceFile]:
        """Stream what belongs to a repository beside datasets: all collections, dataset types and dimension records.

        Parameters
        ----------
        chunk : `int`
            Largest number of dimension records in one file.

        Yields
        ------
        file : `SourceFile`
            Some of it; a file refers to those before it only.
        """
        universe = self.butler.dimensions
        with self.butler.query() as query:
            records = (
                (element.name, record)
                for element in universe.elements
                if element.has_own_table
                for record in query.dimension_records(element.name).order_by(*element.required.names)
            )
            for number in itertools.count():
                content = self._content(REGISTRY_FOLDER, number)
                for element, record in itertools.islice(records, chunk):
                    content.dimensions.setdefault(element, []).append(record.toDict(splitTimespan=True))
                if number == 0:
                    content.collections = self._described(set(self._collections))
                    content.dataset_types = {kind.name: _item(kind) for kind in self._find_dataset_types()}
                elif not content.dimensions:
                    return
                yield SourceFile(content)

    def _content(self, folder: str, number: int) -> ExportFile:
        universe = self.butler.dimensions
        return ExportFile(Path(folder, f"_export_{number:03}.yaml"), universe.version, universe.namespace)

    def _find_collections(self) -> dict[str, CollectionInfo]:
        patterns = self.selection.collections
        found: dict[str, CollectionInfo] = {}
        for pattern in patterns:
            try:
                infos = self.butler.collections.query_info(
                    pattern, flatten_chains=True, include_chains=True, include_doc=True, include_summary=True
                )
            except MissingCollectionError as error:
                raise ReplicaError(f"The source has no collection {pattern!r}.") from error
            if not infos:
                raise ReplicaError(f"The source has no collection {pattern!r}.")
            found.update({info.name: info for info in infos})
        return dict(sorted(found.items()))

    def _find_dataset_types(self) -> list[DatasetType]:
        kinds: dict[str, DatasetType] = {}
        for pattern in self.selection.dataset_types:
            found = list(self.butler.registry.queryDatasetTypes(pattern))
            if not found and not _is_glob(pattern):
                raise ReplicaError(f"The source has no dataset type {pattern!r}.")
            kinds.update({kind.name: kind for kind in found})
        return [kind for _, kind in sorted(kinds.items())]

    def _look_at(self, query: Query, kind: DatasetType) -> Kind:
        holding = [info for info in self._collections.values() if kind.name in (info.dataset_types or ())]
        runs = {info.name for info in holding if info.type is CollectionType.RUN}
        associations = []
        elsewhere: defaultdict[str, set[bytes]] = defaultdict(set)
        for info in holding:
            if info.type in (CollectionType.TAGGED, CollectionType.CALIBRATION):
                associations.append(self._associations(query, kind, info, runs, elsewhere))
        for run in elsewhere:
            (self._collections[run],) = self.butler.collections.query_info(run, include_doc=True)
        some = {run: np.array(sorted(ids), dtype="S16") for run, ids in elsewhere.items()}
        counts = {run: self._count(query, kind, run, some.get(run)) for run in sorted(runs | some.keys())}
        counts = {run: count for run, count in counts.items() if count}
        return Kind(kind, tuple(counts), tuple(counts.values()), tuple(associations), some)

    def _count(self, query: Query, kind: DatasetType, run: str, ids: NDArray[np.bytes_] | None) -> int:
        if ids is None:
            return int(self._where(query.datasets(kind, [run], find_first=False)).count(exact=True))
        return sum(1 for _ in self._of_run(query, kind, run, ids))

    def _of_run(
        self, query: Query, kind: DatasetType, run: str, ids: NDArray[np.bytes_] | None
    ) -> Iterator[DatasetRef]:
        """Stream the datasets of a run by data ID, or those of them that have some IDs."""
        results = self._where(query.datasets(kind, [run], find_first=False))
        if order := tuple(kind.dimensions.required):
            results = results.order_by(*order)
        return (ref for ref in results if ids is None or is_among(ref.id, ids))

    def _where(self, results: Any) -> Any:
        return results.where(self.selection.where) if self.selection.where else results

    def _associations(
        self,
        query: Query,
        kind: DatasetType,
        info: CollectionInfo,
        runs: set[str],
        elsewhere: defaultdict[str, set[bytes]],
    ) -> Associations:
        """Return the associations of a collection; note its datasets in runs that are not asked for."""
        is_calibration = info.type is CollectionType.CALIBRATION
        fields: set[Literal["dataset_id", "run", "timespan"]] = {"dataset_id", "run"}
        if is_calibration:
            fields.add("timespan")
        rows = query.join_dataset_search(kind, [info.name]).general(
            kind.dimensions, dataset_fields={kind.name: fields}, find_first=False
        )
        timespans: dict[Timespan, int] = {}
        ids: list[bytes] = []
        validity: list[int] = []
        for row in rows:
            ids.append(row[f"{kind.name}.dataset_id"].bytes)
            if (run := row[f"{kind.name}.run"]) not in runs:
                elsewhere[run].add(ids[-1])
            timespan = row[f"{kind.name}.timespan"] if is_calibration else Timespan(None, None)
            validity.append(timespans.setdefault(timespan, len(timespans)))
        listed = np.array(ids, dtype="S16")
        order = np.argsort(listed, kind="stable")
        return Associations(
            info.name, info.type, listed[order], np.array(validity, dtype=np.intp)[order], tuple(timespans)
        )

    def _described(self, names: set[str]) -> dict[str, CollectionItem]:
        """Return collections, and the chains of the selection that they are in with all that is in these."""
        wanted = set(names)
        chains = [info for info in self._collections.values() if info.type is CollectionType.CHAINED]
        while more := {info.name for info in chains if wanted & set(info.children)} - wanted:
            wanted |= more
        while more := {c for info in chains if info.name in wanted for c in info.children} - wanted:
            wanted |= more
        infos = [self._collections[name] for name in sorted(wanted)]
        ordered = [info for info in infos if info.type is not CollectionType.CHAINED]
        open_chains = [info for info in infos if info.type is CollectionType.CHAINED]
        while open_chains:
            # A chain comes after those in it.
            names_open = {info.name for info in open_chains}
            closed = [info for info in open_chains if not names_open & set(info.children)]
            ordered += closed
            open_chains = [info for info in open_chains if info not in closed]
        return {
            info.name: CollectionItem(info.name, info.type, info.doc or None, tuple(info.children))
            for info in ordered
        }


def _item(kind: DatasetType) -> DatasetTypeItem:
    return DatasetTypeItem(
        kind.name, tuple(kind.dimensions.names), kind.storageClass_name, kind.isCalibration()
    )


@contextmanager
def _expression_errors(where: str) -> Iterator[None]:
    """Name the expression in what the butler says of it."""
    try:
        yield
    except (ButlerUserError, ValueError, LookupError) as error:
        if not where:
            raise
        raise ReplicaError(f"The source cannot be asked for {where!r}: {error}") from error


_GLOB = re.compile(r"[*?\[]")


def _is_glob(pattern: str) -> bool:
    return _GLOB.search(pattern) is not None
