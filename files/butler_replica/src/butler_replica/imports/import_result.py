"""Importing export files into a repository."""

from __future__ import annotations

__all__ = ["FileResult", "ImportResult", "import_exports"]

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import internals
from ..artifacts.listing import Listing
from ..collections.chains import ChainResult, Collections, apply_chains
from ..errors import ConflictError, ReplicaError
from ..exports.ahead import ReadAhead
from ..exports.files import find_exports
from ..exports.model import ExportFile
from ..options import ImportOptions
from ..progress import Progress, Report
from ..session.writing import OpenRepository, opened
from ..sets import parse_options
from ..wording import visible
from .apply import apply_plan
from .datasets import LISTED, MissingArtifact
from .file_plan import FilePlan
from .plan import make_plan
from .ways import STAGED_FROM, Ways


@dataclass
class FileResult:
    """What importing one export file did, or would do."""

    path: str
    found: int
    inserted: int
    present: int
    missing: int
    stored: int
    """Datasets whose artifact was put into the datastore."""

    artifacts_added: int
    """Datasets among them that were registered before, without artifact."""

    artifacts_renewed: int
    """Datasets among them that were stored before, and whose artifact was lost, or lay elsewhere."""

    dimension_records: int
    """New dimension records."""

    dataset_types: list[str]
    collections: list[str]
    associations: int
    """New associations with TAGGED and CALIBRATION collections."""

    associations_dropped: int
    """Associations of datasets that were left out."""

    notices: list[str]
    changed: bool


@dataclass
class ImportResult:
    """What an import did, or would do."""

    dry_run: bool = False
    files: list[FileResult] = field(default_factory=list)
    chains: dict[str, list[str]] = field(default_factory=dict)
    """Children of the chains that were made or completed."""

    open_chains: dict[str, list[str]] = field(default_factory=dict)
    """Children that chains of the exports lack, because there is no such collection yet."""

    missing: list[MissingArtifact] = field(default_factory=list)
    """The first of the missing artifacts."""

    inserted: dict[tuple[str, str], int] = field(default_factory=dict)
    """New datasets by dataset type and run."""

    note: str = ""
    """What the user has to say of the exports."""

    @property
    def changed(self) -> bool:
        """Whether the repository was changed, or would be."""
        return bool(self.chains) or any(file.changed for file in self.files)

    def total(self, name: str) -> int:
        """Sum a count over all files.

        Parameters
        ----------
        name : `str`
            A count of `FileResult`.

        Returns
        -------
        total : `int`
            Its sum.
        """
        return sum(getattr(file, name) for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "dry_run": self.dry_run,
            "datasets": {
                name: self.total(name)
                for name in ("found", "inserted", "present", "missing", "stored", "artifacts_added")
            },
            "artifacts_renewed": self.total("artifacts_renewed"),
            "dimension_records": self.total("dimension_records"),
            "associations": self.total("associations"),
            "associations_dropped": self.total("associations_dropped"),
            "files": [asdict(file) for file in self.files],
            "chains": self.chains,
            "open_chains": self.open_chains,
            "missing": [missing._asdict() for missing in self.missing],
            "inserted": [
                {"dataset_type": kind, "run": run, "count": count}
                for (kind, run), count in sorted(self.inserted.items())
            ],
        }

    def diff(self) -> list[dict[str, str]]:
        """Return what is new, as one Ansible diff."""
        if not self.changed:
            return []
        lines = [
            visible(f"{kind} in {run}: {count} datasets")
            for (kind, run), count in sorted(self.inserted.items())
        ]
        for file in self.files:
            lines += [visible(f"dataset type {name}") for name in file.dataset_types]
            lines += [visible(f"collection {name}") for name in file.collections]
        for label in ("dimension_records", "artifacts_added", "artifacts_renewed", "associations"):
            if count := self.total(label):
                lines.append(f"{label.replace('_', ' ')}: {count}")
        lines += [visible(f"chain {name} -> {', '.join(children)}") for name, children in self.chains.items()]
        return [
            {
                "before_header": "repository",
                "after_header": "repository with the exports",
                "before": "",
                "after": "\n".join(lines) + "\n",
            }
        ]

    def show(self, console: Console) -> None:
        """Print the result for a reader."""
        title = "Would be imported" if self.dry_run else "Imported"
        if self.note:
            console.print(visible(self.note), markup=False, highlight=False, soft_wrap=True)
        table = Table(title=f"{title}: {len(self.files)} export files", title_justify="left")
        table.add_column("dataset type")
        table.add_column("run")
        table.add_column("inserted", justify="right")
        for (kind, run), count in sorted(self.inserted.items()):
            table.add_row(kind, run, f"{count:,}")
        if self.inserted:
            console.print(table)
        else:
            console.print(f"{title}: no new dataset, from {len(self.files)} export files.")
        console.print(
            f"Datasets: {self.total('found'):,} found, {self.total('inserted'):,} inserted, "
            f"{self.total('present'):,} present, {self.total('missing'):,} without artifact. "
            f"Artifacts: {self.total('stored'):,}. Dimension records: {self.total('dimension_records'):,}."
        )
        if dropped := self.total("associations_dropped"):
            console.print(
                f"Associations: {self.total('associations'):,}; {dropped:,} left out, whose datasets are not here."
            )
        if renewed := self.total("artifacts_renewed"):
            console.print(f"{renewed:,} of these artifacts were no longer where the repository had them.")
        for missing in self.missing[:10]:
            console.print(
                f"  missing: {missing.path} ({missing.reason})", markup=False, highlight=False, soft_wrap=True
            )
        if (more := self.total("missing") - 10) > 0:
            console.print(f"  and {more:,} more")
        for name, children in self.open_chains.items():
            console.print(
                f"  open: chain {name} waits for {', '.join(children)}", markup=False, soft_wrap=True
            )
        for notice in dict.fromkeys(notice for file in self.files for notice in file.notices):
            console.print(f"  {notice}", markup=False, soft_wrap=True)
        if not self.changed:
            console.print("Nothing changed.")


def import_exports(
    repo: str | Path,
    exports: Iterable[str | Path],
    options: ImportOptions | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    staged_from: int = STAGED_FROM,
    **given: Any,
) -> ImportResult:
    """Import export files into a repository.

    Each file is one transaction. What is there already is left alone, so that
    a run can be repeated and continued at will. The exports and the folders
    of the artifacts are only read.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        The repository: folder, ``butler.yaml`` or label.
    exports : `~collections.abc.Iterable` [ `str` or `pathlib.Path` ]
        Export files, folders of them, or globs.
    options : `~butler_replica.options.ImportOptions`, optional
        How they are imported; an import set will do.
    dry_run : `bool`, optional
        Say what would be done; the repository is opened read-only.
    progress : `~collections.abc.Callable`, optional
        Called while it works.
    staged_from : `int`, optional
        Datasets of an export from which they are compared and inserted set
        by set; a smaller export's are, one by one.
    **given
        Options by name, where there is no ``options``.

    Returns
    -------
    result : `ImportResult`
        What was done.

    Raises
    ------
    ReplicaError
        Raised if an export cannot be imported. Files before it in the order
        stay imported; the message names the file.
    """
    if options is None:
        options = parse_options(given)
    elif given:
        raise TypeError(f"{', '.join(given)}: given beside options")
    if options.artifacts is not None and not options.artifacts.is_dir() and options.missing == "fail":
        raise ReplicaError(f"{options.artifacts}: no such folder; the artifacts are expected in it.")
    paths = find_exports(exports)
    with opened(repo, dry_run=dry_run) as repository, Ways(repository.butler, staged_from) as ways:
        return _Importer(repository, options, ways).run(paths, progress)


class _Work:
    """Tells how far a run has come.

    Reading a file counts as a quarter of the work on it, comparing it as
    another one, writing as the rest.

    Parameters
    ----------
    paths : `~collections.abc.Sequence` [ `pathlib.Path` ]
        Export files.
    progress : `~collections.abc.Callable` or `None`
        Is told.
    result : `ImportResult`
        What was done so far.
    """

    def __init__(self, paths: Sequence[Path], progress: Progress | None, result: ImportResult) -> None:
        self._names = [path.name for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._progress = progress
        self._result = result
        self._bytes_done = 0
        self._n_done = 0

    def reading(self, number: int, position: int) -> None:
        self._tell(number, "reading", 0.25 * position / (self._sizes[number] or 1))

    def comparing(self, number: int, n_datasets: int, n_compared: int) -> None:
        self._tell(number, "comparing", 0.25 + 0.25 * n_compared / n_datasets, n_compared)

    def writing(self, number: int, n_artifacts: int, n_brought: int) -> None:
        self._tell(number, "writing", 0.5 + 0.5 * n_brought / n_artifacts if n_artifacts else 0.5)

    def done(self, number: int) -> None:
        self._n_done = number + 1
        self._bytes_done += self._sizes[number]
        self._tell(number, "done", 0.0)

    def _tell(self, number: int, doing: str, fraction: float, n_datasets: int = 0) -> None:
        if self._progress is not None:
            self._progress(
                Report(
                    self._bytes_done + int(fraction * self._sizes[number]),
                    sum(self._sizes),
                    self._result.total("found") + n_datasets,
                    self._n_done,
                    len(self._sizes),
                    f"{self._names[number]}: {doing}",
                )
            )


class _Importer:
    """One run over many export files.

    Parameters
    ----------
    repository : `~butler_replica.session.writing.OpenRepository`
        The repository.
    options : `~butler_replica.options.ImportOptions`
        How exports are imported.
    ways : `~butler_replica.imports.ways.Ways`
        Of which the datasets of each export take one.
    """

    def __init__(self, repository: OpenRepository, options: ImportOptions, ways: Ways) -> None:
        self._repository = repository
        self._butler = repository.butler
        self._options = options
        self._ways = ways
        self._dry_run = repository.dry_run
        self._listing = Listing()
        self._collections: Collections | None = None
        self.result = ImportResult(dry_run=self._dry_run, note=options.note)

    def run(self, paths: Sequence[Path], progress: Progress | None) -> ImportResult:
        work = _Work(paths, progress, self.result)
        with closing(ReadAhead(paths).exports(work.reading)) as ahead:
            for number, export in enumerate(ahead):
                with self._repository.locked():
                    comparing = partial(work.comparing, number, export.n_datasets)
                    try:
                        self._import(export, comparing, work, number)
                    except internals.UnsupportedError as error:
                        self._ways.give_up_staging(error)
                        self._import(export, comparing, work, number)
                work.done(number)
        return self.result

    def _import(self, export: ExportFile, comparing: Callable[[int], None], work: _Work, number: int) -> None:
        plan = make_plan(self._butler, export, self._options, self._listing, ways=self._ways, tell=comparing)
        try:
            chains = self._plan_chains(plan, {n: c.doc for n, c in export.collections.items()})
            if plan.changed and not self._dry_run:
                writing = partial(work.writing, number, plan.datasets.stored)
                writing(0)
                apply_plan(self._butler, plan, self._options.transfer, chains, writing)
            elif not self._dry_run:
                apply_chains(self._butler, chains)
        finally:
            plan.datasets.close()
        if notice := self._ways.notice(export.n_datasets):
            plan.notices.append(notice)
        if plan.datasets.outside:
            plan.notices.append(plan.datasets.outside_notice)
        self._note(plan)
        self._note_chains(chains, plan.chains)

    def _note(self, plan: FilePlan) -> None:
        result = self.result
        datasets = plan.datasets
        for (kind, run), count in datasets.inserted.items():
            result.inserted[kind, run] = result.inserted.get((kind, run), 0) + count
        result.missing += datasets.missing[: max(0, LISTED - len(result.missing))]
        associations = sum(len(refs) for refs in plan.tags.values()) + sum(
            len(refs) for groups in plan.certifications.values() for _, refs in groups
        )
        result.files.append(
            FileResult(
                path=str(plan.export),
                found=plan.found,
                inserted=datasets.inserted.total(),
                present=datasets.present,
                missing=datasets.n_missing,
                stored=datasets.stored,
                artifacts_added=datasets.artifacts_added,
                artifacts_renewed=datasets.artifacts_renewed,
                dimension_records=sum(len(records) for records in plan.dimension_records.values()),
                dataset_types=[kind.name for kind in plan.dataset_types],
                collections=[item.name for item in plan.collections],
                associations=associations,
                associations_dropped=plan.associations_dropped,
                notices=plan.notices,
                changed=plan.changed,
            )
        )

    def _plan_chains(self, plan: FilePlan, docs: Mapping[str, str | None]) -> list[ChainResult]:
        """Say which chains are made or completed; children that are not there yet stay open."""
        if self._collections is None or not self._dry_run:
            self._collections = Collections.of(self._butler)
        try:
            for item in plan.collections:
                self._collections.types.setdefault(item.name, item.type)
            for name, children in plan.chains.items():
                self._collections.ask(name, children, docs.get(name), reorder=False)
            return self._collections.complete()
        except ConflictError as error:
            raise ConflictError(f"{plan.export}: {error}") from error

    def _note_chains(self, chains: Iterable[ChainResult], named: Container[str]) -> None:
        result = self.result
        result.chains.update({chain.name: list(chain.after) for chain in chains if chain.changed})
        for chain in chains:
            if chain.name in named or chain.name in result.open_chains:
                result.open_chains[chain.name] = list(chain.open)
        result.open_chains = {name: missing for name, missing in result.open_chains.items() if missing}
