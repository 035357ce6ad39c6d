"""Errors that say what was wrong, where, and what to do about it.

Everything here is meant to be shown to a user as it is: the command line
prints the message and exits with status 1, a module fails with it.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "ConflictError",
    "ExportError",
    "RefusedError",
    "ReplicaError",
    "RepositoryError",
]

from collections.abc import Sequence
from pathlib import Path

from .wording import visible

_MAX_LENGTH = 2000
"""Characters of a line; what an export has where a name is expected can be megabytes."""

_END_LENGTH = 400
"""Characters at the end of a line that is too long, where the remedy is."""


class ReplicaError(Exception):
    """Base class: a problem that a user can understand and act upon.

    Parameters
    ----------
    message : `str`
        What is wrong, where, and what to do.
    *lines : `str`
        Further lines. A line end within a line, or anything else that a
        terminal would obey, is part of a name and shown as such.
    arguments : `~collections.abc.Sequence` [ `str` ], optional
        Arguments of the verb that the message is about, dotted where it is a
        key of one (``config.registry.db``): whoever calls the verb for a user
        may know by which other names that user sets them.
    """

    def __init__(self, message: str, *lines: str, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        super().__init__("\n".join(_shortened(visible(line)) for line in (message, *lines)))


class ExportError(ReplicaError):
    """An export file cannot be used as it is.

    Parameters
    ----------
    path : `pathlib.Path`
        The export file.
    problem : `str`
        What is wrong with it.
    where : `str`, optional
        Which record or line of the file.
    remedy : `str`, optional
        What to do.
    """

    def __init__(self, path: Path, problem: str, *, where: str = "", remedy: str = "") -> None:
        self.path = path
        self.problem = problem
        self.where = where
        self.remedy = remedy
        place = f"{path}, {where}" if where else str(path)
        super().__init__(f"{place}: {problem}" + (f" {remedy}" if remedy else ""))


class ArtifactError(ReplicaError):
    """Artifacts are missing, or cannot be put into the repository."""


class ConflictError(ReplicaError):
    """The repository already holds something else under the same name or data ID."""


class RepositoryError(ReplicaError):
    """The repository or its database cannot be opened or used."""


class RefusedError(ReplicaError):
    """Something destructive was asked for and is refused."""


def _shortened(line: str) -> str:
    return (
        line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - _END_LENGTH]} ... {line[-_END_LENGTH:]}"
    )
