"""``butler-replica prune``."""

from __future__ import annotations

__all__ = ["prune"]

from pathlib import Path

import click

from ..holdings import prune as verb
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
    "--max-share",
    type=click.FloatRange(0, 1),
    default=verb.MAX_SHARE,
    show_default=True,
    help="Refuse where more than this share of the datasets with an artifact has lost it.",
)
@click.option(
    "--max-number",
    type=click.IntRange(0),
    default=verb.MAX_NUMBER,
    show_default=True,
    help="Refuse where more datasets than this have lost their artifact.",
)
@click.option(
    "--gone",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What is missing in and below this folder is gone for good, though the folder shows nothing of what is "
    "recorded there; can be given several times.",
)
@click.option("--allow-all", is_flag=True, help="Whatever is missing is gone for good, all of it if need be.")
@dry_run_option
@json_option
@reports_errors
def prune(
    repo: str,
    *,
    keep: tuple[str, ...],
    max_share: float,
    max_number: int,
    gone: tuple[Path, ...],
    allow_all: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove the datasets of REPO whose artifact is gone from the registry.

    No file is removed. Try it with --dry-run first: it shows which TAGGED and
    CALIBRATION collections lose something, and the counts by dataset type
    before and after. It refuses where a folder shows nothing of what is
    recorded there, as one that is not mounted. What is removed is written
    down in REPO/.dc2-replica/pruned, from where it can be imported again.
    """
    result = verb.prune(
        repo,
        keep=keep,
        max_share=max_share,
        max_number=max_number,
        gone=gone,
        allow_all=allow_all,
        dry_run=dry_run,
    )
    report(result, as_json=as_json)
