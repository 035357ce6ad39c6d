"""Who else uses the database of a repository; see the package for what is private here."""

from __future__ import annotations

__all__ = ["AdvisoryLock", "advisory_lock", "keep_to_privileges", "server_encoding"]

import contextlib
import zlib
from typing import Any

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler

from ..processes import describe_process

_KEY = 0x64633272  # "dc2r"
_LONGEST_NAME = 63


class AdvisoryLock:
    """A lock of a PostgreSQL database and schema, on a connection of its own.

    It is one of a transaction, so that a pooler between client and server
    does not share it out, and it goes with the process that holds it.

    Parameters
    ----------
    engine : `sqlalchemy.Engine`
        Makes the connection.
    schema : `str`
        The schema of the registry; in a database there can be several.
    """

    def __init__(self, engine: sqlalchemy.Engine, schema: str) -> None:
        self._engine = engine
        self._keys = {"one": _KEY, "other": zlib.crc32(schema.encode()) - (1 << 31)}
        self._connection: sqlalchemy.Connection | None = None

    def try_acquire(self) -> bool:
        """Take the lock, or say that another session has it."""
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="READ COMMITTED")
        name = "process {pid} on {host}: {command}".format(**describe_process())
        for setting, value in (("application_name", name), ("idle_in_transaction_session_timeout", "0")):
            self._value(
                "SELECT set_config(:setting, :value, true)", setting=setting, value=value[:_LONGEST_NAME]
            )
        taken = bool(
            self._value(
                "SELECT pg_try_advisory_xact_lock(CAST(:one AS int), CAST(:other AS int))", **self._keys
            )
        )
        if not taken:
            self._connection.rollback()
        return taken

    def holder(self) -> str:
        """Return who has it."""
        found = self._value(
            "SELECT format('%s (%s%s), since %s', a.application_name, a.usename, ' from ' || a.client_addr, "
            "date_trunc('second', a.xact_start)) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND l.classid = CAST(CAST(:one AS bigint) & 4294967295 AS oid) "
            "AND l.objid = CAST(CAST(:other AS bigint) & 4294967295 AS oid)",
            **self._keys,
        )
        if self._connection is not None:
            self._connection.rollback()
        return str(found or "a session that is no longer there")

    def release(self) -> None:
        """Give it back."""
        if self._connection is not None:
            # Gone with its connection, where the server is gone.
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _value(self, statement: str, **values: Any) -> Any:
        assert self._connection is not None  # noqa: S101
        return self._connection.execute(sqlalchemy.text(statement), values).scalar()


def advisory_lock(butler: Butler) -> AdvisoryLock | None:
    """Return the lock that writers of a repository take in its database.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    lock : `AdvisoryLock` or `None`
        Not taken yet; `None` where the database is another than PostgreSQL.
    """
    database = butler._registry._db  # type: ignore[attr-defined]
    if database.dialect.name != "postgresql":
        return None
    return AdvisoryLock(database._engine, database.namespace or "")


def server_encoding(butler: Butler) -> str:
    """Return the encoding in which the database of a repository keeps text.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    encoding : `str`
        As PostgreSQL names it; always ``UTF8`` for other databases.
    """
    database = butler._registry._db  # type: ignore[attr-defined]
    if database.dialect.name != "postgresql":
        return "UTF8"
    with database._engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text("SHOW server_encoding")).scalar())


def keep_to_privileges(butler: Butler) -> bool:
    """Keep a butler from temporary tables where the login may make none.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    possible : `bool`
        Whether the release of the butler can do without.
    """
    database = butler._registry._db  # type: ignore[attr-defined]
    if database.dialect.name != "postgresql" or not getattr(database, "supports_temporary_tables", True):
        return True
    with database._engine.connect() as connection:
        statement = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
        if connection.execute(sqlalchemy.text(statement)).scalar():
            return True
    if not hasattr(database, "_allow_temporary_tables"):
        return False
    # As registry.temporary_tables in butler.yaml does.
    database._allow_temporary_tables = False
    return True
