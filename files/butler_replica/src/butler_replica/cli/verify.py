"""``butler-replica verify``."""

from __future__ import annotations

__all__ = ["verify"]

import sys
from pathlib import Path
from typing import Any

import click

from ..holdings import verify as verb
from ..options import Collection, ImportSet
from ..sets import load_description, parse_sets
from ._common import import_options, json_option, repo_argument, report, reports_errors
from ._progress import shown_progress


@click.command()
@repo_argument
@click.argument("exports", metavar="[EXPORT]...", nargs=-1)
@click.option(
    "--sets",
    "description",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with dc2_import_sets and dc2_collections, instead of EXPORT... and the options of one set.",
)
@import_options
@json_option
@reports_errors
def verify(
    repo: str,
    exports: tuple[str, ...],
    *,
    description: Path | None,
    as_json: bool,
    **options: Any,
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
        sets = parse_sets([{"name": "exports", "exports": list(exports), **options}])
    with shown_progress("verify") as progress:
        result = verb.verify(repo, sets, described, placeholders=options["placeholders"], progress=progress)
    report(result, as_json=as_json)
    if not result.ok:
        sys.exit(1)
