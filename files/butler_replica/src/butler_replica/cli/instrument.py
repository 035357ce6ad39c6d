"""``butler-replica instrument``."""

from __future__ import annotations

__all__ = ["instrument"]

import click

from ..dimensions.instruments import FILTER_SETS, FilterSet, register_instrument
from ..dimensions.official import compare_instrument
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.option(
    "--filters",
    type=click.Choice(list(FILTER_SETS)),
    default="all",
    show_default=True,
    help="Physical filters: all twelve, or the six of 2022.",
)
@click.option(
    "--compare", is_flag=True, help="Report how the official records differ; needs the Science Pipelines."
)
@dry_run_option
@json_option
@reports_errors
def instrument(repo: str, *, filters: FilterSet, compare: bool, dry_run: bool, as_json: bool) -> None:
    """Register LSSTCam-imSim in REPO: instrument, 189 detectors, physical filters.

    The Science Pipelines are not needed. Where REPO has one of the records
    with other values, nothing is changed and the columns are named.
    """
    if compare:
        report(compare_instrument(repo, filters=filters), as_json=as_json)
        return
    report(register_instrument(repo, filters=filters, dry_run=dry_run), as_json=as_json)
