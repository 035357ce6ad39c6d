"""``butler-replica sample``."""

from __future__ import annotations

__all__ = ["sample"]

from pathlib import Path

import click

from ..sample import make_sample
from ._common import dry_run_option, json_option, report, reports_errors


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--exposures", type=click.IntRange(min=2), default=6, show_default=True, help="Exposures.")
@click.option(
    "--detectors",
    type=click.IntRange(2, 189),
    default=3,
    show_default=True,
    help="Detectors that have datasets; all 189 are registered.",
)
@dry_run_option
@json_option
@reports_errors
def sample(directory: Path, exposures: int, detectors: int, dry_run: bool, as_json: bool) -> None:
    """Make a miniature DC2 in DIR, laid out like the real data.

    DIR is new, empty, or holds a sample of the same size, which is left as it is. Nothing is ever deleted.
    """
    report(make_sample(directory, exposures=exposures, detectors=detectors, dry_run=dry_run), as_json=as_json)
