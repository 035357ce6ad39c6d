"""Comparing an export with a repository: what is there, what is to be added, what stands in the way.

A plan is complete before anything is written, so that whatever can be known
beforehand is an error while nothing has changed. It only ever adds.
"""

from __future__ import annotations

__all__ = ["make_plan"]

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from lsst.daf.butler import (
    Butler,
    CollectionInfo,
    CollectionType,
    DatasetRef,
    DatasetType,
    DimensionElement,
    DimensionRecord,
    MissingDatasetTypeError,
    Timespan,
)

from ..artifacts.finder import make_finder
from ..artifacts.listing import Listing
from ..collections.associations import ASSOCIATED, associations_only
from ..dimensions.compared import compare_records
from ..dimensions.lookup import RecordLookup, data_id_text
from ..dimensions.made import NeededRecords
from ..errors import ConflictError, ExportError
from ..exports.migrate import dataset_type
from ..exports.model import CollectionItem, ExportFile
from ..internals import datastore_root
from ..options import ImportOptions
from .checks import check_plan
from .datasets import DatasetContext
from .file_plan import FilePlan
from .formatters import check_formatters
from .ways import Ways


def make_plan(
    butler: Butler,
    export: ExportFile,
    options: ImportOptions,
    listing: Listing,
    *,
    ways: Ways,
    tell: Callable[[int], None] = lambda _: None,
) -> FilePlan:
    """Compare an export with a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    export : `ExportFile`
        What the export says.
    options : `~butler_replica.options.ImportOptions`
        How it is to be imported.
    listing : `~butler_replica.artifacts.listing.Listing`
        Which files there are.
    ways : `~butler_replica.imports.ways.Ways`
        Of which the datasets take one.
    tell : `~collections.abc.Callable`, optional
        Called with the number of datasets that have been looked at.

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
    return _Planner(butler, export, options, listing, ways=ways, tell=tell).plan


class _Planner:
    """Makes one plan.

    Parameters
    ----------
    butler, export, options, listing, ways, tell
        As for `make_plan`.
    """

    def __init__(
        self,
        butler: Butler,
        export: ExportFile,
        options: ImportOptions,
        listing: Listing,
        *,
        ways: Ways,
        tell: Callable[[int], None],
    ) -> None:
        self._butler = butler
        self._there: dict[uuid.UUID, DatasetRef] = {}
        self._export = export
        self._options = options
        if options.collections == "associations":
            self._export, self._there = associations_only(butler, export)
        # With 'none', artifacts are in the repository.
        own = [datastore_root(butler)] if options.transfer == "none" else []
        self._finder = make_finder(
            export.path,
            listing,
            artifacts=options.artifacts,
            rewrite=options.rewrite,
            roots=[*options.roots, *own],
            placeholders=options.placeholders,
            remote=options.transfer == "direct",
        )
        self._known_collections = {
            info.name: info
            for info in butler.collections.query_info("*", include_doc=True, flatten_chains=False)
        }
        self.plan = FilePlan(export.path, found=export.n_datasets)
        self._plan_dimensions()
        self._dataset_types = self._plan_dataset_types()
        self._plan_collections()
        check_plan(self.plan)
        self.plan.datasets = ways.choose(self._dataset_context(), tell)
        self.plan.datasets.present = len(self._there)
        self.plan.associations_dropped = len(export.associated()) - len(self._export.associated())
        try:
            self._plan_datasets()
            if options.collections != "drop":
                self._plan_tags()
                self._plan_certifications()
        except BaseException:
            self.plan.datasets.close()
            raise

    # Dimension records

    def _plan_dimensions(self) -> None:
        universe = self._butler.dimensions
        compared = compare_records(self._butler, self._export)
        self.plan.notices += self._export.notices + compared.notices
        self._needed = NeededRecords(universe, register=self._options.register)
        self._records = RecordLookup(self._butler, compared.known, compared.others, self._needed)
        for element, new in compared.new.items():
            self.plan.dimension_records[element] = new
            self._check_rivals(universe[element], new)
            self._records.require_parents(universe[element], new)

    def _check_rivals(self, element: DimensionElement, new: list[DimensionRecord]) -> None:
        for column, record, other in self._records.rivals(element, new):
            where = "the export" if other in new else "the repository"
            raise ConflictError(
                f"{self._export.path}: {element.name} {data_id_text(record.dataId)} has the {column} "
                f"{getattr(other, column)!r}, which {element.name} {data_id_text(other.dataId)} of {where} has; "
                "no two can have the same. Is it the same one under another name? Then give it that name in a copy "
                "of the export; or import into another repository."
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
        if not DatasetType.VALID_NAME_REGEX.match(name):
            return None
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
        name = info.name
        found = self._butler.collections.get_info(name, include_parents=True, include_summary=True)
        if found.type in ASSOCIATED and not found.dataset_types:
            removal = [
                f"butler collection-chain --mode=remove REPO {parent} {name}"
                for parent in sorted(found.parents or ())
            ]
            removal.append(f"butler remove-collections REPO {name}")
            return (
                f"Nothing was ever in the one of the repository. Remove it ({'; '.join(removal)}), "
                "import this file, and again the one that made it."
            )
        if wanted is CollectionType.RUN:
            return "Rename one of them, or import into a repository of its own."
        policy = "drop-chains" if wanted is CollectionType.CHAINED else "drop"
        return f"Import with the collections policy '{policy}', or rename one of them."

    # Datasets

    def _dataset_context(self) -> DatasetContext:
        known = self._known_collections
        return DatasetContext(
            self._butler,
            self._export,
            self._options,
            self._finder,
            self._records,
            self._dataset_types,
            lambda kind, run: run in known and self._find_dataset_type(kind) is not None,
        )

    def _plan_datasets(self) -> None:
        self.plan.datasets.require_records()
        self._check_formatters()
        self._add_made_records()
        self.plan.datasets.compare()

    def _check_formatters(self) -> None:
        options = self._options
        notice = check_formatters(
            self._export.path, self.plan.datasets.formatters, options.formatters, options.unknown_formatters
        )
        if notice:
            self.plan.notices.append(notice)

    def _add_made_records(self) -> None:
        self._needed.check(self._export.path)
        records = self.plan.dimension_records
        for element in self._butler.dimensions.sorted({*records, *self._needed.made}):
            # Taken out and put in again: the order is that in which they can be inserted.
            records[element.name] = [*records.pop(element.name, ()), *self._needed.made.get(element.name, ())]
        self.plan.notices += self._needed.notices()

    # Associations

    def _associated(self, ids: Iterable[uuid.UUID], collection: str) -> list[DatasetRef]:
        """Return the datasets of an association, without those that were left out."""
        ids = list(ids)
        refs = []
        known = {**self._there, **self.plan.datasets.associated(ids)}
        for dataset_id in ids:
            ref = known.get(dataset_id)
            if ref is None and dataset_id not in known:
                ref = self._butler.get_dataset(dataset_id)
                if ref is None:
                    raise ExportError(
                        self._export.path,
                        f"associates dataset {dataset_id} with {collection!r}, which neither the export nor the "
                        "repository has.",
                        remedy="Import the export that has it first.",
                    )
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
                        f"{self._export.path}: {ref.datasetType.name} {data_id_text(ref.dataId)} in the TAGGED "
                        f"collection {collection!r} is dataset {ref.id} in the export and {existing} in the repository."
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
                                f"{self._export.path}: {ref.datasetType.name} {data_id_text(ref.dataId)} in the "
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
