"""How a command shows its progress on standard error: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

__all__ = ["shown_progress"]

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ..progress import Meter, Progress, Report
from ..wording import visible


@contextmanager
def shown_progress(what: str) -> Iterator[Progress]:
    """Show how far a verb has come.

    Without a terminal that is a line every five seconds, or
    ``BUTLER_REPLICA_PROGRESS_SECONDS``, and none for what takes less.

    Parameters
    ----------
    what : `str`
        What is worked on.

    Yields
    ------
    progress : `~collections.abc.Callable`
        Takes the verb's reports.
    """
    console = Console(stderr=True)
    is_for_eyes = sys.stderr.isatty() and not console.is_dumb_terminal
    with _bar(what, console) if is_for_eyes else _lines(what) as show:
        yield show


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Progress]:
    meter = Meter(what)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(visible(what), total=None, counts="")

        def show(report: Report) -> None:
            bars.update(
                bar,
                completed=report.done,
                total=report.total,
                description=meter.doing(report),
                counts=meter.counts(report),
            )

        yield show


@contextmanager
def _lines(what: str) -> Iterator[Progress]:
    meter = Meter(what)
    interval = float(os.environ.get("BUTLER_REPLICA_PROGRESS_SECONDS", "5"))
    shown_at = started = time.monotonic()
    unshown: Report | None = None

    def show(report: Report) -> None:
        nonlocal shown_at, unshown
        line = meter.line(report)
        unshown = report
        if time.monotonic() - shown_at >= interval:
            click.echo(line, err=True)
            shown_at, unshown = time.monotonic(), None

    yield show
    if unshown is not None and time.monotonic() - started >= interval:
        click.echo(meter.line(unshown), err=True)
