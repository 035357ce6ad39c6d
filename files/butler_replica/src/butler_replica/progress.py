"""How long work tells how far it has come."""

from __future__ import annotations

__all__ = ["Meter", "Progress", "Report"]

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from .wording import visible


class Report(NamedTuple):
    """How far a verb has come."""

    done: int
    """Of the work, in a unit of the verb's own: bytes of export files for an import; visits; tracts."""

    total: int
    datasets: int = 0
    """Datasets dealt with so far; 0 where they are not counted."""

    files: int = 0
    """Export files that are done."""

    of_files: int = 0
    doing: str = ""
    """What is going on, such as ``export_12.yaml: inserting``."""


Progress = Callable[[Report], None]
"""What a verb calls while it works, as often as it likes."""


class Meter:
    """Puts reports into words, with rate and time left.

    Parameters
    ----------
    what : `str`
        What is worked on: an import set, visits, tracts.
    """

    def __init__(self, what: str) -> None:
        self._what = visible(what)
        self._first: Report | None = None
        self._since = 0.0

    def doing(self, report: Report) -> str:
        """Return what is going on.

        Parameters
        ----------
        report : `Report`
            How far the verb has come.

        Returns
        -------
        doing : `str`
            A few words.
        """
        return visible(report.doing) or self._what

    def counts(self, report: Report) -> str:
        """Return how much is done, and how fast.

        Parameters
        ----------
        report : `Report`
            How far the verb has come.

        Returns
        -------
        counts : `str`
            Numbers for a reader.
        """
        if self._first is None:
            self._first, self._since = report, time.monotonic()
        if not report.of_files:
            return f"{report.done:,} of {report.total:,}"
        counts = f"{report.files:,} of {report.of_files:,} files"
        if report.datasets:
            counts += f", {report.datasets:,} datasets"
        seconds = time.monotonic() - self._since
        if (new := report.datasets - self._first.datasets) > 0 and seconds > 0:
            counts += f", {new / seconds:,.0f}/s"
        return counts

    def line(self, report: Report) -> str:
        """Return all that a report says, in one line.

        Parameters
        ----------
        report : `Report`
            How far the verb has come.

        Returns
        -------
        line : `str`
            A line for a reader.
        """
        line = f"{self._what}: {self.counts(report)}"
        assert self._first is not None  # noqa: S101 (counts sets it)
        seconds = time.monotonic() - self._since
        if report.done >= report.total:
            return f"{line}, after {_duration(seconds)}"
        line += f", {report.done / report.total:.0%}"
        if (new := report.done - self._first.done) > 0:
            line += f", {_duration(seconds * (report.total - report.done) / new)} left"
        return f"{line} ({self.doing(report)})" if report.doing else line


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
