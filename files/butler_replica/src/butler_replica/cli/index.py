"""``butler-replica index``."""

from __future__ import annotations

__all__ = ["index"]

import click

from ..repository.access import ensure_index_entry
from ._common import dry_run_option, json_option, report, reports_errors


@click.command()
@click.argument("path", metavar="INDEX")
@click.argument("label", metavar="LABEL")
@click.argument("root", metavar="ROOT")
@dry_run_option
@json_option
@reports_errors
def index(path: str, label: str, root: str, *, dry_run: bool, as_json: bool) -> None:
    """Register the repository folder ROOT as LABEL in the repository index INDEX.

    INDEX is the YAML file that DAF_BUTLER_REPOSITORY_INDEX names. Other
    entries are kept; a label of another repository, which is there, is an
    error.
    """
    report(ensure_index_entry(path, label=label, root=root, dry_run=dry_run), as_json=as_json)
