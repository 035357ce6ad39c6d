"""``butler-replica chain``."""

from __future__ import annotations

__all__ = ["chain"]

import click

from ..collections.ensure import set_chain
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.argument("name", metavar="NAME")
@click.argument("children", metavar="CHILD...", nargs=-1, required=True)
@click.option("--doc", help="Documentation of the chain; stays as it is if not given.")
@dry_run_option
@json_option
@reports_errors
def chain(
    repo: str, name: str, children: tuple[str, ...], *, doc: str | None, dry_run: bool, as_json: bool
) -> None:
    """Let the CHAINED collection NAME search CHILD... in this order.

    The chain is made if there is none. Children that it has already and that
    are not named stay at its end; one that does not exist is reported as open,
    and gets its place when it comes.
    """
    report(set_chain(repo, name, children, doc=doc, dry_run=dry_run), as_json=as_json)
