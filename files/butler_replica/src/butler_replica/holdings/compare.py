"""Compare two repositories in every table that a client sees."""

from __future__ import annotations

__all__ = ["CompareResult", "TableComparison", "compare"]

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ..internals import RegistryTable, registry_tables
from ..results import Result
from ..session.opening import database_errors
from ..session.reading import reading

_MAX_EXAMPLES = 5
"""Differing rows of each table that are described; all are counted."""

_MAX_SHOWN_LENGTH = 80
"""Characters of a value that are shown: regions are long."""


@dataclass
class TableComparison:
    """Rows of one table in two repositories."""

    table: str
    rows: int = 0
    rows_other: int = 0
    only: int = 0
    """Rows whose key the other repository does not have."""

    only_other: int = 0
    different: int = 0
    """Rows with the same key and other values."""

    examples: list[str] = field(default_factory=list)
    """The first of what differs, one sentence each."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.examples


@dataclass
class CompareResult(Result):
    """Where two repositories differ."""

    repo: str
    other: str
    tables: list[TableComparison] = field(default_factory=list)
    """Tables that have rows in one of them."""

    changed = False

    @property
    def same(self) -> bool:
        """Whether clients see the same in both."""
        return all(table.same for table in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "same": self.same,
            "repo": self.repo,
            "other": self.other,
            "tables": [asdict(table) for table in self.tables],
        }

    def show(self, console: Console) -> None:
        """Print what differs, or how much is the same."""
        if self.same:
            rows = sum(table.rows for table in self.tables)
            console.print(
                f"{self.repo} and {self.other} are the same: {rows} rows in {len(self.tables)} tables.",
                markup=False,
                highlight=False,
            )
            return
        counts = Table(title=f"{self.repo} and {self.other} differ", title_justify="left", box=box.SIMPLE)
        counts.add_column("table", overflow="fold")
        for header in ("rows", "rows there", "only here", "only there", "different"):
            counts.add_column(header, justify="right")
        differing = [table for table in self.tables if not table.same]
        for table in differing:
            numbers = (table.rows, table.rows_other, table.only, table.only_other, table.different)
            counts.add_row(table.table, *map(str, numbers))
        console.print(counts)
        for table in differing:
            for example in table.examples:
                console.print(f"{table.table}: {example}", markup=False, highlight=False, soft_wrap=True)


def compare(repo: str | Path, other: str | Path) -> CompareResult:
    """Compare two repositories: registry, datastore records, and what decides what queries find.

    They may have different databases. Compared is what rows mean: generated
    keys by the names that they stand for, the place in a chain by the order,
    artifacts below a repository's root as relative to it. The time of an import
    is no difference, and artifacts themselves are not looked at.

    Parameters
    ----------
    repo, other : `str` or `pathlib.Path`
        The repositories.

    Returns
    -------
    result : `CompareResult`
        What was found; ``same`` is false where something differs.
    """
    result = CompareResult(str(repo), str(other))
    with ExitStack() as stack:
        ours, theirs = (_open(stack, one) for one in (result.repo, result.other))
        for name in sorted(ours.keys() | theirs.keys()):
            comparison = _Comparison(result, name, ours.get(name), theirs.get(name)).table()
            if comparison.rows or comparison.rows_other:
                result.tables.append(comparison)
    return result


def _open(stack: ExitStack, repo: str) -> dict[str, RegistryTable]:
    return stack.enter_context(registry_tables(stack.enter_context(reading(repo))))


class _Comparison:
    """Goes through a table in both repositories at the same time; both are sorted by key."""

    def __init__(
        self, result: CompareResult, name: str, ours: RegistryTable | None, theirs: RegistryTable | None
    ) -> None:
        self._repos = result.repo, result.other
        self._tables = ours, theirs
        one = ours or theirs
        another = theirs or ours
        assert one is not None and another is not None  # noqa: S101
        self._columns = tuple(column for column in one.columns if column in another.columns)
        self._n_key = len(one.key)
        self._comparison = TableComparison(name)
        for repo, names, others in (
            (result.repo, one.columns, another.columns),
            (result.other, another.columns, one.columns),
        ):
            self._comparison.examples += [f"only {repo} has a column {c}" for c in names if c not in others]

    def table(self) -> TableComparison:
        """Compare row by row."""
        ours, theirs = map(self._rows, self._repos, self._tables)
        n_key = self._n_key
        n_ours = n_theirs = 0
        row, other = next(ours, None), next(theirs, None)
        while row is not None or other is not None:
            is_ours = is_theirs = True
            if row != other:
                is_ours = other is None or (row is not None and row[:n_key] <= other[:n_key])
                is_theirs = row is None or (other is not None and other[:n_key] <= row[:n_key])
                self._note(row if is_ours else None, other if is_theirs else None)
            if is_ours:
                n_ours += 1
                row = next(ours, None)
            if is_theirs:
                n_theirs += 1
                other = next(theirs, None)
        self._comparison.rows, self._comparison.rows_other = n_ours, n_theirs
        return self._comparison

    def _rows(self, repo: str, table: RegistryTable | None) -> Iterator[tuple[Any, ...]]:
        if table is not None:
            with database_errors(repo):
                yield from table.rows(self._columns)

    def _note(self, row: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> None:
        comparison = self._comparison
        if row is not None and other is not None:
            comparison.different += 1
            differing = [
                f"{column} is {_shown(value)} in {self._repos[0]} and {_shown(value_other)} in {self._repos[1]}"
                for column, value, value_other in zip(self._columns, row, other, strict=True)
                if value != value_other
            ]
            example = f"{self._described(row[: self._n_key])}: {', '.join(differing)}"
        elif row is not None:
            comparison.only += 1
            example = f"only in {self._repos[0]}: {self._described(row)}"
        else:
            comparison.only_other += 1
            example = f"only in {self._repos[1]}: {self._described(other or ())}"
        if len(comparison.examples) < _MAX_EXAMPLES:
            comparison.examples.append(example)

    def _described(self, row: tuple[Any, ...]) -> str:
        return ", ".join(
            f"{column}={_shown(value)}"
            for column, value in zip(self._columns, row, strict=False)
            if value is not None
        )


def _shown(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value):
        value = uuid.UUID(value)
    text = str(value)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}..."
