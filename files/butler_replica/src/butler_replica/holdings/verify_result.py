"""What verifying a repository finds."""

from __future__ import annotations

__all__ = ["CalibrationCheck", "DatasetCheck", "VerifyResult"]

import io
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..results import Result
from ..wording import ReaderConsole


@dataclass
class DatasetCheck:
    """Datasets of one dataset type and run that one import set promised."""

    set: str
    """Name of the import set; empty for datasets that no export promised."""

    dataset_type: str
    run: str
    promised: int = 0
    registered: int = 0
    recorded: int = 0
    """With a datastore record."""

    on_disk: int = 0
    """With a datastore record and its artifact."""

    remote: int = 0
    """With a datastore record of an artifact that is not on this machine, and was not looked at."""

    without_artifact: int = 0
    """Left out, pruned, or registered alone, and the import set allows it: there is no artifact."""

    problems: list[str] = field(default_factory=list)


@dataclass
class CalibrationCheck:
    """Validity ranges of one CALIBRATION collection."""

    collection: str
    promised: int
    """Ranges that the exports certify for datasets that are registered."""

    found: int
    """Those of them that are there."""

    total: int
    """All ranges that are there."""


@dataclass
class VerifyResult(Result):
    """Whether a repository is what it should be."""

    repo: str
    datasets: list[DatasetCheck] = field(default_factory=list)
    calibrations: list[CalibrationCheck] = field(default_factory=list)
    chains: dict[str, list[str]] = field(default_factory=dict)
    """Children, in search order, of every chain."""

    open_chains: dict[str, list[str]] = field(default_factory=dict)
    """Children that a chain should have and that do not exist, by chain."""

    skipped_collections: dict[str, str] = field(default_factory=dict)
    """Reason by name of the collections described that are not needed."""

    notices: list[str] = field(default_factory=list)
    """What a reader should know although it is as the import sets allow, one sentence each."""

    failures: list[str] = field(default_factory=list)
    """What does not hold, one sentence each."""

    changed = False

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def totals(self) -> dict[str, int]:
        """Return the number of datasets in each column of the table."""
        return {
            column: sum(getattr(check, column) for check in self.datasets)
            for column in ("promised", "registered", "recorded", "on_disk", "remote", "without_artifact")
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "ok": self.ok,
            "failures": self.failures,
            "notices": self.notices,
            "totals": self.totals(),
            "datasets": [asdict(check) for check in self.datasets],
            "calibrations": [asdict(check) for check in self.calibrations],
            "chains": self.chains,
            "open_chains": self.open_chains,
            "skipped_collections": self.skipped_collections,
            "report": self.report(),
        }

    def report(self) -> list[str]:
        """Return what `show` prints, as lines of text."""
        console = ReaderConsole(file=io.StringIO(), width=160, record=True)
        self.show(console)
        return [line.rstrip() for line in console.export_text().splitlines()]

    def show(self, console: Console) -> None:
        """Print the tables and what does not hold."""
        table = Table(
            title=f"Datasets of {self.repo}",
            title_justify="left",
            show_footer=True,
            box=box.SIMPLE,
            pad_edge=False,
            collapse_padding=True,
        )
        with_sets = any(check.set for check in self.datasets)
        for header in (*(["import set"] if with_sets else []), "dataset type", "run"):
            table.add_column(header, overflow="fold")
        totals = self.totals()
        columns = [column for column in totals if with_sets or column not in ("promised", "without_artifact")]
        if not totals["remote"]:
            columns.remove("remote")
        for column in columns:
            table.add_column(
                column.replace("_", " ").replace("without", "no"), justify="right", footer=str(totals[column])
            )
        table.add_column("")
        table.columns[0].footer = "all"
        for check in self.datasets:
            table.add_row(
                *([check.set] if with_sets else []),
                check.dataset_type,
                check.run,
                *(str(getattr(check, column)) for column in columns),
                Text("wrong", style="red") if check.problems else "ok",
            )
        console.print(table)
        if self.calibrations:
            ranges = Table(title="Validity ranges", title_justify="left", box=box.SIMPLE, pad_edge=False)
            ranges.add_column("CALIBRATION collection")
            for header in ("promised", "found", "in all"):
                ranges.add_column(header, justify="right")
            for calibration in self.calibrations:
                counts = (calibration.promised, calibration.found, calibration.total)
                ranges.add_row(calibration.collection, *map(str, counts))
            console.print(ranges)
        for name, children in self.chains.items():
            console.print(f"chain {name} -> {', '.join(children) or 'no children'}", markup=False)
        for name, children in self.open_chains.items():
            console.print(f"open chain {name}: no collection {', '.join(children)}", markup=False)
        for name, reason in self.skipped_collections.items():
            console.print(f"not made: {name}, {reason}", markup=False)
        for notice in self.notices:
            console.print(f"notice: {notice}")
        for failure in self.failures:
            console.print(f"WRONG: {failure}", markup=False, style="red")
        console.print(
            "The replica is as it should be." if self.ok else f"{len(self.failures)} things are wrong."
        )
