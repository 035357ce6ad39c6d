"""``butler-replica instrument``."""

from __future__ import annotations

__all__ = ["instrument"]

import click

from ..dimensions.instrument import register_instrument
from ..dimensions.official import compare_instrument
from ._common import dry_run_option, json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.option(
    "--name", metavar="INSTRUMENT", default="LSSTCam-imSim", show_default=True, help="Which instrument."
)
@click.option(
    "--filters",
    metavar="SET",
    default="all",
    show_default=True,
    help="Physical filters: all, or a set that the instrument has; 2022 are the six of DC2's time.",
)
@click.option(
    "--compare", is_flag=True, help="Report how the official records differ; needs the Science Pipelines."
)
@dry_run_option
@json_option
@reports_errors
def instrument(repo: str, *, name: str, filters: str, compare: bool, dry_run: bool, as_json: bool) -> None:
    """Register an instrument in REPO, with its detectors and physical filters.

    The Science Pipelines are not needed. Where REPO has one of the records
    with other values, nothing is changed and the columns are named.
    """
    if compare:
        report(compare_instrument(repo, name=name, filters=filters), as_json=as_json)
        return
    report(register_instrument(repo, name=name, filters=filters, dry_run=dry_run), as_json=as_json)
