"""The database of a registry as a whole: what it holds, creating it, dropping it.

Nothing here decides whether a database may be dropped; that is the guard of
`butler_replica.repository.making`. A database is marked when it is created, in the
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
import hashlib
import json
import os
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from lsst.utils.db_auth import DbAuth, DbAuthNotFoundError
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from ..errors import RefusedError, RepositoryError
from ..session.opening import database_errors
from .catalogue import FOREIGN_OBJECTS, own_tables

_MARK = "dc2-replica"
_SQLITE_MARK = 0x64633272  # "dc2r" in the file's header
_MAINTENANCE_DATABASE = "postgres"
_CONNECT_SECONDS = 15
_LEAVE_SECONDS = 2.0

_MAKING = "dc2_replica_making_"
"""How the name of a database begins that is not finished: created, and not marked yet."""

_DOOMED = "dc2_replica_doomed_"
"""How the name of a database begins that is being destroyed."""

_LONGEST_NAME = 63
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]*")

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
    def obstacles(self, state: DatabaseState) -> list[str]:
        """Say everything for which the database could not be dropped; nothing is changed.

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
        """Name what is in the database and is not the registry's.

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

    def retire(self, state: DatabaseState) -> None:
        """See `Database.retire`; the butler finds the file by ``butler.yaml`` only."""

    def restore(self) -> None:
        """See `Database.restore`."""

    def drop(self) -> None:
        """See `Database.drop`."""
        # The file itself last: it is what says that this project made them.
        for name in sorted(self.files, key=len, reverse=True):
            self.path.with_name(name).unlink(missing_ok=True)

    def foreign_objects(self, state: DatabaseState) -> list[str]:
        """See `Database.foreign_objects`."""
        with self._connection() as connection:

            def rows(table: str, *columns: str) -> list[Any]:
                return connection.execute(_select(table, columns)).fetchall()

            own = own_tables(set(state.tables), rows)
            # Names that begin so are SQLite's. Indexes go with their table.
            found = connection.execute(
                "SELECT type, name FROM sqlite_master WHERE type <> 'index' AND name NOT GLOB 'sqlite_*'"
            )
            return sorted(f"{kind} {name}" for kind, name in found if kind != "table" or name not in own)

    def obstacles(self, state: DatabaseState) -> list[str]:
        """See `Database.obstacles`."""
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
            raise RepositoryError(f"{self.path}: SQLite says: {error}.") from error
        return []

    def artifact_paths(self, table: str, state: DatabaseState) -> Iterator[str]:
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
    root : `pathlib.Path`
        The repository folder.
    """

    def __init__(self, url: sqlalchemy.engine.URL, namespace: str, root: Path) -> None:
        super().__init__(url)
        self.namespace = namespace
        self.root = os.path.realpath(root)
        self.name = url.database or ""
        self.doomed = _DOOMED + hashlib.sha256(f"{self.name}\n{self.root}".encode()).hexdigest()[:24]
        """Its name while it is being destroyed."""

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

    def _called(self) -> str:
        """Return the name by which the server has the database, asked where that can be known for certain."""
        try:
            with self._connection(self.name):
                return self.name
        except sqlalchemy.exc.OperationalError as error:
            try:
                with self._connection(_MAINTENANCE_DATABASE) as connection:
                    listed = connection.execute(
                        sqlalchemy.text("SELECT datname FROM pg_database WHERE datname IN (:name, :doomed)"),
                        {"name": self.name, "doomed": self.doomed},
                    ).scalars()
                    names = set(listed)
            except sqlalchemy.exc.OperationalError:
                names = {self.name}  # neither can be reached: what the server said first is the reason
            if self.name not in names:
                return next(iter(names), "")
            with database_errors(str(self.url)):
                raise error from None
        return ""

    @contextlib.contextmanager
    def _inside(self, state: DatabaseState) -> Iterator[sqlalchemy.Connection]:
        """Connect to the database by the name that it has now."""
        with contextlib.ExitStack() as stack, database_errors(str(self.url)):
            try:
                connection = stack.enter_context(self._connection(state.called))
            except sqlalchemy.exc.OperationalError as error:
                if state.called == self.name:
                    raise
                raise RepositoryError(
                    f"{self.url}: the removal of this replica was begun and interrupted; its database is "
                    f"called {state.called} now, and the server says: {_said(error)}. Let the login role in "
                    f"there, or undo it as an administrator: {_rename(state.called, self.name)}"
                ) from error
            yield connection

    def inspect(self) -> DatabaseState:
        """See `Database.inspect`."""
        called = self._called()
        if not called:
            return DatabaseState(has_extension=False)
        with self._inside(DatabaseState(called=called)) as connection:

            def query(statement: str, **values: Any) -> list[Any]:
                return list(connection.execute(sqlalchemy.text(statement), values).scalars())

            comment = query(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
                "WHERE datname = current_database()"
            )[0]
            schema = self._schema(connection)
            tables = query("SELECT tablename FROM pg_tables WHERE schemaname = :schema", schema=schema)
            complete = (
                "butler_attributes" in tables
                and query(_COMPLETE.format(table=f"{_quoted(schema)}.butler_attributes"))[0]
            )
            extension = query("SELECT count(*) FROM pg_extension WHERE extname = 'btree_gist'")[0]
            encoding = query("SHOW server_encoding")[0]
        mark = _read_mark(comment)
        return DatabaseState(
            exists=True,
            made_here=mark is not None,
            made_on=(mark or {}).get("host", ""),
            made_for=(mark or {}).get("root", ""),
            registry=_registry_state(tables, complete=bool(complete)),
            tables=tuple(sorted(tables)),
            called=called,
            encoding=encoding,
            has_extension=bool(extension),
        )

    def _schema(self, connection: sqlalchemy.Connection) -> str:
        # None where the search path names no schema that is there: then there are no tables either.
        return self.namespace or connection.exec_driver_sql("SELECT current_schema()").scalar() or "public"

    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """See `Database.create`."""
        statements = []
        if not state.exists:
            with self._maintenance() as connection:
                self._clear_leftovers(connection)
                statements += self._make(connection, root)
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

    def _make(self, connection: sqlalchemy.Connection, root: Path) -> list[str]:
        """Create the database under another name, and give it mark and name in one step.

        Whoever looks sees a database with a mark or none: a process that is killed leaves one that
        `_clear_leftovers` knows.
        """
        temporary = _MAKING + secrets.token_hex(16)
        _lock_name(connection, temporary)
        statements = [
            # Every server has the locale C, and it goes with every encoding.
            f"CREATE DATABASE {_quoted(temporary)} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            + _libc(connection),
            self.mark(root, temporary),
            _rename(temporary, self.name),
        ]
        try:
            _run(connection, statements[0])
            with self._connection(_MAINTENANCE_DATABASE, "READ COMMITTED") as transaction:
                for statement in statements[1:]:
                    _run(transaction, statement)
                transaction.commit()
        except sqlalchemy.exc.DBAPIError as error:
            with contextlib.suppress(sqlalchemy.exc.DBAPIError):
                _run(connection, f"DROP DATABASE IF EXISTS {_quoted(temporary)}")
            raise RepositoryError(
                f"{self.url}: the database cannot be created; the server says: {_said(error)}. "
                "The login role needs CREATEDB (ALTER ROLE ... CREATEDB), or an administrator "
                "creates the database, owned by that role."
            ) from error
        return statements

    def _clear_leftovers(self, connection: sqlalchemy.Connection) -> None:
        """Drop what a process that was killed has created and not marked: ours, empty, and nobody at it."""
        names = connection.execute(
            sqlalchemy.text(
                "SELECT datname FROM pg_database WHERE datname ~ :name AND pg_get_userbyid(datdba) = current_user "
                "AND shobj_description(oid, 'pg_database') IS NULL"
            ),
            {"name": f"^{_MAKING}[0-9a-f]{{32}}$"},
        )
        for name in list(names.scalars()):
            if _lock_name(connection, name, wait=False):
                # One that cannot be looked into, or that somebody has put something into, stays.
                with contextlib.suppress(sqlalchemy.exc.DBAPIError):
                    with self._connection(name) as inside:
                        empty = not inside.execute(
                            sqlalchemy.text(FOREIGN_OBJECTS), {"schema": "public"}
                        ).all()
                    if empty:
                        _run(connection, f"DROP DATABASE {_quoted(name)}")

    def mark(self, root: Path, name: str = "") -> str:
        """Return the statement that marks the database as made for a repository folder.

        Parameters
        ----------
        root : `pathlib.Path`
            The repository folder.
        name : `str`, optional
            Name of the database now, where it is another one.

        Returns
        -------
        statement : `str`
            SQL.
        """
        mark = json.dumps({"made by": _MARK, "host": self.host, "root": os.path.realpath(root)})
        return f"COMMENT ON DATABASE {_quoted(name or self.name)} IS '{mark.replace(chr(39), chr(39) * 2)}'"

    def retire(self, state: DatabaseState) -> None:
        """See `Database.retire`."""
        if state.called == self.doomed:
            return
        # The server refuses this for sessions and prepared transactions as it refuses to drop.
        with (
            database_errors(str(self.url)),
            self._connection(_MAINTENANCE_DATABASE, "READ COMMITTED") as transaction,
        ):
            try:
                _run(transaction, _rename(self.name, self.doomed))
                late = _obstacles(transaction, self.doomed)
            except sqlalchemy.exc.DBAPIError as error:
                late = [f"the server says: {_said(error)}"]
            if late:
                transaction.rollback()
                raise RefusedError(
                    f"The database {self.url} cannot be dropped: {'; '.join(late)}. Nothing was touched."
                )
            transaction.commit()

    def restore(self) -> None:
        """See `Database.restore`; a server may admit to no other name."""
        if self._called() == self.doomed:
            with self._maintenance() as connection:
                _run(connection, _rename(self.doomed, self.name))

    def drop(self) -> None:
        """See `Database.drop`."""
        with self._maintenance() as connection:
            try:
                _run(connection, f"DROP DATABASE IF EXISTS {_quoted(self.doomed)} WITH (FORCE)")
            except sqlalchemy.exc.DBAPIError as error:
                raise RepositoryError(
                    f"{self.url}: the replica's files are removed; its database, which is called {self.doomed} "
                    f"now, cannot be dropped yet; the server says: {_said(error)}. Mend that, and run this again "
                    f"with confirm_destroy={self.name}."
                ) from error

    def obstacles(self, state: DatabaseState) -> list[str]:
        """See `Database.obstacles`."""
        with self._maintenance() as connection:
            deadline = time.monotonic() + _LEAVE_SECONDS
            # A session ends a little after its client has closed it, ours included.
            while (sessions := _sessions(connection, state.called)) and time.monotonic() < deadline:
                time.sleep(0.1)
            found = _obstacles(connection, state.called)
        if sessions:
            found.append(
                f"it is in use by {len(sessions)} other session(s) ({', '.join(sessions[:5])}); close them"
            )
        return found

    def foreign_objects(self, state: DatabaseState) -> list[str]:
        """See `Database.foreign_objects`."""
        with self._inside(state) as connection:
            schema = self._schema(connection)

            def rows(table: str, *columns: str) -> list[Any]:
                return list(connection.execute(sqlalchemy.text(_select(table, columns, schema))))

            own = own_tables(set(state.tables), rows)
            found = connection.execute(sqlalchemy.text(FOREIGN_OBJECTS), {"schema": schema})
            return [
                f"{kind} {identity}"
                for kind, place, name, identity in found
                if place != schema or not _is_own(kind, name, own)
            ]

    def artifact_paths(self, table: str, state: DatabaseState) -> Iterator[str]:
        """See `Database.artifact_paths`."""
        # Rows that are streamed need a transaction.
        with database_errors(str(self.url)), self._connection(state.called, "READ COMMITTED") as connection:
            schema = self._schema(connection)
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


def _run(connection: sqlalchemy.Connection, statement: str) -> None:
    """Run a statement as it is: a driver would take ``%`` in a name for a parameter."""
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _rename(name: str, new: str) -> str:
    return f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(new)}"


def _libc(connection: sqlalchemy.Connection) -> str:
    """Return the option that makes a locale of the C library of it, on servers that know another kind."""
    version = connection.dialect.server_version_info or ()
    return " LOCALE_PROVIDER libc" if version >= (15,) else ""


def _lock_name(connection: sqlalchemy.Connection, name: str, *, wait: bool = True) -> bool:
    """Hold the name of a database that is not finished, for as long as the connection lasts."""
    function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    statement = sqlalchemy.text(f"SELECT {function}(hashtextextended(:name, 0))")
    return connection.execute(statement, {"name": name}).scalar() is not False


def _sessions(connection: sqlalchemy.Connection, name: str) -> list[str]:
    rows = connection.execute(
        sqlalchemy.text(
            "SELECT pid, usename, coalesce(nullif(application_name, ''), 'unnamed'), "
            "coalesce(host(client_addr), 'local') FROM pg_stat_activity "
            # Of sessions of other roles little more than the role is shown.
            "WHERE datname = :name AND usename IS NOT NULL "
            "AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender') ORDER BY pid"
        ),
        {"name": name},
    )
    return [f"pid {pid} ({app}, user {user}, from {where})" for pid, user, app, where in rows]


_OBSTACLES = {
    "it belongs to the role {what}, not to the login role: let an administrator ALTER DATABASE ... OWNER TO": (
        "SELECT pg_get_userbyid(datdba) FROM pg_database "
        "WHERE datname = :name AND NOT pg_has_role(current_user, datdba, 'USAGE')"
    ),
    "the login role {what} may not create databases (ALTER ROLE ... CREATEDB), so it cannot be made anew": (
        "SELECT rolname FROM pg_roles WHERE rolname = current_user AND NOT (rolcreatedb OR rolsuper)"
    ),
    "{what} is a template (ALTER DATABASE ... IS_TEMPLATE false)": (
        "SELECT datname FROM pg_database WHERE datname = :name AND datistemplate"
    ),
    "there are prepared transactions ({what}): COMMIT or ROLLBACK PREPARED them": (
        "SELECT gid FROM pg_prepared_xacts WHERE database = :name ORDER BY gid"
    ),
    "there are logical replication slots ({what}): drop them": (
        "SELECT slot_name::text FROM pg_replication_slots WHERE database = :name ORDER BY slot_name"
    ),
    "there are subscriptions ({what}): drop them": (
        "SELECT subname::text FROM pg_subscription JOIN pg_database AS d ON subdbid = d.oid "
        "WHERE datname = :name ORDER BY subname"
    ),
}
"""For what a server would not drop a database, or would take something of others' with it."""


def _obstacles(connection: sqlalchemy.Connection, name: str) -> list[str]:
    found = {
        sentence: [str(what) for what in connection.execute(sqlalchemy.text(query), {"name": name}).scalars()]
        for sentence, query in _OBSTACLES.items()
    }
    return [sentence.format(what=", ".join(whats[:5])) for sentence, whats in found.items() if whats]


def open_database(url: sqlalchemy.engine.URL, namespace: str, root: Path) -> Database:
    """Return the database that a registry is in, without connecting.

    Parameters
    ----------
    url : `sqlalchemy.engine.URL`
        Its URL, the root of the repository filled in.
    namespace : `str`
        Schema of the registry's tables, or nothing.
    root : `pathlib.Path`
        The repository folder.

    Returns
    -------
    database : `Database`
        The database.

    Raises
    ------
    RepositoryError
        Raised if it is neither SQLite nor PostgreSQL, or has a name that
        cannot be used.
    """
    match url.get_backend_name():
        case "sqlite":
            return SqliteDatabase(url)
        case "postgresql":
            _check_name(url)
            _check_schema_name(url, namespace)
            return PostgresDatabase(url, namespace, root)
        case other:
            raise RepositoryError(f"{url}: a registry is kept in 'sqlite' or 'postgresql', not {other!r}.")


def _check_name(url: sqlalchemy.engine.URL) -> None:
    """Refuse names that a server would cut, that are not ours to take, or that a URL cannot hold."""
    name = url.database or ""
    reason = ""
    if len(name.encode()) > _LONGEST_NAME:
        reason = f"is longer than {_LONGEST_NAME} bytes, where the server cuts it"
    elif name in ("template0", "template1") or name.startswith((_MAKING, _DOOMED)):
        reason = "is the name of a database with a purpose of its own"
    elif not name.isprintable() or name != name.strip():
        reason = "has control characters, or spaces around it"
    if reason:
        raise RepositoryError(f"The database name {name!r} {reason}. Take another one (butler_db_name).")


def _check_schema_name(url: sqlalchemy.engine.URL, namespace: str) -> None:
    """Refuse schemas that the butler makes and can then not import into: it does not quote their names."""
    if not namespace:
        return
    if (
        not _SCHEMA_NAME.fullmatch(namespace)
        or len(namespace) > _LONGEST_NAME
        or namespace in RESERVED_WORDS
        or namespace.startswith("pg_")
        or namespace == "information_schema"
    ):
        raise RepositoryError(
            f"{url}: lsst-daf-butler cannot work with the schema name {namespace!r} (butler_db_namespace). Take "
            f"small letters, digits and underscores (at most {_LONGEST_NAME}), no digit first, no pg_ in front, and "
            "no reserved word of SQL."
        )


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


def _is_own(kind: str, name: str, tables: Set[str]) -> bool:
    # The butler names the sequence of a column after its table.
    return name in tables if kind == "table" else kind == "sequence" and name.partition("_seq_")[0] in tables


def _select(table: str, columns: Sequence[str], schema: str = "") -> str:
    prefix = f"{_quoted(schema)}." if schema else ""
    return f"SELECT {', '.join(map(_quoted, columns))} FROM {prefix}{_quoted(table)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _said(error: sqlalchemy.exc.DBAPIError) -> str:
    return " ".join(str(error.orig).split()).rstrip(".")
