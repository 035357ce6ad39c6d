"""Which dataset types and collections an export brings, and what the repository has under their names."""

from __future__ import annotations

__all__ = ["DefinitionPlanner", "KnownDefinitions"]

from lsst.daf.butler import (
    Butler,
    CollectionInfo,
    CollectionType,
    DatasetType,
    DimensionUniverse,
    MissingDatasetTypeError,
)

from ..collections.associations import ASSOCIATED
from ..errors import ConflictError, ExportError
from ..exports.migrate import dataset_type
from ..exports.model import CollectionItem, ExportFile
from ..options import ImportOptions
from .checks import check_definitions
from .file_plan import Definitions


class KnownDefinitions:
    """The dataset types and collections of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    """

    def __init__(self, butler: Butler) -> None:
        self.butler = butler
        self.collections: dict[str, CollectionInfo] = {
            info.name: info
            for info in butler.collections.query_info("*", include_doc=True, flatten_chains=False)
        }
        """All collections by name."""

    @property
    def universe(self) -> DimensionUniverse:
        """The dimensions of the repository."""
        return self.butler.dimensions

    def dataset_type(self, name: str) -> DatasetType | None:
        """Return a dataset type, if there is one of that name."""
        if not DatasetType.VALID_NAME_REGEX.match(name):
            return None
        try:
            return self.butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            return None

    def has(self, dataset_type: str, collection: str) -> bool:
        """Return whether there are both, so that the one can have datasets of the other."""
        return collection in self.collections and self.dataset_type(dataset_type) is not None


class DefinitionPlanner:
    """Compares the dataset types and collections of one export with those of a repository.

    Parameters
    ----------
    export : `~butler_replica.exports.model.ExportFile`
        What the export says.
    options : `~butler_replica.options.ImportOptions`
        How it is to be imported.
    known : `KnownDefinitions`
        What the repository has.
    notices : `list` [ `str` ]
        Gets what a reader should know.
    """

    def __init__(
        self, export: ExportFile, options: ImportOptions, known: KnownDefinitions, notices: list[str]
    ) -> None:
        self._export = export
        self._options = options
        self._known = known
        self._notices = notices
        self._planned = Definitions()
        self.dataset_types: dict[str, DatasetType] = {}
        """Those of the export's blocks, registered or not, once they are planned."""

    def plan(self) -> Definitions:
        """Return what is to be registered.

        Returns
        -------
        definitions : `~butler_replica.imports.file_plan.Definitions`
            New dataset types and collections, chains, and documentation.

        Raises
        ------
        ExportError
            Raised if the export contradicts itself, or a table cannot hold a
            name.
        ConflictError
            Raised if the repository has something else under the same name.
        """
        self.dataset_types = self._plan_dataset_types()
        self._plan_collections()
        check_definitions(self._export.path, self._planned)
        return self._planned

    def _plan_dataset_types(self) -> dict[str, DatasetType]:
        known: dict[str, DatasetType] = {}
        for name, item in self._export.dataset_types.items():
            wanted = dataset_type(item, self._export, self._known.universe)
            existing = self._known.dataset_type(name)
            if existing is None:
                self._planned.dataset_types.append(wanted)
            elif existing != wanted:
                raise ConflictError(
                    f"{self._export.path}: dataset type {name!r} is {wanted} in the export and {existing} in "
                    "the repository. Import into a repository of its own, or export with the same definition."
                )
            known[name] = wanted
        for block in self._export.blocks:
            if block.dataset_type not in known:
                existing = self._known.dataset_type(block.dataset_type)
                if existing is None:
                    raise ExportError(
                        self._export.path,
                        f"has datasets of the type {block.dataset_type!r}, which neither the export nor the "
                        "repository defines.",
                        remedy="Import the export that defines it first, or export the data again.",
                    )
                known[block.dataset_type] = existing
        return known

    def _plan_collections(self) -> None:
        policy = self._options.collections
        wanted: dict[str, CollectionItem] = {}
        if policy != "drop":
            for item in self._export.collections.values():
                if item.type is CollectionType.CHAINED:
                    if policy == "keep":
                        self._planned.chains[item.name] = item.children
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
        for name in self._planned.chains:
            self._check_type(name, CollectionType.CHAINED)
        for item in wanted.values():
            if not self._check_type(item.name, item.type):
                self._planned.collections.append(item)
        for item in self._export.collections.values():
            info = self._known.collections.get(item.name)
            if item.doc and info is not None and not info.doc and item.name in wanted:
                self._planned.docs[item.name] = item.doc

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
            self._notices.append(
                f"Collection {name} is declared {item.type.name}; its associations make it {kind.name}."
            )
            wanted[name] = item._replace(type=kind)

    def _plan_unassociated(self, name: str, wanted: dict[str, CollectionItem]) -> None:
        """Ask the repository where nothing in this file does."""
        item, info = wanted[name], self._known.collections.get(name)
        if info is not None and info.type is not item.type and {info.type, item.type} == ASSOCIATED:
            self._notices.append(
                f"Collection {name} is declared {item.type.name}; it is {info.type.name} in the repository, "
                "and nothing in the export depends on it."
            )
            wanted[name] = item._replace(type=info.type)

    def _check_type(self, name: str, wanted: CollectionType) -> bool:
        """Return whether a collection is there; another type is an error."""
        info = self._known.collections.get(name)
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
        found = self._known.butler.collections.get_info(name, include_parents=True, include_summary=True)
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
