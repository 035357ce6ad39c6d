"""How long work tells how far it has come."""

from __future__ import annotations

__all__ = ["Progress", "Report"]

from collections.abc import Callable
from typing import NamedTuple


class Report(NamedTuple):
    """How far a verb has come."""

    done: int
    """Of the work, in a unit of the verb's own: bytes of export files for an import; visits; tracts."""

    total: int
    datasets: int = 0
    """Datasets dealt with so far."""

    files: int = 0
    """Export files that are done."""

    of_files: int = 0
    doing: str = ""
    """What is going on, such as ``export_12.yaml: inserting``."""


Progress = Callable[[Report], None]
"""What a verb calls while it works, as often as it likes."""
