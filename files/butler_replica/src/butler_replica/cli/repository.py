"""``butler-replica repository``."""

from __future__ import annotations

__all__ = ["repository"]

from pathlib import Path

import click

from ..options import ImportSet
from ..repository.making import ensure_repository
from ..sets import load_description, load_mapping
from ._common import dry_run_option, json_option, report, reports_errors


@click.command()
@click.argument("root", metavar="ROOT")
@click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with what butler.yaml must say: registry.db, without credentials, and whatever else there is.",
)
@click.option("--label", default="", help="Name of the repository; that of its folder if not given.")
@click.option(
    "--confirm-destroy",
    default="",
    metavar="NAME",
    help="Name of the database, on SQLite of the repository, to remove it and make it anew.",
)
@click.option(
    "--sets",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with dc2_import_sets, whose data are never removed with the repository.",
)
@dry_run_option
@json_option
@reports_errors
def repository(
    root: str,
    *,
    config: Path,
    label: str,
    confirm_destroy: str,
    sets: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the repository in the folder ROOT: database, folder, butler.yaml and registry, as far as they are missing.

    Nothing is removed without --confirm-destroy, and even then it is refused
    where ROOT holds anything that the repository has no record of, or data
    that are replicated.
    """
    described: list[ImportSet] = load_description(sets)[0] if sets else []
    result = ensure_repository(
        root,
        config=load_mapping(config),
        label=label,
        confirm_destroy=confirm_destroy,
        sets=described,
        dry_run=dry_run,
    )
    report(result, as_json=as_json)
