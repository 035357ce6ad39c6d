"""What making a repository did, or would do."""

from __future__ import annotations

__all__ = ["RepositoryResult"]

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..results import Difference, Result
from ..wording import visible


@dataclass
class RepositoryResult(Result):
    """What was done to a repository, or would be done."""

    root: Path
    name: str
    """Name to give in ``confirm_destroy``."""

    database: str
    """URL of the database, without credentials."""

    destroyed: bool = False
    """Whether an earlier replica was removed."""

    removed_files: int = 0
    """Number of artifacts and links removed from the folder."""

    created: bool = False
    """Whether the registry was made."""

    actions: list[str] = field(default_factory=list)
    """What was done, in order."""

    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    """Folder, database and ``butler.yaml`` before and after."""

    dry_run: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was done, or would be."""
        return bool(self.actions)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "root": str(self.root),
            "name": self.name,
            "database": self.database,
            "destroyed": self.destroyed,
            "created": self.created,
            "removed_files": self.removed_files,
            "actions": self.actions,
            "dry_run": self.dry_run,
        }

    def show(self, console: Console) -> None:
        """Print the result for a reader.

        Parameters
        ----------
        console : `rich.console.Console`
            Where to print.
        """
        console.print(f"Repository {self.root}, registry in {self.database}", highlight=False)
        for action in self.actions or ["nothing to do"]:
            console.print(f"  {'would ' if self.dry_run and self.actions else ''}{action}", highlight=False)

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        before = {"actions": "", **self.before}
        after = {"actions": "\n".join([*map(visible, self.actions), ""]), **self.after}
        for what, text in after.items():
            if before.get(what) != text:
                yield Difference(what, before.get(what, ""), text)
