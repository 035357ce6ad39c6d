"""A registry in a database of a PostgreSQL server."""

from __future__ import annotations

__all__ = ["DOOMED", "PostgresDatabase"]

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import sqlalchemy

from ..errors import RefusedError, RepositoryError
from ..session.opening import database_errors
from ..wording import some
from .catalogue import FOREIGN_OBJECTS, own_tables
from .database import COMPLETE, Database, DatabaseState, quoted, registry_state, select
from .postgres_server import (
    MAINTENANCE_DATABASE,
    MARK,
    PostgresServer,
    execute,
    obstacles,
    rename,
    said,
    sessions,
)

_MAX_LEAVE_SECONDS = 2.0

DOOMED = "dc2_replica_doomed_"
"""How the name of a database begins that is being destroyed."""


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
        self.doomed = DOOMED + hashlib.sha256(f"{self.name}\n{self.root}".encode()).hexdigest()[:24]
        """Its name while it is being destroyed."""

        self._server = PostgresServer(url, self.doomed)

        self.host = socket.gethostname()
        """This host, which is not the server's."""

    @contextlib.contextmanager
    def _inside(self, state: DatabaseState) -> Iterator[sqlalchemy.Connection]:
        """Connect to the database by the name that it has now."""
        with contextlib.ExitStack() as stack, database_errors(str(self.url)):
            try:
                connection = stack.enter_context(self._server.connection(state.called))
            except sqlalchemy.exc.OperationalError as error:
                if state.called == self.name:
                    raise
                raise RepositoryError(
                    f"{self.url}: the removal of this replica was begun and interrupted; its database is "
                    f"called {state.called} now, and the server says: {said(error)}. Let the login role in "
                    f"there, or undo it as an administrator: {rename(state.called, self.name)}"
                ) from error
            yield connection

    def inspect(self) -> DatabaseState:
        """See `.Database.inspect`."""
        called = self._server.called()
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
                and query(COMPLETE.format(table=f"{quoted(schema)}.butler_attributes"))[0]
            )
            extension = query("SELECT count(*) FROM pg_extension WHERE extname = 'btree_gist'")[0]
            encoding = query("SHOW server_encoding")[0]
        mark = _read_mark(comment)
        return DatabaseState(
            exists=True,
            made_here=mark is not None,
            made_on=(mark or {}).get("host", ""),
            made_for=(mark or {}).get("root", ""),
            registry=registry_state(tables, complete=bool(complete)),
            tables=tuple(sorted(tables)),
            called=called,
            encoding=encoding,
            has_extension=bool(extension),
        )

    def _schema(self, connection: sqlalchemy.Connection) -> str:
        # None where the search path names no schema that is there: then there are no tables either.
        return self.namespace or connection.exec_driver_sql("SELECT current_schema()").scalar() or "public"

    def create(self, root: Path, state: DatabaseState) -> list[str]:
        """See `.Database.create`."""
        statements = []
        if not state.exists:
            with self._server.maintenance() as connection:
                self._server.clear_leftovers(connection)
                statements += self._server.create(connection, lambda name: self.mark(root, name))
        if not state.has_extension:
            statement = "CREATE EXTENSION IF NOT EXISTS btree_gist"
            with database_errors(str(self.url)), self._server.connection(self.name) as connection:
                try:
                    connection.exec_driver_sql(statement)
                except sqlalchemy.exc.DBAPIError as error:
                    raise RepositoryError(
                        f"{self.url}: the extension btree_gist, which a registry needs, cannot be created; "
                        f"the server says: {said(error)}. Install the server's contrib package if the "
                        "extension is not available; if this role may not create it, let an administrator "
                        "run 'CREATE EXTENSION btree_gist' in this database."
                    ) from error
            statements.append(statement)
        return statements

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
        mark = json.dumps({"made by": MARK, "host": self.host, "root": os.path.realpath(root)})
        return f"COMMENT ON DATABASE {quoted(name or self.name)} IS '{mark.replace(chr(39), chr(39) * 2)}'"

    def retire(self, state: DatabaseState) -> None:
        """See `.Database.retire`."""
        if state.called == self.doomed:
            return
        # The server refuses this for sessions and prepared transactions as it refuses to drop.
        with (
            database_errors(str(self.url)),
            self._server.connection(MAINTENANCE_DATABASE, "READ COMMITTED") as transaction,
        ):
            try:
                execute(transaction, rename(self.name, self.doomed))
                late = obstacles(transaction, self.doomed)
            except sqlalchemy.exc.DBAPIError as error:
                late = [f"the server says: {said(error)}"]
            if late:
                transaction.rollback()
                raise RefusedError(
                    f"The database {self.url} cannot be dropped: {'; '.join(late)}. Nothing was touched."
                )
            transaction.commit()

    def restore(self) -> None:
        """See `.Database.restore`; a server may admit to no other name."""
        if self._server.called() == self.doomed:
            with self._server.maintenance() as connection:
                execute(connection, rename(self.doomed, self.name))

    def drop(self) -> None:
        """See `.Database.drop`."""
        with self._server.maintenance() as connection:
            try:
                execute(connection, f"DROP DATABASE IF EXISTS {quoted(self.doomed)} WITH (FORCE)")
            except sqlalchemy.exc.DBAPIError as error:
                raise RepositoryError(
                    f"{self.url}: the replica's files are removed; its database, which is called {self.doomed} "
                    f"now, cannot be dropped yet; the server says: {said(error)}. Mend that, and run this again "
                    f"with confirm_destroy={self.name}."
                ) from error

    def obstacles(self, state: DatabaseState) -> list[str]:
        """See `.Database.obstacles`."""
        with self._server.maintenance() as connection:
            deadline = time.monotonic() + _MAX_LEAVE_SECONDS
            # A session ends a little after its client has closed it, ours included.
            while (here := sessions(connection, state.called)) and time.monotonic() < deadline:
                time.sleep(0.1)
            found = obstacles(connection, state.called)
        if here:
            found.append(f"it is in use by {len(here)} other session(s) ({some(here)}); close them")
        return found

    def foreign_objects(self, state: DatabaseState) -> list[str]:
        """See `.Database.foreign_objects`."""
        with self._inside(state) as connection:
            schema = self._schema(connection)

            def rows(table: str, *columns: str) -> list[Any]:
                return list(connection.execute(sqlalchemy.text(select(table, columns, schema))))

            own = own_tables(set(state.tables), rows)
            found = connection.execute(sqlalchemy.text(FOREIGN_OBJECTS), {"schema": schema})
            return [
                f"{kind} {identity}"
                for kind, place, name, identity in found
                if place != schema or not _is_own(kind, name, own)
            ]

    def artifact_paths(self, table: str, state: DatabaseState) -> Iterator[str]:
        """See `.Database.artifact_paths`."""
        # Rows that are streamed need a transaction.
        with (
            database_errors(str(self.url)),
            self._server.connection(state.called, "READ COMMITTED") as connection,
        ):
            schema = self._schema(connection)
            present = connection.execute(
                sqlalchemy.text("SELECT 1 FROM pg_tables WHERE schemaname = :schema AND tablename = :name"),
                {"schema": schema, "name": table},
            ).scalar()
            if not present:
                return
            rows = connection.execution_options(yield_per=10_000).execute(
                sqlalchemy.text(f"SELECT path FROM {quoted(schema)}.{quoted(table)}")
            )
            yield from rows.scalars()


def _read_mark(comment: str | None) -> dict[str, str] | None:
    try:
        mark = json.loads(comment or "")
    except ValueError:
        return None
    return mark if isinstance(mark, dict) and mark.get("made by") == MARK else None


def _is_own(kind: str, name: str, tables: Set[str]) -> bool:
    # The butler names the sequence of a column after its table.
    return name in tables if kind == "table" else kind == "sequence" and name.partition("_seq_")[0] in tables
