"""A registry in an SQLite file."""

from __future__ import annotations

__all__ = ["SqliteDatabase"]

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy

from ..errors import RepositoryError
from .catalogue import own_tables
from .database import COMPLETE, Database, DatabaseState, quoted, registry_state, select

_SQLITE_MARK = 0x64633272  # "dc2r" in the file's header


class SqliteDatabase(Database):
    """An SQLite file in the repository folder."""

    def __init__(self, url: sqlalchemy.engine.URL) -> None:
        super().__init__(url)
        self.path = Path(url.database or "")

    @property
    def files(self) -> frozenset[str]:
        """Names of the files that SQLite keeps for this database."""
        return frozenset(self.path.name + suffix for suffix in ("", "-journal", "-wal", "-shm"))

    @contextlib.contextmanager
    def _connection(self, mode: str = "ro") -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
            ) as connection:
                yield connection
        except sqlite3.Error as error:
            raise RepositoryError(f"{self.path}: SQLite says: {error}. Is it the registry?") from error

    def inspect(self) -> DatabaseState:
        """See `.Database.inspect`."""
        if not self.path.exists():
            return DatabaseState()
        with self._connection() as connection:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            complete = (
                "butler_attributes" in tables
                and connection.execute(COMPLETE.format(table="butler_attributes")).fetchone()[0]
            )
        return DatabaseState(
            exists=True,
            made_here=mark == _SQLITE_MARK,
            registry=registry_state(tables, complete=bool(complete)),
            tables=tuple(sorted(tables)),
        )

    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """See `.Database.create`."""
        if state.exists:
            return []
        with self._connection("rwc") as connection:
            connection.execute(f"PRAGMA application_id = {_SQLITE_MARK}")
        return [f"create {self.path}"]

    def retire(self, state: DatabaseState) -> None:
        """See `.Database.retire`; the butler finds the file by ``butler.yaml`` only."""

    def restore(self) -> None:
        """See `.Database.restore`."""

    def drop(self) -> None:
        """See `.Database.drop`."""
        # The file itself last: it is what says that this project made them.
        for name in sorted(self.files, key=len, reverse=True):
            self.path.with_name(name).unlink(missing_ok=True)

    def foreign_objects(self, state: DatabaseState) -> list[str]:
        """See `.Database.foreign_objects`."""
        with self._connection() as connection:

            def rows(table: str, *columns: str) -> list[Any]:
                return connection.execute(select(table, columns)).fetchall()

            own = own_tables(set(state.tables), rows)
            # Names that begin so are SQLite's. Indexes go with their table.
            found = connection.execute(
                "SELECT type, name FROM sqlite_master WHERE type <> 'index' AND name NOT GLOB 'sqlite_*'"
            )
            return sorted(f"{kind} {name}" for kind, name in found if kind != "table" or name not in own)

    def obstacles(self, state: DatabaseState) -> list[str]:
        """See `.Database.obstacles`."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)
            ) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return [
                    "it is in use by a process that is reading or writing the SQLite file; end that first"
                ]
            raise RepositoryError(f"{self.path}: SQLite says: {str(error).rstrip('.')}.") from error
        return []

    def artifact_paths(self, table: str, state: DatabaseState) -> Iterator[str]:
        """See `.Database.artifact_paths`."""
        with self._connection() as connection:
            present = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            if present:
                yield from (row[0] for row in connection.execute(f"SELECT path FROM {quoted(table)}"))
