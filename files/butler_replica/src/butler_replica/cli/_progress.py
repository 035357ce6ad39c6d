"""A progress bar on standard error, where somebody is looking."""

from __future__ import annotations

__all__ = ["progress_bar"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a verb has come; nothing where standard error is no terminal.

    Parameters
    ----------
    what : `str`
        What is counted.

    Yields
    ------
    progress : `~collections.abc.Callable`
        Takes the number done and the number to do.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
