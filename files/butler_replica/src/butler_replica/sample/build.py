"""Make the sample: a miniature DC2 in the layout of the real data."""

from __future__ import annotations

__all__ = ["SampleResult", "make_sample"]

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..errors import ArtifactError, RefusedError, ReplicaError
from ..interrupts import ended_by_signals
from ..results import Difference, Result
from .artifacts import make_artifact
from .dc2 import INSTRUMENT
from .exports import PlannedExport, plan_exports, write_export
from .plan import BACKUP, FOLDERS
from .source import SourceRepository

MANIFEST = ".dc2-sample.json"
"""File in the sample's folder: how the sample was made and what it holds."""

_LAYOUT = 1
"""Version of what a sample of given parameters consists of."""

_MAX_LISTED = 10
"""Missing artifacts of a dataset type that a result names; the manifest names all."""

_STALE_CONFIGURATION = """\
# Left over from the old site: neither its database nor its host exists any more.
datastore:
  cls: lsst.daf.butler.datastores.fileDatastore.FileDatastore
  root: <butlerRoot>
registry:
  db: postgresql://registry.ncsa.invalid:5432/lsstdb1
  namespace: dc2_20210215
"""


@dataclass
class SampleResult(Result):
    """What was made, or would be."""

    directory: Path
    exposures: int
    detectors: int
    changed: bool = False
    dry_run: bool = False
    datasets: dict[str, int] = field(default_factory=dict)
    """Datasets by dataset type."""

    missing: dict[str, list[str]] = field(default_factory=dict)
    """Paths (within the old site's repository) of artifacts that are nowhere, by dataset type."""

    exports: list[str] = field(default_factory=list)
    """Export files, relative to the folder."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data; of the missing artifacts, some are named."""
        return {
            "dry_run": self.dry_run,
            "directory": str(self.directory),
            "exposures": self.exposures,
            "detectors": self.detectors,
            "datasets": self.datasets,
            "missing": {name: len(paths) for name, paths in self.missing.items()},
            "missing_artifacts": {name: paths[:_MAX_LISTED] for name, paths in self.missing.items()},
            "exports": self.exports,
        }

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        after = "".join(
            f"{name}: {number} datasets, {len(self.missing.get(name, ()))} artifacts missing\n"
            for name, number in self.datasets.items()
        )
        yield Difference(f"sample in {self.directory}", "", after)

    def show(self, console: Console) -> None:
        """Print the result for a reader."""
        table = Table(
            "dataset type", "datasets", "artifacts missing", title=f"Sample DC2 in {self.directory}"
        )
        for name, number in sorted(self.datasets.items()):
            table.add_row(name, str(number), str(len(self.missing.get(name, ()))))
        console.print(table)
        state = "unchanged" if not self.changed else "not written" if self.dry_run else "written"
        console.print(f"{len(self.exports)} export files, {state}.")


def make_sample(
    directory: Path, *, exposures: int = 6, detectors: int = 3, dry_run: bool = False
) -> SampleResult:
    """Make the sample.

    Nothing is ever deleted. A sample that is complete is left alone, one that
    was interrupted is continued.

    Parameters
    ----------
    directory : `pathlib.Path`
        Folder of the sample: new, with a sample of the same size, or without
        the folders that a sample consists of.
    exposures : `int`, optional
        Number of exposures.
    detectors : `int`, optional
        Number of detectors that have datasets; all 189 are registered.
    dry_run : `bool`, optional
        Only report what would be made.

    Returns
    -------
    result : `SampleResult`
        What was made.

    Raises
    ------
    RefusedError
        Raised if the folder holds another sample, or somebody's data.
    ReplicaError
        Raised for a size that cannot be, or if the folder cannot be written.
    """
    limit = len(INSTRUMENT.detectors)
    if exposures < 2 or not 2 <= detectors <= limit:
        raise ReplicaError(
            f"A sample has 2 or more exposures and 2 to {limit} detectors, not {exposures} and {detectors}."
        )
    wanted = SampleResult(directory.absolute(), exposures, detectors, dry_run=dry_run)
    try:
        with ended_by_signals():
            return _existing(wanted) or _build(wanted)
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or directory}: the sample cannot be written: {error.strerror or error}."
        ) from error


def _build(wanted: SampleResult) -> SampleResult:
    with tempfile.TemporaryDirectory(prefix="dc2-sample-") as folder:
        source = SourceRepository(Path(folder), wanted.exposures, wanted.detectors)
        exports = list(plan_exports(source))
        result = _describe(wanted, source, exports)
        if not wanted.dry_run:
            _write(result, source, exports)
        return result


def _existing(wanted: SampleResult) -> SampleResult | None:
    """Look for a sample that is there already; refuse what is anything else."""
    directory = wanted.directory
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise RefusedError(f"{directory}: is no folder. Name one, or a new one, for the sample.")
    manifest = directory / MANIFEST
    if not manifest.exists():
        # Other folders, such as that of the replica, are nobody's business.
        others = [name for name in FOLDERS if (directory / name).exists()]
        if others:
            raise RefusedError(
                f"{directory}: holds {', '.join(others)}, which are not of a sample. "
                "Name a folder without them for the sample."
            )
        return None
    try:
        found = json.loads(manifest.read_text())
        size = (found["layout"], found["exposures"], found["detectors"])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"{manifest}: does not describe a sample ({error}). Name another folder."
        ) from error
    if size != (_LAYOUT, wanted.exposures, wanted.detectors):
        raise RefusedError(
            f"{directory}: holds a sample of {size[1]} exposures and {size[2]} detectors (layout {size[0]}), not of "
            f"{wanted.exposures} and {wanted.detectors} (layout {_LAYOUT}). Ask for that one or name another folder."
        )
    if not found["complete"]:
        return None
    return replace(wanted, **{key: found[key] for key in ("datasets", "missing", "exports")})


def _describe(
    result: SampleResult, source: SourceRepository, exports: Iterable[PlannedExport]
) -> SampleResult:
    """Add what a sample consists of."""
    missing = {
        name: [dataset.path for dataset in datasets if not dataset.folders]
        for name, datasets in source.datasets.items()
    }
    return replace(
        result,
        changed=True,
        datasets={name: len(datasets) for name, datasets in source.datasets.items()},
        missing={name: paths for name, paths in missing.items() if paths},
        exports=[str(export.path) for export in exports],
    )


def _write(result: SampleResult, source: SourceRepository, exports: Iterable[PlannedExport]) -> None:
    """Write the sample: artifacts, exports and, last, that it is complete."""
    directory = result.directory
    directory.mkdir(parents=True, exist_ok=True)
    _write_manifest(result, complete=False)
    for dataset in itertools.chain.from_iterable(source.datasets.values()):
        if dataset.folders:
            content = make_artifact(dataset.ref)
            for folder in dataset.folders:
                path = directory / folder / dataset.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    (directory / BACKUP / "butler.yaml").write_text(_STALE_CONFIGURATION)
    for export in exports:
        write_export(source, directory, export)
    _write_manifest(result, complete=True)


def _write_manifest(result: SampleResult, *, complete: bool) -> None:
    content = {
        "layout": _LAYOUT,
        "exposures": result.exposures,
        "detectors": result.detectors,
        "complete": complete,
        "datasets": result.datasets,
        "missing": result.missing,
        "exports": result.exports,
    }
    path = result.directory / MANIFEST
    new = path.with_name(f"{MANIFEST}.new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)
