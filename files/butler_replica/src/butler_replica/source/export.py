"""Exporting: what a repository holds, written down as files that any butler imports."""

from __future__ import annotations

__all__ = ["ArtifactsMode", "ExportFormat", "PathForm", "export"]

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lsst.daf.butler import Butler

from ..errors import ReplicaError
from ..exports.writer import write_export
from ..internals import Locations, file_uri, is_plain
from ..local_paths import local_path
from ..options import MissingPolicy
from ..progress import Progress, Report
from ..session.reading import reading
from .butler import ButlerSource
from .export_result import ExportedType, ExportResult
from .filling import Rename
from .folder import ExportFolder, WrittenFile
from .model import Artifact, SourceFile
from .selection import Selection

ArtifactsMode = Literal["list", "none"]
ExportFormat = Literal["yaml", "yaml.gz"]
PathForm = Literal["stored", "absolute", "relative"]

CHUNK = 10_000
"""Datasets in one export file."""


def export(
    source: str | Path,
    out: str | Path,
    *,
    dataset_types: Sequence[str] = ("*",),
    collections: Sequence[str] = ("*",),
    where: str = "",
    chunk: int = CHUNK,
    artifacts: ArtifactsMode = "list",
    format: ExportFormat = "yaml",
    paths: PathForm = "stored",
    missing: MissingPolicy = "register",
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Export datasets of a repository, with all that they need, as files that the stock butler imports, too.

    There is one folder for each dataset type. Each file is complete in itself
    and complete or not there, and the same source gives the same bytes.

    Parameters
    ----------
    source : `str` or `pathlib.Path`
        The repository, which is only read: folder, ``butler.yaml`` or label.
    out : `str` or `pathlib.Path`
        Folder to write to: empty, or not there.
    dataset_types : `~collections.abc.Sequence` [ `str` ], optional
        Names and globs of dataset types.
    collections : `~collections.abc.Sequence` [ `str` ], optional
        Names and globs of collections; of a chain all that is in it. Tags,
        validity ranges and chains come as the source has them.
    where : `str`, optional
        An expression in the butler's own language.
    chunk : `int`, optional
        Largest number of datasets in one file.
    artifacts : `str`, optional
        ``list`` writes the artifacts of each dataset type to ``_files.txt``,
        path, size in bytes and checksum, as far as the source knows them;
        ``none`` does not.
    format : `str`, optional
        ``yaml`` or ``yaml.gz``.
    paths : `str`, optional
        How artifacts are named. ``stored`` as the source records them,
        ``absolute`` with the whole path or URI, ``relative`` below the
        source's datastore wherever they lie there.
    missing : `str`, optional
        What a dataset does that is in the source's registry alone. ``fail``
        ends the export, ``skip`` leaves it out, ``register`` exports it
        without a path, which the stock importer does not take.
    resume : `bool`, optional
        Continue an export of the same that is there.
    dry_run : `bool`, optional
        Write nothing.
    progress : `~collections.abc.Callable`, optional
        Called while it goes on.

    Returns
    -------
    result : `ExportResult`
        What was exported.

    Raises
    ------
    ReplicaError
        Raised if the source has not what is asked for, or ``out`` holds
        anything else.
    """
    if chunk < 1:
        raise ReplicaError(f"chunk is {chunk}: a file holds one dataset at least.")
    root = local_path(out)
    selection = Selection(tuple(dataset_types) or ("*",), tuple(collections) or ("*",), where)
    with reading(source) as butler:
        _keep_out_of_source(root, butler)
        asked = {
            "source": str(source),
            "universe": f"{butler.dimensions.namespace} {butler.dimensions.version}",
            "versions": {name: version(name) for name in ("butler-replica", "lsst-daf-butler")},
            "dataset_types": list(selection.dataset_types),
            "collections": list(selection.collections),
            "where": where,
            "chunk": chunk,
            "artifacts": artifacts,
            "format": format,
            "paths": paths,
            "missing": missing,
        }
        folder = ExportFolder(root, asked)
        work = _Export(ButlerSource(butler, selection), folder, asked, ExportResult(str(root), dry_run))
        with folder.opened(resume=resume, dry_run=dry_run):
            work.write(_naming(butler, paths), progress)
        return work.result


class _Export:
    """An export that is being written."""

    def __init__(
        self, source: ButlerSource, folder: ExportFolder, asked: dict[str, Any], result: ExportResult
    ) -> None:
        self._source = source
        self._folder = folder
        self._asked = asked
        self.result = result

    def write(self, rename: Rename, progress: Progress | None) -> None:
        """Write what is not there yet."""
        kinds = list(self._source.kinds())
        chunk = self._asked["chunk"]
        total = sum(kind.total for kind in kinds)
        of_files = sum(-(-kind.total // chunk) for kind in kinds)
        if self.result.dry_run and not self._folder.is_continued:
            for kind in kinds:
                n_files = -(-kind.total // chunk)
                self.result.dataset_types[kind.name] = ExportedType(kind.total, n_files, n_files)
            return
        if self._source.is_whole:
            for file in self._source.registry_files(chunk):
                self._add(file, self.result.registry)
        done = files = 0
        for kind in kinds:
            counts = self.result.dataset_types[kind.name] = ExportedType(kind.total)
            with self._folder.listing(kind.name if self._asked["artifacts"] == "list" else None) as listing:
                for file in self._source.files(kind, chunk, missing=self._asked["missing"], rename=rename):
                    if file.content.n_datasets:
                        self._add(file, counts)
                        listing.writelines(map(_listed, file.artifacts))
                    counts.without_artifact += file.without_artifact
                    done += file.content.n_datasets
                    files += 1
                    if progress is not None:
                        progress(Report(done, total, done, files, of_files, kind.name))

    def _add(self, file: SourceFile, counts: ExportedType) -> None:
        described = _described(file, self._asked["format"])
        counts.files += 1
        counts.artifacts += described.artifacts
        counts.bytes += described.artifact_bytes
        if self._folder.has(described):
            return
        counts.written += 1
        if not self.result.dry_run:
            self._folder.write(described, partial(write_export, file.content))


def _listed(artifact: Artifact) -> str:
    return f"{artifact.path}\t{'' if artifact.size is None else artifact.size}\t{artifact.checksum or ''}\n"


def _described(file: SourceFile, form: str) -> WrittenFile:
    content = file.content
    said = hashlib.sha256()
    for block in content.blocks:
        for chunk in block.records.chunks():
            said.update(b"".join(chunk.ids))
    for part in (
        content.collections,
        content.dataset_types,
        content.tags,
        content.certifications,
        file.artifacts,
    ):
        said.update(repr(part).encode())
    return WrittenFile(
        path=f"{content.path.with_suffix('')}.{form}",
        datasets=content.n_datasets,
        dimension_records=sum(map(len, content.dimensions.values())),
        without_artifact=file.without_artifact,
        artifacts=len(file.artifacts),
        artifact_bytes=sum(one.size or 0 for one in file.artifacts),
        first=content.blocks[0].records.first if content.blocks else {},
        last=content.blocks[-1].records.last if content.blocks else {},
        identity=said.hexdigest(),
    )


def _keep_out_of_source(out: Path, butler: Butler) -> None:
    root = Locations.of(butler).root
    if os.path.realpath(out) == os.path.realpath(root) or os.path.realpath(out).startswith(
        f"{os.path.realpath(root)}/"
    ):
        raise ReplicaError(f"{out}: lies in the source, to which nothing is written. Take another folder.")


def _naming(butler: Butler, form: PathForm) -> Rename:
    locations = Locations.of(butler)

    def absolute(path: str) -> str:
        found = locations.find(path)
        if isinstance(found, str):
            return found if is_plain(found) else file_uri(found)
        return str(found.geturl())

    def relative(path: str) -> str:
        found = locations.find(path)
        if isinstance(found, str) and found.startswith(f"{locations.root}/"):
            return locations.record(found)
        return path

    forms: dict[PathForm, Rename] = {"stored": str, "absolute": absolute, "relative": relative}
    return forms[form]
