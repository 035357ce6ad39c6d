"""``butler-replica export``."""

from __future__ import annotations

__all__ = ["export"]

from typing import Any, get_args

import click

from ..options import MissingPolicy
from ..source import export as verb
from ._common import dry_run_option, json_option, report, reports_errors
from ._progress import shown_progress


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("out", metavar="OUT")
@click.option(
    "-t",
    "--dataset-types",
    multiple=True,
    default=("*",),
    metavar="TYPE",
    help="Dataset type, or a glob of several; all if not given. Can be given several times.",
)
@click.option(
    "--collections",
    multiple=True,
    default=("*",),
    metavar="COLLECTION",
    help="Collection, or a glob; of a chain all that is in it; all if not given. Can be given several times.",
)
@click.option("--where", default="", metavar="EXPRESSION", help="In the butler's own language.")
@click.option(
    "--chunk", default=verb.CHUNK, show_default=True, help="Largest number of datasets in one export file."
)
@click.option(
    "--artifacts",
    type=click.Choice(get_args(verb.ArtifactsMode)),
    default="list",
    show_default=True,
    help="list writes path, size and checksum of artifacts to _files.txt of each dataset type.",
)
@click.option(
    "--format",
    type=click.Choice(get_args(verb.ExportFormat)),
    default="yaml",
    show_default=True,
    help="Form of the export files.",
)
@click.option(
    "--paths",
    type=click.Choice(get_args(verb.PathForm)),
    default="stored",
    show_default=True,
    help="How artifacts are named: as SOURCE records them, wholly, or below the folder of SOURCE's datastore.",
)
@click.option(
    "--missing",
    type=click.Choice(get_args(MissingPolicy)),
    default="register",
    show_default=True,
    help="What a dataset does that SOURCE has in its registry alone.",
)
@click.option("--resume", is_flag=True, help="Continue an export of the same in OUT.")
@dry_run_option
@json_option
@reports_errors
def export(source: str, out: str, *, as_json: bool, **options: Any) -> None:
    """Export datasets of the repository SOURCE to the folder OUT, with all that they need.

    OUT gets one folder for each dataset type, whose files any butler imports.
    A file is complete or not there, and the same source gives the same bytes.
    """
    with shown_progress("export") as progress:
        result = verb.export(source, out, progress=progress, **options)
    report(result, as_json=as_json)
