"""A PostgreSQL server as the login of a registry sees it: its databases, and what holds on to them."""

from __future__ import annotations

__all__ = [
    "MAINTENANCE_DATABASE",
    "MAKING",
    "MARK",
    "PostgresServer",
    "execute",
    "obstacles",
    "rename",
    "said",
    "sessions",
]

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Literal

import sqlalchemy
from lsst.utils.db_auth import DbAuth, DbAuthNotFoundError

from .. import internals
from ..errors import RepositoryError
from ..session.opening import database_errors
from ..wording import some
from .catalogue import FOREIGN_OBJECTS
from .database import quoted

MARK = "dc2-replica"
"""Who made a database, and who is connected."""

MAINTENANCE_DATABASE = "postgres"
_CONNECT_SECONDS = 15

MAKING = "dc2_replica_making_"
"""How the name of a database begins that is not finished: created, and not marked yet."""


class PostgresServer:
    """A server, and the names that a database has or has had there.

    Parameters
    ----------
    url : `sqlalchemy.engine.URL`
        Where the database is, without credentials; those are read as the
        butler does, from ``~/.lsst/db-auth.yaml`` or the file that
        ``LSST_DB_AUTH`` names.
    doomed : `str`
        Name of the database while it is being destroyed.
    """

    def __init__(self, url: sqlalchemy.engine.URL, doomed: str) -> None:
        self.url = url
        self.name = url.database or ""
        self.doomed = doomed

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
    def connection(
        self, database: str, isolation_level: Literal["AUTOCOMMIT", "READ COMMITTED"] = "AUTOCOMMIT"
    ) -> Iterator[sqlalchemy.Connection]:
        """Connect to a database.

        Parameters
        ----------
        database : `str`
            Its name.
        isolation_level : `str`, optional
            As SQLAlchemy names it.

        Yields
        ------
        connection : `sqlalchemy.Connection`
            Closed at the end.
        """
        engine = sqlalchemy.create_engine(
            self._login().set(database=database),
            isolation_level=isolation_level,
            poolclass=sqlalchemy.NullPool,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": MARK},
        )
        internals.watch_engine(engine)
        with engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def maintenance(self) -> Iterator[sqlalchemy.Connection]:
        """Connect to the database from which others are made and dropped."""
        with database_errors(str(self.url)), self.connection(MAINTENANCE_DATABASE) as connection:
            yield connection

    def called(self) -> str:
        """Return the name by which the server has the database, asked where that can be known for certain."""
        try:
            with self.connection(self.name):
                return self.name
        except sqlalchemy.exc.OperationalError as error:
            try:
                with self.connection(MAINTENANCE_DATABASE) as connection:
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

    def create(self, connection: sqlalchemy.Connection, mark: Callable[[str], str]) -> list[str]:
        """Create the database under another name, and give it mark and name in one step.

        Whoever looks sees a database with a mark or none: a process that is killed leaves one that
        `clear_leftovers` knows.
        """
        temporary = MAKING + secrets.token_hex(16)
        _lock_name(connection, temporary)
        statements = [
            # Every server has the locale C, and it goes with every encoding.
            f"CREATE DATABASE {quoted(temporary)} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            + _libc(connection),
            mark(temporary),
            rename(temporary, self.name),
        ]
        try:
            execute(connection, statements[0])
            with self.connection(MAINTENANCE_DATABASE, "READ COMMITTED") as transaction:
                for statement in statements[1:]:
                    execute(transaction, statement)
                transaction.commit()
        except sqlalchemy.exc.DBAPIError as error:
            with contextlib.suppress(sqlalchemy.exc.DBAPIError):
                execute(connection, f"DROP DATABASE IF EXISTS {quoted(temporary)}")
            raise RepositoryError(
                f"{self.url}: the database cannot be created; the server says: {said(error)}. "
                "The login role needs CREATEDB (ALTER ROLE ... CREATEDB), or an administrator "
                "creates the database, owned by that role."
            ) from error
        return statements

    def clear_leftovers(self, connection: sqlalchemy.Connection) -> None:
        """Drop what a process that was killed has created and not marked: ours, empty, and nobody at it."""
        names = connection.execute(
            sqlalchemy.text(
                "SELECT datname FROM pg_database WHERE datname ~ :name AND pg_get_userbyid(datdba) = current_user "
                "AND shobj_description(oid, 'pg_database') IS NULL"
            ),
            {"name": f"^{MAKING}[0-9a-f]{{32}}$"},
        )
        for name in list(names.scalars()):
            if _lock_name(connection, name, wait=False):
                # One that cannot be looked into, or that somebody has put something into, stays.
                with contextlib.suppress(sqlalchemy.exc.DBAPIError):
                    with self.connection(name) as inside:
                        empty = not inside.execute(
                            sqlalchemy.text(FOREIGN_OBJECTS), {"schema": "public"}
                        ).all()
                    if empty:
                        execute(connection, f"DROP DATABASE {quoted(name)}")


def execute(connection: sqlalchemy.Connection, statement: str) -> None:
    """Execute a statement as it is: a driver would take ``%`` in a name for a parameter."""
    connection.exec_driver_sql(statement.replace("%", "%%"))


def rename(name: str, new: str) -> str:
    """Return the statement that gives a database another name."""
    return f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(new)}"


def _libc(connection: sqlalchemy.Connection) -> str:
    """Return the option that makes a locale of the C library of it, on servers that know another kind."""
    version = connection.dialect.server_version_info or ()
    return " LOCALE_PROVIDER libc" if version >= (15,) else ""


def _lock_name(connection: sqlalchemy.Connection, name: str, *, wait: bool = True) -> bool:
    """Lock the name of a database that is not finished, for as long as the connection lasts."""
    function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    statement = sqlalchemy.text(f"SELECT {function}(hashtextextended(:name, 0))")
    return connection.execute(statement, {"name": name}).scalar() is not False


def sessions(connection: sqlalchemy.Connection, name: str) -> list[str]:
    """List the sessions of a database.

    Parameters
    ----------
    connection : `sqlalchemy.Connection`
        To any database of the server.
    name : `str`
        Name of the database.

    Returns
    -------
    sessions : `list` [ `str` ]
        Process, application, user and place of each.
    """
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


def obstacles(connection: sqlalchemy.Connection, name: str) -> list[str]:
    """Return what else than sessions keeps a database from being dropped, or would be dropped with it and is others'.

    Parameters
    ----------
    connection : `sqlalchemy.Connection`
        To any database of the server.
    name : `str`
        Name of the database.

    Returns
    -------
    obstacles : `list` [ `str` ]
        Reasons, each with its remedy.
    """
    found = {
        sentence: [str(what) for what in connection.execute(sqlalchemy.text(query), {"name": name}).scalars()]
        for sentence, query in _OBSTACLES.items()
    }
    return [sentence.format(what=some(whats)) for sentence, whats in found.items() if whats]


def said(error: sqlalchemy.exc.DBAPIError) -> str:
    """Return the words of the server, on one line."""
    return " ".join(str(error.orig).split()).rstrip(".")
