"""``butler-replica import``."""

from __future__ import annotations

__all__ = ["import_"]

from pathlib import Path
from typing import Any

import click

from ..artifacts import TRANSFER_MODES, parse_rewrite
from ..importer import import_exports
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command("import")
@repo_argument
@click.argument("exports", metavar="EXPORT...", nargs=-1, required=True)
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path),
    help="Folder where relative artifact paths begin; the folder of each export file if not given.",
)
@click.option(
    "--rewrite",
    multiple=True,
    metavar="OLD=NEW",
    help="Artifact paths that begin with OLD begin with NEW here; can be given several times.",
)
@click.option(
    "--collections",
    type=click.Choice(["keep", "drop-chains", "drop"]),
    default="keep",
    show_default=True,
    help="Collections to take: all, all but the CHAINED ones, only the runs that datasets need.",
)
@click.option(
    "--missing",
    type=click.Choice(["fail", "skip", "register"]),
    default="fail",
    show_default=True,
    help="A dataset whose artifact is missing: fail its file, leave it out, or only register it.",
)
@click.option(
    "--transfer",
    type=click.Choice(TRANSFER_MODES),
    default="symlink",
    show_default=True,
    help="How artifacts become the repository's.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Make this run whether datasets need it or not; several times.",
)
@dry_run_option
@json_option
@reports_errors
def import_(
    repo: str, exports: tuple[str, ...], rewrite: tuple[str, ...], *, as_json: bool, **options: Any
) -> None:
    """Import EXPORT... (files, folders of them, or globs) into the repository REPO.

    Each export file is one transaction. What is there already is left alone:
    a run can be repeated, and continued after an interruption.
    """
    rules = [parse_rewrite(rule) for rule in rewrite]
    report(import_exports(repo, exports, rewrite=rules, **options), as_json=as_json)
