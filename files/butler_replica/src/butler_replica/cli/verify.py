"""``butler-replica verify``."""

from __future__ import annotations

__all__ = ["verify"]

import sys
from pathlib import Path

import click

from .. import verify as verb
from ..artifacts import TRANSFER_MODES, parse_rewrite
from ..sets import Collection, ImportSet, load_description
from ._common import json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.argument("exports", metavar="[EXPORT]...", nargs=-1)
@click.option(
    "--sets",
    "description",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with dc2_import_sets and dc2_collections, instead of EXPORT... and the options of one set.",
)
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path),
    help="As it was imported: folder where relative artifact paths begin.",
)
@click.option("--rewrite", multiple=True, metavar="OLD=NEW", help="As it was imported.")
@click.option(
    "--collections",
    type=click.Choice(["keep", "drop-chains", "drop"]),
    default="keep",
    show_default=True,
    help="As it was imported.",
)
@click.option(
    "--missing",
    type=click.Choice(["fail", "skip", "register"]),
    default="fail",
    show_default=True,
    help="As it was imported: whether a dataset may have no artifact.",
)
@click.option(
    "--transfer",
    type=click.Choice(TRANSFER_MODES),
    default="symlink",
    help="Taken so that the options of an import can be repeated; makes no difference.",
)
@json_option
@reports_errors
def verify(
    repo: str,
    exports: tuple[str, ...],
    *,
    description: Path | None,
    artifacts: Path | None,
    rewrite: tuple[str, ...],
    collections: str,
    missing: str,
    transfer: str,
    as_json: bool,
) -> None:
    """Compare registry, datastore and disk of REPO with what EXPORT... promised.

    Give the options that the exports were imported with. Without exports,
    registry, datastore and disk are compared with one another. The exit status
    is 1 where something does not hold.
    """
    sets: list[ImportSet] = []
    described: list[Collection] = []
    if description and exports:
        raise click.UsageError("Give either EXPORT... or --sets, not both.")
    if description:
        sets, described = load_description(description)
    elif exports:
        given = {
            "name": "exports",
            "exports": exports,
            "artifacts": artifacts,
            "rewrite": [parse_rewrite(rule) for rule in rewrite],
            "collections": collections,
            "missing": missing,
            "transfer": transfer,
        }
        sets = [ImportSet.model_validate(given)]
    result = verb.verify(repo, sets, described)
    report(result, as_json=as_json)
    if not result.ok:
        sys.exit(1)
