"""``butler-replica import``."""

from __future__ import annotations

__all__ = ["import_"]

from typing import Any

import click

from ..dimensions.made import KNOWN_RECORDS
from ..imports.importer import import_exports
from ._common import dry_run_option, import_options, json_option, repo_argument, report, reports_errors
from ._progress import shown_progress


@click.command("import")
@repo_argument
@click.argument("exports", metavar="EXPORT...", nargs=-1, required=True)
@import_options
@dry_run_option
@json_option
@reports_errors
def import_(repo: str, exports: tuple[str, ...], *, as_json: bool, dry_run: bool, **options: Any) -> None:
    """Import EXPORT... (files, folders of them, or globs) into the repository REPO.

    Each export file is one transaction. What is there already is left alone:
    a run can be repeated, and continued after an interruption.
    """
    with shown_progress("import") as progress:
        result = import_exports(
            repo, exports, dry_run=dry_run, progress=progress, maker=KNOWN_RECORDS, **options
        )
    report(result, as_json=as_json)
