"""Artifacts for real exports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from butler_replica.exports.reader import read_export


def artifact_paths(export: Path) -> list[str]:
    """Paths of the artifacts of an export, in its order."""
    return [str(record.path) for block in read_export(export).blocks for record in block.records]


def make_artifacts(paths: Iterable[str], folder: Path) -> None:
    """Make a small file for each path; its content is the path."""
    for path in paths:
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
