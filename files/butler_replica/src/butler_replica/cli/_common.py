"""What every command of the command line shares."""

from __future__ import annotations

__all__ = [
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
from typing import ParamSpec

import click

from ..errors import ReplicaError
from ..options import ImportOptions, Option, options_of
from ..results import Result
from ..wording import ReaderConsole
from ..wording import as_json as to_json

P = ParamSpec("P")


repo_argument = click.argument("repo", metavar="REPO")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Report what would be done; the repository is opened read-only."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output and nothing else."
)


def _import_option(option: Option) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return an option of the definition as one of a command; what can be a list is given several times."""
    description = option.description[0].replace("``", "")
    if option.kind == "flag":
        return click.option(_flag(option.name), is_flag=True, help=description)
    if option.kind == "choice":
        return click.option(
            _flag(option.name),
            type=click.Choice(option.choices),
            default=option.default,
            show_default=True,
            help=description,
        )
    if option.kind in ("folders", "rules", "texts"):
        return click.option(
            _flag(option.name.removesuffix("s")),
            option.name,
            multiple=True,
            metavar=option.metavar,
            help=f"{description} Can be given several times.",
        )
    return click.option(_flag(option.name), metavar=option.metavar, help=description)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


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
    for option in reversed(options_of(ImportOptions)):
        command = _import_option(option)(command)
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
