"""Importing several import sets, one after the other."""

from __future__ import annotations

__all__ = ["SetsResult", "import_sets"]

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..dimensions.needed import RecordMaker
from ..errors import ReplicaError
from ..options import ImportSet
from ..progress import Progress
from ..results import Difference, Result
from ..sets import parse_sets
from .import_result import ImportResult
from .importer import import_exports


@dataclass
class SetsResult(Result):
    """What importing several sets did, or would do."""

    dry_run: bool = False
    sets: dict[str, ImportResult] = field(default_factory=dict)
    """The result of each set, by its name."""

    @property
    def changed(self) -> bool:
        """Whether the repository was changed, or would be."""
        return any(result.changed for result in self.sets.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "dry_run": self.dry_run,
            "sets": {name: _of_set(result) for name, result in self.sets.items()},
        }

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        for name, result in self.sets.items():
            for one in result.differences() if result.changed else ():
                yield one._replace(header_after=f"repository with import set {name}")

    def show(self, console: Console) -> None:
        """Print the result of each set for a reader."""
        for name, result in self.sets.items():
            console.print(f"import set {name}", markup=False, highlight=False)
            result.show(console)


def _of_set(result: ImportResult) -> dict[str, Any]:
    told = {name: value for name, value in result.to_dict().items() if name != "dry_run"}
    return {"changed": result.changed, **told}


def import_sets(
    repo: str | Path,
    sets: Iterable[ImportSet | Mapping[str, Any]],
    *,
    dry_run: bool = False,
    maker: RecordMaker | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> SetsResult:
    """Import several import sets, one after the other.

    Each export file is one transaction, as in `import_exports`.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        The repository: folder, ``butler.yaml`` or label.
    sets : `~collections.abc.Iterable`
        `ImportSet` objects or mappings as in ``dc2_import_sets``. All are
        checked before the first is imported.
    dry_run : `bool`, optional
        Say what each would do to the repository as it is; it is opened
        read-only.
    maker : `~butler_replica.dimensions.needed.RecordMaker`, optional
        As for `import_exports`.
    progress : `~collections.abc.Callable`, optional
        Given the name of a set, returns what is called while that is imported.

    Returns
    -------
    result : `SetsResult`
        What was done.

    Raises
    ------
    ReplicaError
        Raised with the name of the first set that cannot be imported. Those
        before it, and its own files before the one that failed, stay
        imported.
    """
    result = SetsResult(dry_run)
    for one in parse_sets(sets):
        tell = progress(one.name) if progress else None
        try:
            result.sets[one.name] = import_exports(
                repo, one.exports, one, dry_run=dry_run, maker=maker, progress=tell
            )
        except ReplicaError as error:
            raise ReplicaError(f"import set '{one.name}': {error}") from error
    return result
