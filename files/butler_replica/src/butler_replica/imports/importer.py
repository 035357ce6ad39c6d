"""Importing export files into a repository."""

from __future__ import annotations

__all__ = ["import_exports"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from .. import internals
from ..artifacts.listing import Listing
from ..collections.chains import ChainResult, Collections, apply_chains
from ..dimensions.needed import RecordMaker
from ..errors import ConflictError, ReplicaError
from ..exports.ahead import ReadAhead
from ..exports.files import find_exports
from ..exports.model import ExportFile
from ..options import ImportOptions
from ..progress import Progress, Report
from ..session.writing import OpenRepository, opened
from ..sets import parse_options
from .apply import apply_plan
from .file_plan import FilePlan
from .import_result import ImportResult
from .plan import planned
from .ways import STAGED_FROM, Ways


def import_exports(
    repo: str | Path,
    exports: Iterable[str | Path],
    options: ImportOptions | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    maker: RecordMaker | None = None,
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
    maker : `~butler_replica.dimensions.needed.RecordMaker`, optional
        Who makes the dimension records that are missing, where the option
        ``register`` asks for that.
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
    if options.register and maker is None:
        raise TypeError("register: who makes the records (maker) is not given")
    if options.artifacts is not None and not options.artifacts.is_dir() and options.missing == "fail":
        raise ReplicaError(f"{options.artifacts}: no such folder; the artifacts are expected in it.")
    paths = find_exports(exports)
    with opened(repo, dry_run=dry_run) as repository, Ways(repository.butler, staged_from) as ways:
        return _Importer(repository, options, ways, maker).run(paths, progress)


class _Work:
    """Report how far a run has come.

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
    maker : `~butler_replica.dimensions.needed.RecordMaker` or `None`
        Who makes dimension records.
    """

    def __init__(
        self, repository: OpenRepository, options: ImportOptions, ways: Ways, maker: RecordMaker | None
    ) -> None:
        self._maker = maker
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
        options, ways, maker = self._options, self._ways, self._maker
        comparison = planned(
            self._butler, export, options, self._listing, ways=ways, maker=maker, tell=comparing
        )
        with comparison as (plan, way):
            chains = self._plan_chains(plan, {n: c.doc for n, c in export.collections.items()})
            if plan.changed and not self._dry_run:
                writing = partial(work.writing, number, plan.datasets.stored)
                writing(0)
                apply_plan(
                    self._butler,
                    plan,
                    way,
                    transfer_mode=self._options.transfer,
                    chains=chains,
                    tell=writing,
                )
            elif not self._dry_run:
                apply_chains(self._butler, chains)
        self.result.add(plan)
        self.result.add_chains(chains, plan.definitions.chains)

    def _plan_chains(self, plan: FilePlan, docs: Mapping[str, str | None]) -> list[ChainResult]:
        """Return which chains are made or completed; children that are not there yet stay open."""
        if self._collections is None or not self._dry_run:
            self._collections = Collections.of(self._butler)
        try:
            for item in plan.definitions.collections:
                self._collections.types.setdefault(item.name, item.type)
            for name, children in plan.definitions.chains.items():
                self._collections.ask(name, children, docs.get(name), reorder=False)
            return self._collections.complete()
        except ConflictError as error:
            raise ConflictError(f"{plan.export}: {error}") from error
