"""``butler-replica visits``."""

from __future__ import annotations

__all__ = ["visits"]

import click

from ..dimensions.official import compare_visits
from ..dimensions.visit_records import VISIT_SYSTEMS
from ..dimensions.visits import define_visits
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors
from ._progress import shown_progress


@click.command()
@repo_argument
@click.option(
    "--collection",
    "collections",
    multiple=True,
    required=True,
    metavar="RUN",
    help="Collection with raw data; can be given several times.",
)
@click.option(
    "--instrument",
    metavar="INSTRUMENT",
    default="LSSTCam-imSim",
    show_default=True,
    help="Instrument of the raw data.",
)
@click.option(
    "--visit-system",
    type=click.Choice(list(VISIT_SYSTEMS)),
    default="one-to-one",
    show_default=True,
    help="Visit systems that the visits belong to: today's; those from 2022-04 to 2026-02; that before.",
)
@click.option(
    "--focal-plane",
    metavar="MODEL",
    default="nominal",
    show_default=True,
    help="Focal plane model: nominal until 2024-02 (DC2's), 2024 since.",
)
@click.option(
    "--compare", is_flag=True, help="Report how the official records differ; needs the Science Pipelines."
)
@dry_run_option
@json_option
@reports_errors
def visits(
    repo: str,
    *,
    collections: tuple[str, ...],
    instrument: str,
    visit_system: str,
    focal_plane: str,
    compare: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Define a visit for each exposure with raw data in REPO.

    The Science Pipelines are not needed, nor are the artifacts. Visits that
    are there already are kept, completed and compared.
    """
    if compare:
        report(
            compare_visits(
                repo,
                collections,
                instrument=instrument,
                visit_system=visit_system,
                focal_plane=focal_plane,
            ),
            as_json=as_json,
        )
        return
    with shown_progress("visits") as progress:
        result = define_visits(
            repo,
            collections,
            instrument=instrument,
            visit_system=visit_system,
            focal_plane=focal_plane,
            dry_run=dry_run,
            progress=progress,
        )
    report(result, as_json=as_json)
