"""Which of the two ways the datasets of an export take into a repository: here it is chosen, and nowhere else."""

from __future__ import annotations

__all__ = ["STAGED_FROM", "Ways"]

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from lsst.daf.butler import Butler
from typing_extensions import override

from .. import internals
from .by_ref import DatasetsByRef
from .datasets import DatasetContext, PlannedDatasets
from .staged import StagedDatasets

STAGED_FROM = 1_000
"""Datasets of an export from which they are compared in the database, set by set."""


class Ways(AbstractContextManager["Ways"]):
    """The ways that there are into a repository, while it is imported into.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    staged_from : `int`, optional
        Datasets of an export from which they go set by set.
    """

    def __init__(self, butler: Butler, staged_from: int = STAGED_FROM) -> None:
        self._butler = butler
        self._staged_from = staged_from
        self._opened = ExitStack()
        self._staging: internals.Staging | None = None
        self._unsupported = ""
        """Why datasets cannot be staged."""

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def choose(self, context: DatasetContext, tell: Callable[[int], None]) -> PlannedDatasets:
        """Return the way of the datasets of an export.

        Parameters
        ----------
        context : `~butler_replica.imports.datasets.DatasetContext`
            What they are planned with.
        tell : `~collections.abc.Callable`
            Called with the number of datasets that have been looked at.

        Returns
        -------
        way : `~butler_replica.imports.datasets.PlannedDatasets`
            Set by set where there are many, else one by one.
        """
        if self._are_many(context.export.n_datasets) and (staging := self._staged()):
            return StagedDatasets(context, staging, tell)
        return DatasetsByRef(context)

    def give_up_staging(self, error: internals.UnsupportedError) -> None:
        """Take only the other way from now on.

        Parameters
        ----------
        error : `~butler_replica.internals.UnsupportedError`
            Says why.
        """
        self._staging, self._unsupported = None, str(error)

    def notice(self, n_datasets: int) -> str:
        """Return what a reader should know of the way of that many datasets, or an empty string."""
        if not (self._unsupported and self._are_many(n_datasets)):
            return ""
        return f"Datasets were compared and inserted one by one, many times slower: {self._unsupported}."

    def _are_many(self, n_datasets: int) -> bool:
        return n_datasets >= self._staged_from

    def _staged(self) -> internals.Staging | None:
        if self._staging is None and not self._unsupported:
            try:
                self._staging = self._opened.enter_context(internals.staging(self._butler))
            except internals.UnsupportedError as error:
                self.give_up_staging(error)
        return self._staging
