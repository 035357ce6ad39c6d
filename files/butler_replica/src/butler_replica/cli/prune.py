"""``butler-replica prune``."""

from __future__ import annotations

__all__ = ["prune"]

import click

from .. import prune as verb
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.option(
    "--keep",
    multiple=True,
    metavar="TYPE",
    help="Dataset type (name or glob) that stays registered without artifacts; can be given several times.",
)
@click.option(
    "--allow-all", is_flag=True, help="Go on although not one artifact is on disk: they are gone for good."
)
@dry_run_option
@json_option
@reports_errors
def prune(repo: str, *, keep: tuple[str, ...], allow_all: bool, dry_run: bool, as_json: bool) -> None:
    """Remove the datasets of REPO whose artifact is not on disk from the registry.

    No file is removed. Try it with --dry-run first: it shows the counts by
    dataset type before and after.
    """
    report(verb.prune(repo, keep=keep, allow_all=allow_all, dry_run=dry_run), as_json=as_json)
