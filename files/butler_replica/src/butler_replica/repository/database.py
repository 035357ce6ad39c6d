"""The database of a registry as a whole: what it holds, creating it, dropping it.

Nothing here decides whether a database may be dropped; that is the guard of
`butler_replica.repository.destruction`. A database is marked when it is created, in the
place that the database itself has for it, so that the mark cannot outlive or
miss what it describes: the comment on a PostgreSQL database, the application
ID of an SQLite file.
"""

from __future__ import annotations

__all__ = ["COMPLETE", "Database", "DatabaseState", "RegistryState", "quoted", "registry_state", "select"]

import abc
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

COMPLETE = "SELECT count(*) FROM {table} WHERE name = 'config:dimensions.json'"
"""Counts the attribute that `lsst.daf.butler.Butler.makeRepo` writes last."""


class RegistryState(enum.Enum):
    """How much of a registry a database holds."""

    ABSENT = "no registry"
    INCOMPLETE = "an incomplete registry"
    COMPLETE = "a registry"


@dataclass(frozen=True)
class DatabaseState:
    """What is known of a database before anything is done."""

    exists: bool = False
    made_here: bool = False
    """Whether this project created it."""

    made_on: str = ""
    """Host that it was created from; empty for an SQLite file."""

    made_for: str = ""
    """Repository folder that it was created for; empty for an SQLite file."""

    registry: RegistryState = RegistryState.ABSENT
    tables: tuple[str, ...] = ()
    """Tables in the registry's schema."""

    called: str = ""
    """Name of the database now: another one while it is being destroyed. Empty for an SQLite file."""

    encoding: str = "UTF8"

    has_extension: bool = True
    """Whether ``btree_gist`` is there; always true for SQLite."""

    def __str__(self) -> str:
        if not self.exists:
            return "absent"
        whose = "made by dc2-replica" if self.made_here else "not made by dc2-replica"
        return f"{self.registry.value}, {whose}"


class Database(abc.ABC):
    """A registry's database.

    Parameters
    ----------
    url : `sqlalchemy.engine.URL`
        Where it is, without credentials.
    """

    def __init__(self, url: sqlalchemy.engine.URL) -> None:
        self.url = url

    @abc.abstractmethod
    def inspect(self) -> DatabaseState:
        """Return what there is of the database; nothing is changed."""

    @abc.abstractmethod
    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """Create what is missing of an empty database, and mark it if it is new.

        Parameters
        ----------
        root : `pathlib.Path`
            The repository folder that it is for.
        state : `DatabaseState`
            What is there.

        Returns
        -------
        statements : `list` [ `str` ]
            What was done.
        """

    @abc.abstractmethod
    def obstacles(self, state: DatabaseState) -> list[str]:
        """Return everything that keeps the database from being dropped; nothing is changed.

        Parameters
        ----------
        state : `DatabaseState`
            What is there.

        Returns
        -------
        obstacles : `list` [ `str` ]
            Reasons, each with its remedy.
        """

    @abc.abstractmethod
    def foreign_objects(self, state: DatabaseState) -> list[str]:
        """List what is in the database and is not the registry's.

        Parameters
        ----------
        state : `DatabaseState`
            What is there.

        Returns
        -------
        names : `list` [ `str` ]
            Tables, views, functions and so on, in whichever schema.
        """

    @abc.abstractmethod
    def retire(self, state: DatabaseState) -> None:
        """Take the database out of use, so that nobody can open it and nothing can be against dropping it.

        Parameters
        ----------
        state : `DatabaseState`
            What is there.

        Raises
        ------
        RefusedError
            Raised if the server does not do that. Then nothing was changed.
        """

    @abc.abstractmethod
    def restore(self) -> None:
        """Undo what an interrupted removal did to the name of the database, so that it can be looked into."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Remove the database that was taken out of use, if it is there."""

    @abc.abstractmethod
    def artifact_paths(self, table: str, state: DatabaseState) -> Iterator[str]:
        """Yield the paths of all artifacts that the datastore has a record of.

        Parameters
        ----------
        table : `str`
            Table of the datastore's records.
        state : `DatabaseState`
            What is there.

        Yields
        ------
        path : `str`
            As recorded: relative to the datastore's root, or a URI.
        """


def registry_state(tables: Sequence[str], *, complete: bool) -> RegistryState:
    """Return how much of a registry a database holds.

    Parameters
    ----------
    tables : `~collections.abc.Sequence` [ `str` ]
        Tables in the registry's schema.
    complete : `bool`
        Whether the last attribute is there.

    Returns
    -------
    state : `RegistryState`
        The state.
    """
    if "butler_attributes" not in tables:
        return RegistryState.ABSENT
    return RegistryState.COMPLETE if complete else RegistryState.INCOMPLETE


def select(table: str, columns: Sequence[str], schema: str = "") -> str:
    """Return the statement that reads columns of a table.

    Parameters
    ----------
    table : `str`
        Name of the table.
    columns : `~collections.abc.Sequence` [ `str` ]
        Names of columns.
    schema : `str`, optional
        Schema of the table.

    Returns
    -------
    statement : `str`
        SQL.
    """
    prefix = f"{quoted(schema)}." if schema else ""
    return f"SELECT {', '.join(map(quoted, columns))} FROM {prefix}{quoted(table)}"


def quoted(name: str) -> str:
    """Return a name as SQL has it, whatever is in it.

    Parameters
    ----------
    name : `str`
        The name.

    Returns
    -------
    quoted : `str`
        In quotes.
    """
    return '"' + name.replace('"', '""') + '"'
