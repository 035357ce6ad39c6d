"""The datasets of one export beside those of a repository: what the two ways of comparing them share."""

from __future__ import annotations

__all__ = [
    "DatasetContext",
    "MissingArtifact",
    "PlannedDatasets",
    "Transferable",
]

import abc
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

from lsst.daf.butler import Butler, DatasetRef, DatasetType
from lsst.resources import ResourcePath

from .. import internals
from ..artifacts.evidence import is_remote
from ..artifacts.finder import ArtifactFinder, FoundArtifact
from ..artifacts.listing import Listing
from ..artifacts.rewriting import Roots, is_uri
from ..dimensions.lookup import RecordLookup
from ..errors import ArtifactError, ConflictError, ExportError, ReplicaError
from ..exports.model import DatasetBlock, ExportFile
from ..options import ImportOptions

LISTED = 100
"""Missing artifacts that are named; all are counted."""

_SHOWN = 5
"""Examples in a message."""

UNNAMED = FoundArtifact("", None, "the export names no file")


class MissingArtifact(NamedTuple):
    """A dataset of the export whose artifact is not there."""

    dataset_type: str
    run: str
    data_id: dict[str, Any]
    path: str
    reason: str


class Transferable(NamedTuple):
    """An artifact that is to be brought."""

    target: str
    """Absolute path that it gets in the repository; ``source`` where it stays."""

    source: str
    """Absolute path of the file."""

    size: int
    """Size of the file in bytes."""


@dataclass(frozen=True)
class DatasetFacts:
    """What importing one export changes in the datasets of a repository."""

    present: int
    """Datasets that the repository has already."""

    inserted: dict[tuple[str, str], int]
    """Number of new datasets by dataset type and run."""

    stored: int
    """Datasets whose artifact is put into the datastore."""

    artifacts_added: int
    """Those of them that the repository has already."""

    artifacts_renewed: int
    """Those that the repository has stored already, but whose artifact was no longer where it has it."""

    n_missing: int
    """Datasets whose artifact is missing."""

    missing: tuple[MissingArtifact, ...]
    """The first of them."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to insert."""
        return bool(self.inserted or self.stored)


@dataclass(frozen=True)
class DatasetContext:
    """What datasets are planned with."""

    butler: Butler
    export: ExportFile
    options: ImportOptions
    finder: ArtifactFinder
    records: RecordLookup
    dataset_types: Mapping[str, DatasetType]
    """Those of the export's blocks, registered or not."""

    is_known: Callable[[str, str], bool]
    """Whether the repository has a dataset type and a run."""


class PlannedDatasets(abc.ABC):
    """The datasets of one export beside those of a repository.

    Parameters
    ----------
    context : `DatasetContext`
        What they are planned with.
    """

    def __init__(self, context: DatasetContext) -> None:
        self._context = context
        self._butler = context.butler
        self._export = context.export
        self._options = context.options
        self._locations = internals.Locations.of(context.butler)
        self._root = self._locations.root
        self._longest_name = os.pathconf(self._root, "PC_NAME_MAX")
        self.formatters: set[str] = set()
        """Formatters that the export names."""

        self._formatters: dict[tuple[str, Any], str] = {}
        self._extensions: dict[str, str] = {}
        self._accepted: set[tuple[str, Any]] = set()
        self.present = 0
        """Datasets that the repository has already."""

        self.inserted: Counter[tuple[str, str]] = Counter()
        """Number of new datasets by dataset type and run."""

        self.stored = 0
        """Datasets whose artifact is put into the datastore."""

        self.artifacts_added = 0
        """Those of them that the repository has already."""

        self.artifacts_renewed = 0
        """Those that the repository has stored already, but whose artifact was no longer where it has it."""

        self._in_place = Listing()
        self.n_missing = 0
        self.outside = 0
        """Those of them that are there, maybe, where none may be taken from."""

        self.missing: list[MissingArtifact] = []
        """The first of the missing artifacts."""

    @property
    def sources(self) -> Roots:
        """Where artifacts may come from."""
        return self._context.finder.roots

    def facts(self) -> DatasetFacts:
        """Return what `compare` has found."""
        return DatasetFacts(
            self.present,
            dict(self.inserted),
            self.stored,
            self.artifacts_added,
            self.artifacts_renewed,
            self.n_missing,
            tuple(self.missing),
        )

    @abc.abstractmethod
    def require_records(self) -> None:
        """Ask for the dimension records that the datasets need."""

    @abc.abstractmethod
    def compare(self) -> None:
        """Compare the datasets with those of the repository."""

    @abc.abstractmethod
    def associated(self, ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, DatasetRef | None]:
        """Return those of some datasets that the export has; `None` for those that are left out."""

    @abc.abstractmethod
    def transferables(self) -> Iterator[Transferable]:
        """Yield the artifacts that are to be brought. Does not use the database."""

    @abc.abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Begin a transaction of the repository in which the datasets can be inserted."""

    @abc.abstractmethod
    def insert(self) -> None:
        """Insert the new datasets, in that transaction."""

    @abc.abstractmethod
    def insert_artifact_records(self) -> None:
        """Record what `transferables` yielded, in that transaction."""

    @abc.abstractmethod
    def close(self) -> None:
        """Forget what is kept in the database."""

    # For both ways

    def _is_lost(self, recorded: str) -> bool:
        """Return whether a stored artifact is gone, or a link to one leads nowhere, as far as can be seen."""
        if is_remote(recorded):
            return False
        try:
            place = self._locations.find(recorded)
            return isinstance(place, str) and not self._in_place.exists(place)
        except ReplicaError:
            return False

    def _find(self, path: str | None) -> FoundArtifact:
        return UNNAMED if path is None else self._context.finder.find(path)

    def _check_missing(self) -> None:
        if self.n_missing and self._options.missing == "fail":
            examples = [f"  {m.path} ({m.reason})" for m in self.missing[:_SHOWN]]
            if self.n_missing > _SHOWN:
                examples.append(f"  and {self.n_missing - _SHOWN} more")
            raise ArtifactError(
                f"{self._export.path}: {self.n_missing} of {self._export.n_datasets} artifacts are missing; nothing "
                "of this file was imported.",
                *examples,
                "Are the folder of the artifacts and the rewriting of prefixes right? The policies 'skip' and "
                f"'register' go on without them. {self.outside_notice}".rstrip(),
            )

    @property
    def outside_notice(self) -> str:
        """What to do about artifacts that may not be taken; empty where there are none."""
        if not self.outside:
            return ""
        return (
            f"{self.outside} artifacts lie outside {self._context.finder.roots}; if they are to be taken, "
            "name their folder as a further root (--root DIR, roots)."
        )

    def _recorded_in_place(self, source: str) -> str:
        """Return what the datastore notes of an artifact that stays where it is."""
        if is_uri(source):
            return source
        if self._options.transfer == "direct":
            return internals.file_uri(source)
        if not source.startswith(f"{self._root}/"):
            raise ArtifactError(
                f"{source}: the transfer mode 'none' is for artifacts inside the repository ({self._root}). "
                "Use symlink, copy or direct."
            )
        try:
            return self._locations.record(source)
        except ValueError as error:
            raise ArtifactError(f"{source}: {error}. Use the transfer mode direct.") from error

    def _placed(self, formatted: str, source: str, name: Callable[[], str]) -> tuple[str, str]:
        """Return what the datastore notes of an artifact, and its path in the repository.

        ``formatted`` is what the file template gives, ``name`` names the dataset.
        """
        try:
            recorded, target = self._locations.make(formatted, self._extension(source))
            self._check_length(recorded)
        except ValueError as error:
            raise ExportError(
                self._export.path,
                f"the path {formatted!r} that the repository's file template gives to {name()} {error}.",
                remedy="Use the transfer mode direct, or other names in a copy of the export.",
            ) from error
        return recorded, target

    def _check_length(self, recorded: str) -> None:
        """Raise `ValueError` where a name is longer than the file system takes."""
        if len(encoded := recorded.encode(errors="surrogateescape")) > self._longest_name:
            longest = max(map(len, encoded.split(b"/")))
            if longest > self._longest_name:
                raise ValueError(
                    f"has a name of {longest} bytes, and the file system takes {self._longest_name}"
                )

    def _extension(self, source: str) -> str:
        """Return the extension of a file's name, as the datastore takes it."""
        name = os.path.basename(source)
        start = name.find(".", 1)
        plain = internals.is_plain(name)
        if start < 0 and plain:
            return ""
        key = name[start:] if plain else name
        known = self._extensions.get(key)
        if known is None:
            if len(self._extensions) > 10_000:
                self._extensions.clear()
            uri = ResourcePath(internals.file_uri(source), forceDirectory=False)
            known = self._extensions[key] = uri.getExtension()
        return known

    def _default_formatter(self, ref: DatasetRef) -> str:
        """Return the formatter of a dataset type for which the export names none."""
        # Instruments can have formatters of their own.
        key = ref.datasetType.name, ref.dataId.get("instrument")
        if key not in self._formatters:
            self._formatters[key] = internals.default_formatter(self._butler, ref)
        return self._formatters[key]

    def _check_accepted(self, name: str, instrument: Any, ref: Callable[[], DatasetRef]) -> None:
        """Refuse a dataset that the datastore is not to take; its type and instrument decide."""
        if (name, instrument) in self._accepted:
            return
        self._accepted.add((name, instrument))
        if not internals.accepts(self._butler, ref()):
            raise ExportError(
                self._export.path,
                f"has artifacts of {name}, which the datastore of the repository does not take "
                "(datastore.constraints in its butler.yaml).",
                remedy="Correct it there, or leave them out of a copy of the export.",
            )

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

    def _repeated(self, data_id: str, dataset_type: str, one: uuid.UUID, other: uuid.UUID) -> ExportError:
        return ExportError(
            self._export.path,
            f"has the data ID {data_id} of {dataset_type} twice, for the datasets {one} and {other}.",
            remedy="Remove one of them from a copy of the export.",
        )

    def _used_twice(self, dataset_id: uuid.UUID) -> ExportError:
        return ExportError(
            self._export.path,
            f"uses the dataset id {dataset_id} for different datasets.",
            remedy="Remove all but one of them from a copy of the export.",
        )

    def _conflict(self, what: str, run: str, dataset_id: uuid.UUID, existing: uuid.UUID) -> ConflictError:
        return ConflictError(
            f"{self._export.path}: {what} in run {run} is dataset {dataset_id} in the export and {existing} in the "
            "repository. One of them has to go, or the export belongs into another repository."
        )

    def _taken(self, what: str, run: str, dataset_id: uuid.UUID) -> ConflictError:
        return ConflictError(
            f"{self._export.path}: dataset {dataset_id} is {what} in run {run} in the export, and "
            f"{self._butler.get_dataset(dataset_id)} in the repository."
        )
