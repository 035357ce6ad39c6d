"""``butler-replica skymap``."""

from __future__ import annotations

__all__ = ["skymap"]

import click

from ..dimensions.official import compare_skymap
from ..dimensions.skymap import parse_tracts, register_skymap
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors
from ._progress import shown_progress


@click.command()
@repo_argument
@click.option("--name", metavar="SKYMAP", default="DC2", show_default=True, help="Which skymap.")
@click.option(
    "--tracts",
    metavar="IDS",
    default="footprint",
    show_default=True,
    help="Tracts to register: IDs and ranges (3828,4000-4012), or those of the skymap's footprint.",
)
@click.option(
    "--all-sky", is_flag=True, help="Register all tracts (of DC2: 18,938), as the official command does."
)
@click.option(
    "--compare", is_flag=True, help="Report how the official records differ; needs the Science Pipelines."
)
@dry_run_option
@json_option
@reports_errors
def skymap(
    repo: str, *, name: str, tracts: str, all_sky: bool, compare: bool, dry_run: bool, as_json: bool
) -> None:
    """Register a skymap in REPO, with tracts and their patches.

    The Science Pipelines are not needed. Tracts can be added later; by this
    command only, since the official one inserts nothing where the skymap is.
    """
    ids = None if tracts == "footprint" else parse_tracts(tracts)
    if compare:
        report(compare_skymap(repo, name=name, tracts=ids, all_sky=all_sky), as_json=as_json)
        return
    with shown_progress("tracts") as progress:
        result = register_skymap(
            repo, name=name, tracts=ids, all_sky=all_sky, dry_run=dry_run, progress=progress
        )
    report(result, as_json=as_json)
