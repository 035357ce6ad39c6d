"""What exporting did, or would do."""

from __future__ import annotations

__all__ = ["ExportResult", "ExportedType"]

from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..results import Result
from ..wording import visible


@dataclass
class ExportedType:
    """What exporting one dataset type did, or would do."""

    datasets: int
    """Datasets of the selection."""

    files: int = 0
    """Export files; 0 where a dry run has not looked so closely."""

    written: int = 0
    """Files among them that were not there."""

    without_artifact: int = 0
    """Datasets that the source has in its registry alone."""

    artifacts: int = 0
    bytes: int = 0
    """Size of the artifacts, as far as the source knows it."""


@dataclass
class ExportResult(Result):
    """What exporting did, or would do."""

    out: str
    dry_run: bool = False
    registry: ExportedType = field(default_factory=lambda: ExportedType(0))
    """Files without datasets: all collections, dataset types and dimension records, where everything is exported."""

    dataset_types: dict[str, ExportedType] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether anything was written, or would be."""
        return any(one.written for one in (self.registry, *self.dataset_types.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "out": self.out,
            "dry_run": self.dry_run,
            "registry": {"files": self.registry.files, "written": self.registry.written},
            "dataset_types": {name: asdict(one) for name, one in self.dataset_types.items()},
        }

    def show(self, console: Console) -> None:
        """Print the result for a reader."""
        table = Table(box=box.SIMPLE)
        table.add_column("dataset type", overflow="fold")
        for header in ("datasets", "files", "new", "no artifact", "MB"):
            table.add_column(header, justify="right")
        for name, one in self.dataset_types.items():
            numbers = (one.datasets, one.files, one.written, one.without_artifact, round(one.bytes / 1e6))
            table.add_row(Text(visible(name)), *(f"{number:,}" for number in numbers))
        console.print(table)
        total = sum(one.datasets for one in self.dataset_types.values())
        verb = "would be exported" if self.dry_run else "are exported"
        console.print(Text(f"{total:,} datasets {verb} to {visible(self.out)}."))
