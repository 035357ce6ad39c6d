"""``butler-replica chain``."""

from __future__ import annotations

__all__ = ["chain"]

from pathlib import Path

import click

from ..collections.ensure import ensure_collections, set_chain
from ..sets import load_description
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.argument("name", metavar="[NAME]", required=False)
@click.argument("children", metavar="[CHILD]...", nargs=-1)
@click.option("--doc", help="Documentation of the chain NAME; stays as it is if not given.")
@click.option(
    "--collections",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with dc2_collections, instead of NAME and CHILD...: those that REPO needs are made.",
)
@click.option("--stage", help="Make only the chains of --collections with this stage. Default is all.")
@dry_run_option
@json_option
@reports_errors
def chain(
    repo: str,
    name: str | None,
    children: tuple[str, ...],
    *,
    doc: str | None,
    collections: Path | None,
    stage: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set the CHAINED collection NAME to search CHILD... in this order.

    The chain is made if there is none. Children that it has already and that
    are not named stay at its end; one that does not exist is reported as open,
    and gets its place when it comes.
    """
    if bool(name) == bool(collections) or (name and (stage or not children)) or (collections and doc):
        raise click.UsageError("Give either NAME and CHILD..., with --doc, or --collections, with --stage.")
    if collections:
        described = load_description(collections)[1]
        report(ensure_collections(repo, described, stage=stage, dry_run=dry_run), as_json=as_json)
    else:
        report(set_chain(repo, name or "", children, doc=doc, dry_run=dry_run), as_json=as_json)
