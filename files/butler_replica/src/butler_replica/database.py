"""The database of a registry as a whole: what it holds, creating it, dropping it.

Nothing here decides whether a database may be dropped; that is the guard of
`butler_replica.repository`. A database is marked when it is created, in the
place that the database itself has for it, so that the mark cannot outlive or
miss what it describes: the comment on a PostgreSQL database, the application
ID of an SQLite file.
"""

from __future__ import annotations

__all__ = [
    "Database",
    "DatabaseState",
    "PostgresDatabase",
    "RegistryState",
    "SqliteDatabase",
    "open_database",
]

import abc
import contextlib
import enum
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from lsst.utils.db_auth import DbAuth, DbAuthNotFoundError

from .connect import database_errors
from .errors import RepositoryError

_MARK = "dc2-replica"
_SQLITE_MARK = 0x64633272  # "dc2r" in the file's header
_MAINTENANCE_DATABASE = "postgres"
_CONNECT_SECONDS = 15
_LEAVE_SECONDS = 2.0

# The attribute that Butler.makeRepo writes last.
_COMPLETE = "SELECT count(*) FROM {table} WHERE name = 'config:dimensions.json'"


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

    other_schemas: tuple[str, ...] = ()
    """Other schemas that hold tables."""

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
        """Look at the database; nothing is changed."""

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
    def drop(self) -> None:
        """Remove the database, if it is there."""

    @abc.abstractmethod
    def users(self) -> list[str]:
        """Describe each session, other than our own, that has the database in use."""

    @abc.abstractmethod
    def artifact_paths(self, table: str) -> Iterator[str]:
        """Yield the paths of all artifacts that the datastore has a record of.

        Parameters
        ----------
        table : `str`
            Table of the datastore's records.

        Yields
        ------
        path : `str`
            As recorded: relative to the datastore's root, or a URI.
        """


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
        """See `Database.inspect`."""
        if not self.path.exists():
            return DatabaseState()
        with self._connection() as connection:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            complete = (
                "butler_attributes" in tables
                and connection.execute(_COMPLETE.format(table="butler_attributes")).fetchone()[0]
            )
        return DatabaseState(
            exists=True,
            made_here=mark == _SQLITE_MARK,
            registry=_registry_state(tables, complete=bool(complete)),
            tables=tuple(sorted(tables)),
        )

    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """See `Database.create`."""
        if state.exists:
            return []
        with self._connection("rwc") as connection:
            connection.execute(f"PRAGMA application_id = {_SQLITE_MARK}")
        return [f"create {self.path}"]

    def drop(self) -> None:
        """See `Database.drop`."""
        # The file itself last: it is what says that this project made them.
        for name in sorted(self.files, key=len, reverse=True):
            self.path.with_name(name).unlink(missing_ok=True)

    def users(self) -> list[str]:
        """See `Database.users`."""
        if not self.path.exists():
            return []
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)
            ) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return ["a process that is reading or writing the SQLite file"]
            raise RepositoryError(f"{self.path}: SQLite says: {error}.") from error
        return []

    def artifact_paths(self, table: str) -> Iterator[str]:
        """See `Database.artifact_paths`."""
        with self._connection() as connection:
            present = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            if present:
                yield from (row[0] for row in connection.execute(f"SELECT path FROM {_quoted(table)}"))


class PostgresDatabase(Database):
    """A database of a PostgreSQL server.

    Parameters
    ----------
    url : `sqlalchemy.engine.URL`
        Where it is, without credentials; those are read as the butler does,
        from ``~/.lsst/db-auth.yaml`` or the file that ``LSST_DB_AUTH`` names.
    namespace : `str`
        Schema of the registry's tables; empty for the default of the
        connection.
    """

    def __init__(self, url: sqlalchemy.engine.URL, namespace: str) -> None:
        super().__init__(url)
        self.namespace = namespace
        self.name = url.database or ""
        self.host = socket.gethostname()
        """This host, which is not the server's."""

    def _login(self) -> sqlalchemy.engine.URL:
        with database_errors(str(self.url)):
            try:
                user, password = DbAuth("~/.lsst/db-auth.yaml").getAuth(
                    self.url.drivername, self.url.username, self.url.host, self.url.port, self.url.database
                )
            except DbAuthNotFoundError:
                return self.url  # .pgpass, a certificate or trust, as for the butler
        return self.url.set(username=user, password=password)

    @contextlib.contextmanager
    def _connection(
        self, database: str, isolation_level: Literal["AUTOCOMMIT", "READ COMMITTED"] = "AUTOCOMMIT"
    ) -> Iterator[sqlalchemy.Connection]:
        engine = sqlalchemy.create_engine(
            self._login().set(database=database),
            isolation_level=isolation_level,
            poolclass=sqlalchemy.NullPool,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": _MARK},
        )
        with engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _maintenance(self) -> Iterator[sqlalchemy.Connection]:
        with database_errors(str(self.url)), self._connection(_MAINTENANCE_DATABASE) as connection:
            yield connection

    def _exists(self) -> bool:
        """Whether the server has the database, asked where that can be known for certain."""
        try:
            with self._connection(self.name):
                return True
        except sqlalchemy.exc.OperationalError as error:
            try:
                with self._connection(_MAINTENANCE_DATABASE) as connection:
                    listed = connection.execute(
                        sqlalchemy.text("SELECT 1 FROM pg_database WHERE datname = :name"),
                        {"name": self.name},
                    ).scalar()
            except sqlalchemy.exc.OperationalError:
                listed = True  # neither can be reached: what the server said first is the reason
            if not listed:
                return False
            with database_errors(str(self.url)):
                raise error from None
        return False

    def inspect(self) -> DatabaseState:
        """See `Database.inspect`."""
        if not self._exists():
            return DatabaseState(has_extension=False)
        with database_errors(str(self.url)), self._connection(self.name) as connection:

            def query(statement: str, **values: Any) -> list[Any]:
                return list(connection.execute(sqlalchemy.text(statement), values).scalars())

            comment = query(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
                "WHERE datname = current_database()"
            )[0]
            schema = self.namespace or query("SELECT current_schema()")[0]
            tables = query("SELECT tablename FROM pg_tables WHERE schemaname = :schema", schema=schema)
            complete = (
                "butler_attributes" in tables
                and query(_COMPLETE.format(table=f"{_quoted(schema)}.butler_attributes"))[0]
            )
            others = query(
                "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN "
                "(:schema, 'pg_catalog', 'information_schema')",
                schema=schema,
            )
            extension = query("SELECT count(*) FROM pg_extension WHERE extname = 'btree_gist'")[0]
        mark = _read_mark(comment)
        return DatabaseState(
            exists=True,
            made_here=mark is not None,
            made_on=(mark or {}).get("host", ""),
            made_for=(mark or {}).get("root", ""),
            registry=_registry_state(tables, complete=bool(complete)),
            tables=tuple(sorted(tables)),
            other_schemas=tuple(sorted(others)),
            has_extension=bool(extension),
        )

    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """See `Database.create`."""
        statements = []
        if not state.exists:
            statements = [
                f"CREATE DATABASE {_quoted(self.name)} ENCODING 'UTF8' TEMPLATE template0",
                self.mark(root),
            ]
            with self._maintenance() as connection:
                try:
                    for statement in statements:
                        connection.exec_driver_sql(statement)
                except sqlalchemy.exc.ProgrammingError as error:
                    raise RepositoryError(
                        f"{self.url}: the database cannot be created; the server says: {_said(error)}. "
                        "The login role needs CREATEDB (ALTER ROLE ... CREATEDB), or an administrator "
                        "creates the database, owned by that role."
                    ) from error
        if not state.has_extension:
            statement = "CREATE EXTENSION IF NOT EXISTS btree_gist"
            with database_errors(str(self.url)), self._connection(self.name) as connection:
                try:
                    connection.exec_driver_sql(statement)
                except sqlalchemy.exc.DBAPIError as error:
                    raise RepositoryError(
                        f"{self.url}: the extension btree_gist, which a registry needs, cannot be created; "
                        f"the server says: {_said(error)}. Install the server's contrib package if the "
                        "extension is not available; if this role may not create it, let an administrator "
                        "run 'CREATE EXTENSION btree_gist' in this database."
                    ) from error
            statements.append(statement)
        return statements

    def mark(self, root: Path) -> str:
        """Return the statement that marks the database as made for a repository folder.

        Parameters
        ----------
        root : `pathlib.Path`
            The repository folder.

        Returns
        -------
        statement : `str`
            SQL.
        """
        mark = json.dumps({"made by": _MARK, "host": self.host, "root": os.path.realpath(root)})
        return f"COMMENT ON DATABASE {_quoted(self.name)} IS '{mark.replace(chr(39), chr(39) * 2)}'"

    def drop(self) -> None:
        """See `Database.drop`."""
        with self._maintenance() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {_quoted(self.name)}")

    def users(self) -> list[str]:
        """See `Database.users`."""
        query = sqlalchemy.text(
            "SELECT pid, usename, coalesce(nullif(application_name, ''), 'unnamed'), "
            "coalesce(host(client_addr), 'local') FROM pg_stat_activity "
            # Of sessions of other roles little more than the role is shown.
            "WHERE datname = :name AND usename IS NOT NULL "
            "AND coalesce(backend_type, 'client backend') = 'client backend' ORDER BY pid"
        )
        deadline = time.monotonic() + _LEAVE_SECONDS
        with self._maintenance() as connection:
            # A session ends a little after its client has closed it, ours included.
            while (
                sessions := connection.execute(query, {"name": self.name}).all()
            ) and time.monotonic() < deadline:
                time.sleep(0.1)
        return [f"pid {pid} ({app}, user {user}, from {where})" for pid, user, app, where in sessions]

    def artifact_paths(self, table: str) -> Iterator[str]:
        """See `Database.artifact_paths`."""
        # Rows that are streamed need a transaction.
        with database_errors(str(self.url)), self._connection(self.name, "READ COMMITTED") as connection:
            schema = self.namespace or connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            present = connection.execute(
                sqlalchemy.text("SELECT 1 FROM pg_tables WHERE schemaname = :schema AND tablename = :name"),
                {"schema": schema, "name": table},
            ).scalar()
            if not present:
                return
            rows = connection.execution_options(yield_per=10_000).execute(
                sqlalchemy.text(f"SELECT path FROM {_quoted(schema)}.{_quoted(table)}")
            )
            yield from rows.scalars()


def open_database(url: sqlalchemy.engine.URL, namespace: str) -> Database:
    """Return the database that a registry is in, without connecting.

    Parameters
    ----------
    url : `sqlalchemy.engine.URL`
        Its URL, the root of the repository filled in.
    namespace : `str`
        Schema of the registry's tables, or nothing.

    Returns
    -------
    database : `Database`
        The database.

    Raises
    ------
    RepositoryError
        Raised if it is neither SQLite nor PostgreSQL.
    """
    match url.get_backend_name():
        case "sqlite":
            return SqliteDatabase(url)
        case "postgresql":
            return PostgresDatabase(url, namespace)
        case other:
            raise RepositoryError(f"{url}: a registry is kept in 'sqlite' or 'postgresql', not {other!r}.")


def _registry_state(tables: list[str], *, complete: bool) -> RegistryState:
    if "butler_attributes" not in tables:
        return RegistryState.ABSENT
    return RegistryState.COMPLETE if complete else RegistryState.INCOMPLETE


def _read_mark(comment: str | None) -> dict[str, str] | None:
    try:
        mark = json.loads(comment or "")
    except ValueError:
        return None
    return mark if isinstance(mark, dict) and mark.get("made by") == _MARK else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _said(error: sqlalchemy.exc.DBAPIError) -> str:
    return " ".join(str(error.orig).split()).rstrip(".")
