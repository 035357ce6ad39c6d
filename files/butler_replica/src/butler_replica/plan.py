"""Comparing an export with a repository: what is there, what is to be added, what stands in the way.

A plan is complete before anything is written, so that whatever can be known
beforehand is an error while nothing has changed. It only ever adds.
"""

from __future__ import annotations

__all__ = ["ASSOCIATED", "Artifact", "FilePlan", "ImportOptions", "MissingArtifact", "make_plan"]

import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lsst.daf.butler import (
    Butler,
    CollectionInfo,
    CollectionType,
    DataCoordinate,
    DatasetRef,
    DatasetType,
    Dimension,
    DimensionElement,
    DimensionGroup,
    DimensionRecord,
    MissingCollectionError,
    MissingDatasetTypeError,
    Timespan,
)
from lsst.daf.butler.queries import Query
from lsst.resources import ResourcePath

from . import internals
from .artifacts import ArtifactFinder, FoundArtifact, PathMapper
from .errors import ArtifactError, ConflictError, ExportError
from .exports.migrate import dataset_type, migrate_dimensions
from .exports.model import CollectionItem, DatasetBlock, DatasetRecord, ExportFile
from .listing import Listing, Placeholders
from .made_records import NeededRecords

_CHUNK = 10_000
"""Data IDs in one query."""

_SHOWN = 5
"""Examples in a message."""

ASSOCIATED = {CollectionType.TAGGED, CollectionType.CALIBRATION}
"""Types of the collections that datasets are associated with."""

_UNNAMED = FoundArtifact("", None, "the export names no file")


@dataclass(frozen=True)
class ImportOptions:
    """How exports are imported."""

    artifacts: Path | None = None
    """Where relative paths begin; the folder of each export file if `None`."""

    rewrite: tuple[tuple[str, str], ...] = ()
    """Old and new prefixes of artifact paths."""

    collections: Literal["keep", "drop-chains", "drop"] = "keep"
    missing: Literal["fail", "skip", "register"] = "fail"
    placeholders: Placeholders = "missing"
    """Whether an empty file or a Git LFS pointer in place of an artifact is missing."""

    transfer: str = "symlink"
    runs: tuple[str, ...] = ()
    """Runs that are made whether datasets need them or not."""

    register: bool = False
    """Make dimension records that are needed and that nobody has, where this project can."""


class Artifact(NamedTuple):
    """An artifact that is to become the repository's."""

    refs: tuple[DatasetRef, ...]
    """The datasets that it holds."""

    source: str
    """Absolute path of the file."""

    target: str
    """Absolute path that it gets in the repository; ``source`` where it stays."""

    recorded: str
    """What the datastore notes: a path relative to its root, or a URI."""

    formatter: str
    storage_class: str
    size: int
    """Size of the file in bytes."""


class MissingArtifact(NamedTuple):
    """A dataset of the export whose artifact is not there."""

    dataset_type: str
    run: str
    data_id: dict[str, Any]
    path: str
    reason: str


@dataclass
class FilePlan:
    """What importing one export file changes."""

    export: Path
    found: int = 0
    """Datasets in the export."""

    present: int = 0
    """Datasets that the repository has already."""

    dimension_records: dict[str, list[DimensionRecord]] = field(default_factory=dict)
    dataset_types: list[DatasetType] = field(default_factory=list)
    collections: list[CollectionItem] = field(default_factory=list)
    docs: dict[str, str] = field(default_factory=dict)
    """Documentation for collections, chains aside, that have none."""

    datasets: dict[tuple[str, str], list[DatasetRef]] = field(default_factory=dict)
    """New datasets by dataset type and run."""

    artifacts: list[Artifact] = field(default_factory=list)
    """Artifacts of new datasets, and of datasets that had none."""

    artifacts_added: int = 0
    """Datasets that are present and get the artifact that they lacked."""

    missing: list[MissingArtifact] = field(default_factory=list)
    tags: dict[str, list[DatasetRef]] = field(default_factory=dict)
    certifications: dict[str, list[tuple[Timespan, list[DatasetRef]]]] = field(default_factory=dict)
    associations_dropped: int = 0
    """Associations of datasets that were left out."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Children that the export gives to each chain."""

    notices: list[str] = field(default_factory=list)

    @property
    def inserted(self) -> int:
        """Number of datasets that are new."""
        return sum(len(refs) for refs in self.datasets.values())

    @property
    def changed(self) -> bool:
        """Whether there is anything to do, chains aside."""
        return any(
            (
                self.dimension_records,
                self.dataset_types,
                self.collections,
                self.docs,
                self.datasets,
                self.artifacts,
                self.tags,
                self.certifications,
            )
        )


def make_plan(butler: Butler, export: ExportFile, options: ImportOptions, listing: Listing) -> FilePlan:
    """Compare an export with a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    export : `ExportFile`
        What the export says.
    options : `ImportOptions`
        How it is to be imported.
    listing : `~butler_replica.listing.Listing`
        Which files there are.

    Returns
    -------
    plan : `FilePlan`
        What there is to do.

    Raises
    ------
    ExportError
        Raised if the export contradicts itself, or does not fit the
        repository's universe.
    ConflictError
        Raised if the repository has something else under the same name.
    ArtifactError
        Raised if artifacts are missing and ``options.missing`` is ``fail``.
    """
    return _Planner(butler, export, options, listing).plan


class _Planner:
    """Makes one plan.

    Parameters
    ----------
    butler, export, options, listing
        As for `make_plan`.
    """

    def __init__(self, butler: Butler, export: ExportFile, options: ImportOptions, listing: Listing) -> None:
        self._butler = butler
        self._export = export
        self._options = options
        self._root = internals.datastore_root(butler)
        mapper = PathMapper(options.rewrite, options.artifacts or export.path.parent)
        self._finder = ArtifactFinder(mapper, listing, placeholders=options.placeholders)
        self._known_collections = {
            info.name: info
            for info in butler.collections.query_info("*", include_doc=True, flatten_chains=False)
        }
        self._refs: dict[uuid.UUID, DatasetRef] = {}
        self._left_out: set[uuid.UUID] = set()
        self.plan = FilePlan(export.path, found=export.n_datasets)
        self._plan_dimensions()
        self._dataset_types = self._plan_dataset_types()
        self._plan_collections()
        self._plan_datasets()
        if options.collections != "drop":
            self._plan_tags()
            self._plan_certifications()

    # Dimension records

    def _plan_dimensions(self) -> None:
        universe = self._butler.dimensions
        instruments = {
            str(record.name): str(record.class_name)
            for record in self._butler.query_dimension_records("instrument", explain=False)
        }
        migrated = migrate_dimensions(self._export, universe, instruments)
        self.plan.notices += self._export.notices + migrated.notices
        self._needed = NeededRecords(universe, register=self._options.register)
        self._records = _RecordLookup(self._butler, migrated.records, self._needed)
        for element, records in migrated.records.items():
            there = self._records.stored(universe[element], [r.dataId for r in records])
            new, different = [], []
            for record in records:
                existing = there.get(record.dataId.required_values)
                if existing is None:
                    new.append(record)
                elif columns := _differing_columns(existing, record):
                    different.append((record.dataId, columns))
            if new:
                self.plan.dimension_records[element] = new
                self._records.require_parents(universe[element], new)
            if different:
                data_id, columns = different[0]
                self.plan.notices.append(
                    f"{len(different)} {element} records differ from those of the repository, which are kept; "
                    f"for example {_text(data_id)}: {', '.join(columns)}."
                )

    # Dataset types and collections

    def _plan_dataset_types(self) -> dict[str, DatasetType]:
        known: dict[str, DatasetType] = {}
        for name, item in self._export.dataset_types.items():
            wanted = dataset_type(item, self._export, self._butler.dimensions)
            existing = self._find_dataset_type(name)
            if existing is None:
                self.plan.dataset_types.append(wanted)
            elif existing != wanted:
                raise ConflictError(
                    f"{self._export.path}: dataset type {name!r} is {wanted} in the export and {existing} in "
                    "the repository. Import into a repository of its own, or export with the same definition."
                )
            known[name] = wanted
        for block in self._export.blocks:
            if block.dataset_type not in known:
                existing = self._find_dataset_type(block.dataset_type)
                if existing is None:
                    raise ExportError(
                        self._export.path,
                        f"has datasets of the type {block.dataset_type!r}, which neither the export nor the "
                        "repository defines.",
                        remedy="Import the export that defines it first, or export the data again.",
                    )
                known[block.dataset_type] = existing
        return known

    def _find_dataset_type(self, name: str) -> DatasetType | None:
        try:
            return self._butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            return None

    def _plan_collections(self) -> None:
        policy = self._options.collections
        wanted: dict[str, CollectionItem] = {}
        if policy != "drop":
            for item in self._export.collections.values():
                if item.type is CollectionType.CHAINED:
                    if policy == "keep":
                        self.plan.chains[item.name] = item.children
                else:
                    wanted[item.name] = item
            # What is associated decides what a collection has to be.
            for names, kind in (
                (self._export.tags, CollectionType.TAGGED),
                (self._export.certifications, CollectionType.CALIBRATION),
            ):
                for name in names:
                    self._plan_associated(name, kind, wanted)
            for name in sorted(wanted.keys() - self._export.tags.keys() - self._export.certifications.keys()):
                self._plan_unassociated(name, wanted)
        for run in self._options.runs:
            wanted.setdefault(run, CollectionItem(run, CollectionType.RUN, None, ()))
        for block in self._export.blocks:
            declared = wanted.get(block.run)
            if declared is not None and declared.type is not CollectionType.RUN:
                raise ExportError(
                    self._export.path,
                    f"declares {block.run!r} as a {declared.type.name} collection and has datasets in it as a RUN.",
                )
            wanted.setdefault(block.run, CollectionItem(block.run, CollectionType.RUN, None, ()))
        for name in self.plan.chains:
            self._check_type(name, CollectionType.CHAINED)
        for item in wanted.values():
            if not self._check_type(item.name, item.type):
                self.plan.collections.append(item)
        for item in self._export.collections.values():
            info = self._known_collections.get(item.name)
            if item.doc and info is not None and not info.doc and item.name in wanted:
                self.plan.docs[item.name] = item.doc

    def _plan_associated(self, name: str, kind: CollectionType, wanted: dict[str, CollectionItem]) -> None:
        item = wanted.get(name)
        if item is None:
            wanted[name] = CollectionItem(name, kind, None, ())
        elif item.type is not kind:
            if {item.type, kind} != ASSOCIATED or (
                name in self._export.tags and name in self._export.certifications
            ):
                raise ExportError(
                    self._export.path,
                    f"declares {name!r} as a {item.type.name} collection and uses it as {kind.name}.",
                )
            self.plan.notices.append(
                f"Collection {name} is declared {item.type.name}; its associations make it {kind.name}."
            )
            wanted[name] = item._replace(type=kind)

    def _plan_unassociated(self, name: str, wanted: dict[str, CollectionItem]) -> None:
        """Let the repository decide where nothing in this file does."""
        item, info = wanted[name], self._known_collections.get(name)
        if info is not None and info.type is not item.type and {info.type, item.type} == ASSOCIATED:
            self.plan.notices.append(
                f"Collection {name} is declared {item.type.name}; it is {info.type.name} in the repository, "
                "and nothing in the export depends on it."
            )
            wanted[name] = item._replace(type=info.type)

    def _check_type(self, name: str, wanted: CollectionType) -> bool:
        """Say whether a collection is there; another type is an error."""
        info = self._known_collections.get(name)
        if info is None:
            return False
        if info.type is not wanted:
            raise ConflictError(
                f"{self._export.path}: collection {name!r} is {wanted.name} in the export and {info.type.name} "
                f"in the repository. {self._type_remedy(info, wanted)}"
            )
        return True

    def _type_remedy(self, info: CollectionInfo, wanted: CollectionType) -> str:
        if (
            info.type in ASSOCIATED
            and not self._butler.collections.get_info(info.name, include_summary=True).dataset_types
        ):
            return (
                "Nothing was ever in the one of the repository: remove it (butler remove-collections "
                f"--remove-from-parents REPO {info.name}), import this file, and again the one that made it."
            )
        if wanted is CollectionType.RUN:
            return "Rename one of them, or import into a repository of its own."
        policy = "drop-chains" if wanted is CollectionType.CHAINED else "drop"
        return f"Import with the collections policy '{policy}', or rename one of them."

    # Datasets

    def _plan_datasets(self) -> None:
        sources = self._find_sources()
        refs = [
            self._make_refs(block, self._dataset_types[block.dataset_type]) for block in self._export.blocks
        ]
        self._add_made_records()
        for block, block_refs in zip(self._export.blocks, refs, strict=True):
            self._plan_block(block, block_refs, sources)
        self._check_ids()
        if self.plan.missing and self._options.missing == "fail":
            missing = self.plan.missing
            examples = "".join(f"\n  {m.path} ({m.reason})" for m in missing[:_SHOWN])
            more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise ArtifactError(
                f"{self._export.path}: {len(missing)} of {self.plan.found} artifacts are missing; nothing of this "
                f"file was imported.{examples}{more}\nAre the folder of the artifacts and the rewriting of prefixes "
                "right? The policies 'skip' and 'register' go on without them."
            )

    def _add_made_records(self) -> None:
        self._needed.check(self._export.path)
        records = self.plan.dimension_records
        for element in self._butler.dimensions.sorted({*records, *self._needed.made}):
            # Taken out and put in again: the order is that in which they can be inserted.
            records[element.name] = [*records.pop(element.name, ()), *self._needed.made.get(element.name, ())]
        self.plan.notices += self._needed.notices()

    def _find_sources(self) -> dict[str, FoundArtifact]:
        """Map the path of every record to what is there on this machine."""
        sources: dict[str, FoundArtifact] = {}
        for block in self._export.blocks:
            for number, record in enumerate(block.records, 1):
                if record.path is not None and record.path not in sources:
                    try:
                        sources[record.path] = self._finder.find(record.path)
                    except ValueError as error:
                        raise ExportError(
                            self._export.path,
                            f"the artifact {record.path} {error}.",
                            where=f"{block.dataset_type} record {number}",
                            remedy="Add a rewriting rule (OLD=NEW), or correct the folder of the artifacts.",
                        ) from error
        return sources

    def _plan_block(
        self,
        block: DatasetBlock,
        refs: list[tuple[DatasetRef, ...]],
        sources: Mapping[str, FoundArtifact],
    ) -> None:
        dataset_type = self._dataset_types[block.dataset_type]
        there = self._existing_datasets(dataset_type, block.run, [ref for group in refs for ref in group])
        unstored = self._without_artifact([ref for group in refs for ref in group if ref.id in there])
        new: list[DatasetRef] = []
        for group, record in zip(refs, block.records, strict=True):
            source, size, reason = _UNNAMED if record.path is None else sources[record.path]
            for ref in group:
                if ref.id in there:
                    self.plan.present += 1
                if size is None and (ref.id not in there or ref.id in unstored):
                    self._note_missing(ref, record, source, reason)
            added = [ref for ref in group if ref.id not in there]
            if size is None and self._options.missing == "skip":
                self._left_out.update(ref.id for ref in added)
                added = []
            new += added
            self._refs.update((ref.id, ref) for ref in group if ref.id not in self._left_out)
            stored = tuple(ref for ref in group if ref.id not in there or ref.id in unstored)
            if size is not None and stored:
                self.plan.artifacts.append(self._place(group[0], stored, record, source, size))
                self.plan.artifacts_added += len(stored) - len(added)
        if new:
            self.plan.datasets.setdefault((block.dataset_type, block.run), []).extend(new)

    def _make_refs(self, block: DatasetBlock, dataset_type: DatasetType) -> list[tuple[DatasetRef, ...]]:
        dimensions = dataset_type.dimensions
        names = tuple(dimensions.required)
        types = tuple(self._butler.dimensions.dimensions[name].primaryKey.getPythonType() for name in names)
        groups = []
        seen: dict[tuple[Any, ...], uuid.UUID] = {}
        for number, record in enumerate(block.records, 1):
            group = []
            for dataset_id, data_id in zip(record.ids, record.data_ids, strict=True):
                try:
                    values: tuple[Any, ...] = tuple(
                        value if type(value) is kind else kind(value)
                        for value, kind in zip((data_id[name] for name in names), types, strict=True)
                    )
                except (KeyError, ValueError, TypeError) as error:
                    raise self._bad_data_id(block, number, data_id, names, error) from error
                other = seen.setdefault(values, dataset_id)
                if other != dataset_id:
                    raise ExportError(
                        self._export.path,
                        f"has the data ID {data_id} twice, for the datasets {other} and {dataset_id}.",
                        where=f"{block.dataset_type} record {number}",
                        remedy="Remove one of them from a copy of the export.",
                    )
                group.append(
                    DatasetRef(
                        dataset_type,
                        DataCoordinate.from_required_values(dimensions, values),
                        block.run,
                        id=dataset_id,
                        conform=False,
                    )
                )
            groups.append(tuple(group))
        self._records.require(dimensions, seen, block.dataset_type)
        return groups

    def _bad_data_id(
        self, block: DatasetBlock, number: int, data_id: Any, names: Sequence[str], error: Exception
    ) -> ExportError:
        lacking = [name for name in names if name not in data_id]
        problem = f"lacks {', '.join(lacking)}" if lacking else f"has a value of the wrong kind ({error})"
        return ExportError(
            self._export.path,
            f"the data ID {data_id} {problem}.",
            where=f"{block.dataset_type} record {number}",
            remedy=f"The dimensions of {block.dataset_type} are {', '.join(names) or 'none'}.",
        )

    def _existing_datasets(
        self, dataset_type: DatasetType, run: str, refs: list[DatasetRef]
    ) -> set[uuid.UUID]:
        """Ids of those datasets that are there; another id for a data ID is an error."""
        if run not in self._known_collections or self._find_dataset_type(dataset_type.name) is None:
            return set()
        wanted = {ref.dataId.required_values: ref for ref in refs}
        there: set[uuid.UUID] = set()
        for chunk in _chunks([ref.dataId for ref in refs]):
            try:
                with self._butler.query() as query:
                    joined = query.join_data_coordinates(chunk) if dataset_type.dimensions.names else query
                    found = list(joined.datasets(dataset_type, collections=run, find_first=False))
            except MissingCollectionError:
                return set()
            for existing in found:
                ref = wanted[existing.dataId.required_values]
                if existing.id != ref.id:
                    raise ConflictError(
                        f"{self._export.path}: {dataset_type.name} {_text(ref.dataId)} in run {run} is dataset "
                        f"{ref.id} in the export and {existing.id} in the repository. One of them has to go, or "
                        "the export belongs into another repository."
                    )
                there.add(ref.id)
        return there

    def _without_artifact(self, refs: list[DatasetRef]) -> set[uuid.UUID]:
        """Ids of those datasets that the datastore has no record of."""
        stored = internals.stored_datasets(self._butler, refs)
        return {ref.id for ref in refs} - stored

    def _note_missing(self, ref: DatasetRef, record: DatasetRecord, source: str, reason: str) -> None:
        self.plan.missing.append(
            MissingArtifact(
                ref.datasetType.name, ref.run, dict(ref.dataId.required), source or str(record.path), reason
            )
        )

    def _place(
        self, first: DatasetRef, refs: tuple[DatasetRef, ...], record: DatasetRecord, source: str, size: int
    ) -> Artifact:
        """Say where an artifact goes and what the datastore notes of it."""
        mode = self._options.transfer
        root = str(self._root)
        if mode == "direct":
            target, recorded = source, str(ResourcePath(source))
        elif mode == "none":
            if not source.startswith(f"{root.rstrip('/')}/"):
                raise ArtifactError(
                    f"{source}: the transfer mode 'none' is for artifacts inside the repository ({root}). "
                    "Use symlink, copy or direct."
                )
            target, recorded = source, os.path.relpath(source, root)
        else:
            expanded = first.expanded(self._records.expand(first.dataId))
            recorded = internals.template_path(self._butler, expanded) + _extension(source)
            target = f"{root.rstrip('/')}/{recorded}"
        formatter = record.formatter or internals.default_formatter(self._butler, first)
        storage_class = first.datasetType.storageClass_name
        return Artifact(refs, source, target, recorded, formatter, storage_class, size)

    def _check_ids(self) -> None:
        """Refuse ids that are taken, in the repository or within the export."""
        new = [ref for refs in self.plan.datasets.values() for ref in refs]
        counts = Counter(ref.id for ref in new)
        for dataset_id in internals.known_dataset_ids(self._butler, counts):
            existing = self._butler.get_dataset(dataset_id)
            ref = next(ref for ref in new if ref.id == dataset_id)
            raise ConflictError(
                f"{self._export.path}: dataset {dataset_id} is {ref.datasetType.name} {_text(ref.dataId)} in run "
                f"{ref.run} in the export, and {existing} in the repository."
            )
        twice = [dataset_id for dataset_id, count in counts.items() if count > 1]
        if twice:
            same = {(r.datasetType.name, r.run, r.dataId.required_values) for r in new if r.id == twice[0]}
            if len(same) > 1:
                raise ExportError(
                    self._export.path, f"uses the dataset id {twice[0]} for {len(same)} different datasets."
                )
            for key, refs in self.plan.datasets.items():
                self.plan.datasets[key] = list({ref.id: ref for ref in refs}.values())
            self.plan.artifacts = list({a.refs[0].id: a for a in self.plan.artifacts}.values())

    # Associations

    def _associated(self, ids: Iterable[uuid.UUID], collection: str) -> list[DatasetRef]:
        """Return the datasets of an association, without those that were left out."""
        refs = []
        for dataset_id in ids:
            ref = self._refs.get(dataset_id)
            if ref is None and dataset_id not in self._left_out:
                ref = self._butler.get_dataset(dataset_id)
                if ref is None:
                    raise ExportError(
                        self._export.path,
                        f"associates dataset {dataset_id} with {collection!r}, which neither the export nor the "
                        "repository has.",
                        remedy="Import the export that has it first.",
                    )
                self._refs[dataset_id] = ref
            if ref is None:
                self.plan.associations_dropped += 1
            else:
                refs.append(ref)
        return refs

    def _plan_tags(self) -> None:
        for collection, ids in self._export.tags.items():
            refs = self._associated(dict.fromkeys(ids), collection)
            there = {
                (ref.datasetType.name, ref.dataId.required_values): ref.id
                for kind in {ref.datasetType for ref in refs}
                for ref in self._tagged(kind, collection)
            }
            new = []
            for ref in refs:
                existing = there.get((ref.datasetType.name, ref.dataId.required_values))
                if existing is None:
                    new.append(ref)
                elif existing != ref.id:
                    raise ConflictError(
                        f"{self._export.path}: {ref.datasetType.name} {_text(ref.dataId)} in the TAGGED collection "
                        f"{collection!r} is dataset {ref.id} in the export and {existing} in the repository."
                    )
            if new:
                self.plan.tags[collection] = new

    def _tagged(self, kind: DatasetType, collection: str) -> Iterable[DatasetRef]:
        if collection not in self._known_collections or self._find_dataset_type(kind.name) is None:
            return ()
        with self._butler.query() as query:
            return list(query.datasets(kind, collections=collection, find_first=False))

    def _plan_certifications(self) -> None:
        for collection, certifications in self._export.certifications.items():
            groups = [
                (c.timespan, self._associated(dict.fromkeys(c.ids), collection)) for c in certifications
            ]
            there: dict[Any, list[tuple[Timespan, uuid.UUID]]] = defaultdict(list)
            for kind in {ref.datasetType for _, refs in groups for ref in refs}:
                for ref, timespan in self._certified(kind, collection):
                    there[kind.name, ref.dataId.required_values].append((timespan, ref.id))
            for timespan, refs in groups:
                new = []
                for ref in refs:
                    ranges = there[ref.datasetType.name, ref.dataId.required_values]
                    if (timespan, ref.id) in ranges:
                        continue
                    for other, other_id in ranges:
                        if timespan.overlaps(other):
                            raise ConflictError(
                                f"{self._export.path}: {ref.datasetType.name} {_text(ref.dataId)} in the "
                                f"CALIBRATION collection {collection!r}: dataset {ref.id} is valid {timespan} in the "
                                f"export, which overlaps {other} of dataset {other_id}."
                            )
                    ranges.append((timespan, ref.id))
                    new.append(ref)
                if new:
                    self.plan.certifications.setdefault(collection, []).append((timespan, new))

    def _certified(self, kind: DatasetType, collection: str) -> Iterable[tuple[DatasetRef, Timespan]]:
        if collection not in self._known_collections or self._find_dataset_type(kind.name) is None:
            return
        for association in self._butler.registry.queryDatasetAssociations(
            kind, collections=[collection], collectionTypes={CollectionType.CALIBRATION}
        ):
            assert association.timespan is not None  # noqa: S101
            yield association.ref, association.timespan


class _RecordLookup:
    """Dimension records: of the export, else of the repository, else made.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    records : `~collections.abc.Mapping` [ `str`, `list` ]
        Records of the export by element.
    needed : `~butler_replica.made_records.NeededRecords`
        Gets those that neither has.
    """

    def __init__(
        self, butler: Butler, records: Mapping[str, list[DimensionRecord]], needed: NeededRecords
    ) -> None:
        self._butler = butler
        self._needed = needed
        self._records: dict[str, dict[tuple[Any, ...], DimensionRecord]] = {
            element: {record.dataId.required_values: record for record in found}
            for element, found in records.items()
        }

    def stored(
        self, element: DimensionElement, data_ids: Sequence[DataCoordinate]
    ) -> dict[tuple[Any, ...], DimensionRecord]:
        """Return the records that the repository has for some data IDs."""
        found: dict[tuple[Any, ...], DimensionRecord] = {}
        for chunk in _chunks(data_ids):
            with self._butler.query() as query:
                for joined in self._join(query, element, chunk):
                    for record in joined.dimension_records(element.name):
                        found[record.dataId.required_values] = record
        return found

    @staticmethod
    def _join(query: Query, element: DimensionElement, data_ids: Sequence[DataCoordinate]) -> Iterable[Query]:
        columns = (*element.metadata.names, *element.implied.names)
        if columns or element.spatial or element.temporal or not isinstance(element, Dimension):
            yield query.join_data_coordinates(data_ids)
            return
        # A record that is nothing but its key (group): the butler would answer
        # from the data IDs alone, without a look at the table.
        by_parent: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for data_id in data_ids:
            *parent, value = data_id.required_values
            by_parent[tuple(parent)].append(value)
        for key, values in by_parent.items():
            parents = dict(zip(element.required.names, key, strict=False))
            column = getattr(query.expression_factory, element.name)
            yield query.where(column.in_iterable(values), **parents)

    def require_parents(self, element: DimensionElement, records: Iterable[DimensionRecord]) -> None:
        """Ask for the records that new records of an element depend on.

        Parameters
        ----------
        element : `lsst.daf.butler.DimensionElement`
            Dimension element.
        records : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
            New records of it.
        """
        user = f"{element.name} records"
        names = list(element.required.names)
        keys = [record.dataId.required_values for record in records]
        for parent in element.required:
            if parent.name != element.name and parent.has_own_table:
                self._require(parent, _projected(keys, names, parent), user)
        for parent in element.implied:
            if parent.has_own_table:
                implied = {self._implied_key(parent, record) for record in records}
                self._require(parent, {key for key in implied if key is not None}, user)

    def require(self, dimensions: DimensionGroup, data_ids: Iterable[tuple[Any, ...]], user: str) -> None:
        """Ask for a record for every dimension value of some data IDs.

        Parameters
        ----------
        dimensions : `lsst.daf.butler.DimensionGroup`
            Dimensions of the data IDs.
        data_ids : `~collections.abc.Iterable` [ `tuple` ]
            Required values.
        user : `str`
            What needs them, for the message.
        """
        universe = self._butler.dimensions
        data_ids = list(data_ids)
        names = list(dimensions.required)
        for name in names:
            element = universe.dimensions[name]
            if not element.has_own_table:
                continue
            wanted = _projected(data_ids, names, element)
            self._require(element, wanted, user)
            known = self._records[name]
            for target in element.implied:
                if target.has_own_table:
                    keys = {self._implied_key(target, known[key]) for key in wanted if key in known}
                    self._fetch(target, {key for key in keys if key is not None})

    def _require(self, element: DimensionElement, wanted: set[tuple[Any, ...]], user: str) -> None:
        self._fetch(element, wanted)
        known = self._records[element.name]
        if lacking := wanted - known.keys():
            known.update(self._needed.supply(element, lacking, user, self._records.get("skymap", {})))

    @staticmethod
    def _implied_key(target: DimensionElement, record: DimensionRecord) -> tuple[Any, ...] | None:
        own = {**record.dataId.required, **{target.name: getattr(record, target.name)}}
        key = tuple(own.get(n) for n in target.required.names)
        return None if None in key else key

    def _fetch(self, element: DimensionElement, wanted: set[tuple[Any, ...]]) -> None:
        known = self._records.setdefault(element.name, {})
        unknown = [key for key in wanted if key not in known]
        if unknown:
            group = element.minimal_group
            known.update(
                self.stored(element, [DataCoordinate.from_required_values(group, key) for key in unknown])
            )

    def expand(self, data_id: DataCoordinate) -> DataCoordinate:
        """Attach dimension records to a data ID that `require` has seen."""
        universe = self._butler.dimensions
        values: dict[str, Any] = dict(data_id.required)
        records: dict[str, DimensionRecord | None] = {}
        for name in data_id.dimensions.lookup_order:
            element = universe[name]
            records[name] = None
            key = tuple(values.get(n) for n in element.required.names)
            if element.has_own_table and name in self._records:
                record = self._records[name].get(key)
                records[name] = record
                if record is not None:
                    for implied in element.implied.names:
                        values[implied] = getattr(record, implied)
        full = DataCoordinate.from_full_values(
            data_id.dimensions, tuple(values[n] for n in data_id.dimensions.data_coordinate_keys)
        )
        return full.expanded(records)


def _projected(
    keys: Iterable[tuple[Any, ...]], names: Sequence[str], element: DimensionElement
) -> set[tuple[Any, ...]]:
    """Reduce required values of the dimensions ``names`` to those of an element among them."""
    positions = [names.index(name) for name in element.required.names]
    return {tuple(key[i] for i in positions) for key in keys}


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _differing_columns(existing: DimensionRecord, wanted: DimensionRecord) -> list[str]:
    """Names of the columns in which two records differ; what the export leaves open is no difference."""
    before, after = existing.toDict(), wanted.toDict()
    return [name for name, value in after.items() if value is not None and before.get(name) != value]


def _extension(path: str) -> str:
    return ResourcePath(path, forceAbsolute=False, forceDirectory=False).getExtension()


def _text(data_id: DataCoordinate) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in data_id.required.items()) + "}"
