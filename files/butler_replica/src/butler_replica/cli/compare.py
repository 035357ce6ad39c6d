"""``butler-replica compare``."""

from __future__ import annotations

__all__ = ["compare"]

import sys

import click

from ..holdings import compare as verb
from ._common import json_option, repo_argument, report, reports_errors


@click.command()
@repo_argument
@click.argument("other", metavar="OTHER")
@json_option
@reports_errors
def compare(repo: str, other: str, *, as_json: bool) -> None:
    """Compare REPO with OTHER in every table that a client sees.

    Databases, generated keys, the time of import and the place of the
    repository may differ. Artifacts are not looked at. The exit status is 1
    where the repositories differ.
    """
    result = verb.compare(repo, other)
    report(result, as_json=as_json)
    if not result.same:
        sys.exit(1)
