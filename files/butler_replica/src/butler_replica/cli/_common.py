"""What every command of the command line shares."""

from __future__ import annotations

__all__ = [
    "Result",
    "dry_run_option",
    "import_options",
    "json_option",
    "repo_argument",
    "report",
    "reports_errors",
]

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import click
from rich.console import Console

from ..artifacts.listing import PLACEHOLDERS
from ..artifacts.transfer import TRANSFER_MODES
from ..errors import ReplicaError
from ..imports.formatters import UNKNOWN_FORMATTERS
from ..wording import ReaderConsole
from ..wording import as_json as to_json

P = ParamSpec("P")


class Result(Protocol):
    """What a verb did, or would do."""

    @property
    def changed(self) -> bool:
        """Whether the repository was changed, or would be."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        ...

    def show(self, console: Console) -> None:
        """Print the result for a reader."""
        ...


repo_argument = click.argument("repo", metavar="REPO")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done; the repository is opened read-only."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output and nothing else."
)


_IMPORT_OPTIONS = (
    click.option(
        "--artifacts",
        type=click.Path(path_type=Path),
        help="Folder where relative artifact paths begin; the folder of each export file if not given.",
    ),
    click.option(
        "--rewrite",
        multiple=True,
        metavar="OLD=NEW",
        help="Artifact paths or URIs that begin with OLD begin with NEW here; can be given several times.",
    ),
    click.option(
        "--root",
        "roots",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Take artifacts from below DIR, too, beside the folders of the export, --artifacts and --rewrite; can be "
        "given several times.",
    ),
    click.option(
        "--collections",
        type=click.Choice(["keep", "drop-chains", "drop", "associations"]),
        default="keep",
        show_default=True,
        help="Collections to take: all, all but the CHAINED ones, only the runs that datasets need; or nothing but "
        "associations with TAGGED and CALIBRATION collections, of datasets that are there already.",
    ),
    click.option(
        "--missing",
        type=click.Choice(["fail", "skip", "register"]),
        default="fail",
        show_default=True,
        help="A dataset whose artifact is missing: fail its file, leave it out, or only register it.",
    ),
    click.option(
        "--placeholders",
        type=click.Choice(PLACEHOLDERS),
        default="missing",
        show_default=True,
        help="An empty file or a Git LFS pointer in place of an artifact: it is missing, or taken as it is.",
    ),
    click.option(
        "--formatter",
        "formatters",
        multiple=True,
        metavar="PACKAGE",
        help="Trust the formatters of PACKAGE, too, beside those of lsst: whoever reads a dataset imports and calls "
        "its formatter; can be given several times.",
    ),
    click.option(
        "--unknown-formatters",
        type=click.Choice(UNKNOWN_FORMATTERS),
        default="notice",
        show_default=True,
        help="Formatters of other packages: name them, or refuse their file.",
    ),
    click.option(
        "--transfer",
        type=click.Choice(TRANSFER_MODES),
        default="symlink",
        show_default=True,
        help="How artifacts become the repository's.",
    ),
    click.option(
        "--run",
        "runs",
        multiple=True,
        metavar="RUN",
        help="Make this run whether datasets need it or not; can be given several times.",
    ),
    click.option(
        "--register",
        is_flag=True,
        help="Make dimension records of LSSTCam-imSim and of the skymap DC2 that datasets need and nobody has.",
    ),
    click.option(
        "--exclusive",
        is_flag=True,
        help="Let others who use the PostgreSQL database wait, even to read: large imports are faster then.",
    ),
)


def import_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add the options of an import: how the exports are, or were, imported.

    Parameters
    ----------
    command : `~collections.abc.Callable`
        The body of a command, which takes them by name.

    Returns
    -------
    wrapped : `~collections.abc.Callable`
        The same command.
    """
    for option in reversed(_IMPORT_OPTIONS):
        command = option(command)
    return command


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a `ReplicaError` into its message on standard error and exit status 1.

    Parameters
    ----------
    command : `~collections.abc.Callable`
        The body of a command. It takes ``as_json`` where it has that option.

    Returns
    -------
    wrapped : `~collections.abc.Callable`
        The same command.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ReplicaError as error:
            if kwargs.get("as_json"):
                click.echo(to_json({"error": str(error), "type": type(error).__name__}))
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)

    return wrapped


def report(result: Result, *, as_json: bool) -> None:
    """Print a result, as JSON or for a reader.

    Parameters
    ----------
    result : `Result`
        What to print.
    as_json : `bool`
        Print one JSON object and nothing else.
    """
    if as_json:
        click.echo(to_json({"changed": result.changed, **result.to_dict()}))
    else:
        result.show(ReaderConsole())
