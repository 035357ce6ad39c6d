"""What a source hands on."""

from __future__ import annotations

__all__ = ["Artifact", "SourceFile"]

from dataclasses import dataclass, field
from typing import NamedTuple

from ..exports.model import ExportFile


class Artifact(NamedTuple):
    """An artifact as the source's datastore records it."""

    path: str
    """As the export names it."""

    size: int | None
    """In bytes; `None` where the datastore does not know."""

    checksum: str | None
    """As the datastore has it."""


@dataclass
class SourceFile:
    """What one export file says, and of which artifacts."""

    content: ExportFile
    artifacts: list[Artifact] = field(default_factory=list)
    """In the order of the dataset records, each once."""

    without_artifact: int = 0
    """Datasets that the source has in its registry alone."""
