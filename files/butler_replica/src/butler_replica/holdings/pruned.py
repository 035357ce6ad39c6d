"""What prune takes out of a registry, written down as exports so that it can be brought back.

Each file is an export as the butler writes them. Beside what an import reads,
each record has the rows that the datastore had (``datastore_records``).
"""

from __future__ import annotations

__all__ = ["PrunedWriter"]

import contextlib
import os
import shlex
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from lsst.daf.butler import Butler, CollectionType, Timespan

from ..artifacts.evidence import is_remote
from ..artifacts.listing import Listing
from ..errors import ReplicaError
from ..exports.writer import FORMAT_VERSION, ExportDumper
from ..internals import DatasetDetails, artifact_path, datastore_root
from ..repository.folder import PRUNED_FOLDER
from ..wording import visible

_MAX_FOLDERS = 3
"""Folders named in the command that brings datasets back."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PrunedWriter:
    """Writes down what is about to leave the registry.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    """

    def __init__(self, butler: Butler) -> None:
        self._butler = butler
        self._root = datastore_root(butler)
        self._locate = artifact_path(butler)
        self._time = datetime.now(UTC)
        self._folder: Path | None = None
        self._number = 0
        self.files: list[Path] = []
        """What was written."""

    @contextlib.contextmanager
    def written_down(self, datasets: Sequence[DatasetDetails]) -> Iterator[None]:
        """Write datasets down, on the disk, before they are removed; where that fails, nothing is left.

        Parameters
        ----------
        datasets : `~collections.abc.Sequence` [ `DatasetDetails` ]
            Datasets that the caller removes in one transaction.

        Raises
        ------
        ReplicaError
            Raised if they cannot be written.
        """
        done = len(self.files)
        try:
            try:
                self._write(datasets)
            except OSError as error:
                raise ReplicaError(
                    f"{self._root / PRUNED_FOLDER}: what is to be removed cannot be written down there "
                    f"({error.strerror}), so it was not removed."
                ) from error
            yield
        except BaseException:
            for path in self.files[done:]:
                path.unlink(missing_ok=True)
            del self.files[done:]
            raise

    def _write(self, datasets: Sequence[DatasetDetails]) -> None:
        # An import records an artifact in one way: those used in place apart from those of the repository.
        in_place = [dataset for dataset in datasets if any("://" in r["path"] for r in dataset.records)]
        own = [dataset for dataset in datasets if not any("://" in r["path"] for r in dataset.records)]
        for transfer, chosen in (("none", own), ("direct", in_place)):
            if chosen:
                self._write_file(transfer, chosen)
                self._number += 1

    def _write_file(self, transfer: str, datasets: Sequence[DatasetDetails]) -> None:
        if self._folder is None:
            self._folder = self._make_folder()
        path = self._folder / f"{self._number:04}_{transfer}.yaml"
        descriptor = os.open(path, _NEW_FILE, 0o666)
        self.files.append(path)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(self._header(path, transfer, datasets))
            yaml.dump(
                self._export(datasets), stream, Dumper=ExportDumper, sort_keys=False, allow_unicode=True
            )
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(self._folder)

    def _make_folder(self) -> Path:
        folder = self._root
        for name in PRUNED_FOLDER.split("/"):
            folder /= name
            with contextlib.suppress(FileExistsError):
                _make_as_parent(folder)
            if folder.is_symlink() or not folder.is_dir():
                raise ReplicaError(
                    f"{folder}: is no folder, so what is to be removed cannot be written down there, and was not "
                    "removed. Move it away."
                )
            _sync_folder(folder.parent)
        name = f"{self._time:%Y%m%dT%H%M%SZ}"
        for attempt in range(1000):
            made = folder / (f"{name}-{attempt}" if attempt else name)
            with contextlib.suppress(FileExistsError):
                _make_as_parent(made)
                _sync_folder(folder)
                return made
        raise ReplicaError(f"{folder}: a thousand folders {name} are there already.")

    def _header(self, path: Path, transfer: str, datasets: Sequence[DatasetDetails]) -> str:
        time = self._time.isoformat(timespec="seconds")
        command = [
            *("butler-replica", "import", "REPO", f"REPO/{PRUNED_FOLDER}/{path.parent.name}/{path.name}"),
            *("--artifacts", "REPO", "--transfer", transfer, "--missing", "register"),
            *(option for folder in self._folders(datasets) for option in ("--root", folder)),
        ]
        return (
            f"# Taken out of the registry by butler-replica prune, {time}. When the artifacts are there again:\n"
            f"# {visible(shlex.join(command))}\n"
        )

    def _folders(self, datasets: Sequence[DatasetDetails]) -> list[str]:
        """Return the folders outside the repository that artifacts have to be taken from."""
        listing = Listing()
        recorded = (record["path"] for dataset in datasets for record in dataset.records)
        located = (self._locate(path) for path in recorded if not is_remote(path))
        paths = {listing.follow(path)[0] for path in located if isinstance(path, str)}
        folders = {os.path.realpath(os.path.dirname(path)) for path in paths}  # noqa: PTH120
        root = os.path.realpath(self._root)
        outside = sorted(one for one in folders if not f"{one}/".startswith(f"{root}/"))
        if len(outside) <= _MAX_FOLDERS:
            return outside
        above = {"/".join(one.split("/")[:3]) for one in outside}
        return sorted(above) if len(above) <= _MAX_FOLDERS else [os.path.commonpath(outside)]

    def _export(self, datasets: Sequence[DatasetDetails]) -> dict[str, Any]:
        universe = self._butler.dimensions
        return {
            "description": "Butler Data Repository Export",
            "version": FORMAT_VERSION,
            "universe_version": universe.version,
            "universe_namespace": universe.namespace,
            "data": [
                *self._collections(datasets),
                *self._datasets(datasets),
                *_associations(datasets),
            ],
        }

    def _collections(self, datasets: Sequence[DatasetDetails]) -> Iterator[dict[str, Any]]:
        names = dict.fromkeys(dataset.run for dataset in datasets)
        for dataset in datasets:
            names.update(dict.fromkeys((*dataset.tags, *(name for name, _ in dataset.ranges))))
        for name in names:
            info = self._butler.collections.get_info(name)
            item: dict[str, Any] = {"type": "collection", "collection_type": info.type.name, "name": name}
            if info.type is CollectionType.RUN:
                item |= {"host": None, "timespan_begin": None, "timespan_end": None}
            if doc := self._butler.registry.getCollectionDocumentation(name):
                item["doc"] = doc
            yield item

    def _datasets(self, datasets: Sequence[DatasetDetails]) -> Iterator[dict[str, Any]]:
        groups: defaultdict[tuple[str, str], list[DatasetDetails]] = defaultdict(list)
        for dataset in datasets:
            groups[dataset.dataset_type, dataset.run].append(dataset)
        for name in dict.fromkeys(name for name, _ in groups):
            kind = self._butler.get_dataset_type(name)
            yield {
                "type": "dataset_type",
                "name": name,
                "dimensions": list(kind.dimensions.names),
                "storage_class": kind.storageClass_name,
                "is_calibration": kind.isCalibration(),
            }
        for (name, run), members in groups.items():
            yield {"type": "dataset", "dataset_type": name, "run": run, "records": list(_records(members))}


def _records(datasets: Iterable[DatasetDetails]) -> Iterator[dict[str, Any]]:
    """Yield the records of an export: one for each artifact, which can be that of several datasets."""
    shared: defaultdict[Any, list[DatasetDetails]] = defaultdict(list)
    for dataset in datasets:
        artifact = dataset.records[0] if len(dataset.records) == 1 else None
        shared[(artifact["path"], artifact["formatter"]) if artifact else dataset.id].append(dataset)
    for members in shared.values():
        records = members[0].records
        yield {
            "dataset_id": [dataset.id for dataset in members],
            "data_id": [dataset.data_id for dataset in members],
            # A disassembled dataset has several artifacts, for which an export has no words.
            "path": records[0]["path"] if len(records) == 1 else None,
            "formatter": records[0]["formatter"] if len(records) == 1 else None,
            "datastore_records": records,
        }


def _associations(datasets: Iterable[DatasetDetails]) -> Iterator[dict[str, Any]]:
    tags: defaultdict[str, list[uuid.UUID]] = defaultdict(list)
    ranges: defaultdict[str, defaultdict[Timespan, list[uuid.UUID]]] = defaultdict(lambda: defaultdict(list))
    for dataset in datasets:
        for name in dataset.tags:
            tags[name].append(dataset.id)
        for name, timespan in dataset.ranges:
            ranges[name][timespan].append(dataset.id)
    for name, ids in tags.items():
        yield {
            "type": "associations",
            "collection": name,
            "collection_type": CollectionType.TAGGED.name,
            "dataset_ids": ids,
        }
    for name, by_timespan in ranges.items():
        yield {
            "type": "associations",
            "collection": name,
            "collection_type": CollectionType.CALIBRATION.name,
            "validity_ranges": [
                {"timespan": timespan, "dataset_ids": ids} for timespan, ids in by_timespan.items()
            ],
        }


def _make_as_parent(folder: Path) -> None:
    """Make a folder that whoever may use the one above may use, whatever the umask: the next to prune is another."""
    folder.mkdir()
    # Some file systems have no modes.
    with contextlib.suppress(OSError):
        folder.chmod(folder.parent.stat().st_mode & 0o2777)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
