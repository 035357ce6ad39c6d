"""``butler-replica credentials``."""

from __future__ import annotations

__all__ = ["credentials"]

import sys

import click

from ..repository.access import ensure_credentials
from ._common import dry_run_option, json_option, report, reports_errors


@click.command()
@click.argument("url", metavar="URL")
@click.argument("username", metavar="USERNAME")
@click.option(
    "--path",
    default="~/.lsst/db-auth.yaml",
    show_default=True,
    metavar="FILE",
    help="The credentials file of the butler.",
)
@dry_run_option
@json_option
@reports_errors
def credentials(url: str, username: str, *, path: str, dry_run: bool, as_json: bool) -> None:
    """Ensure that the butler finds USERNAME and a password for the database URL.

    The password is asked for on a terminal, and otherwise the first line of
    standard input: on a command line everybody could read it.
    """
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("Give the password on standard input.")
    result = ensure_credentials(path, url=url, username=username, password=password, dry_run=dry_run)
    report(result, as_json=as_json)
