"""Which database a registry is in, and whether its names can be used."""

from __future__ import annotations

__all__ = ["open_database"]

import re
from pathlib import Path

import sqlalchemy
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from ..errors import RepositoryError
from .database import Database
from .postgres import DOOMED, PostgresDatabase
from .postgres_server import MAKING
from .sqlite import SqliteDatabase

_MAX_NAME_BYTES = 63
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]*")


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
    if len(name.encode()) > _MAX_NAME_BYTES:
        reason = f"is longer than {_MAX_NAME_BYTES} bytes, where the server cuts it"
    elif name in ("template0", "template1") or name.startswith((MAKING, DOOMED)):
        reason = "is the name of a database with a purpose of its own"
    elif not name.isprintable() or name != name.strip():
        reason = "has control characters, or spaces around it"
    if reason:
        raise RepositoryError(
            f"The database name {name!r} {reason}. Take another one (registry.db).",
            arguments=["config.registry.db"],
        )


def _check_schema_name(url: sqlalchemy.engine.URL, namespace: str) -> None:
    """Refuse schemas that the butler makes and can then not import into: it does not quote their names."""
    if not namespace:
        return
    if (
        not _SCHEMA_NAME.fullmatch(namespace)
        or len(namespace) > _MAX_NAME_BYTES
        or namespace in RESERVED_WORDS
        or namespace.startswith("pg_")
        or namespace == "information_schema"
    ):
        raise RepositoryError(
            f"{url}: lsst-daf-butler cannot work with the schema name {namespace!r} (registry.namespace). Take "
            f"small letters, digits and underscores (at most {_MAX_NAME_BYTES}), no digit first, no pg_ in front, and "
            "no reserved word of SQL.",
            arguments=["config.registry.namespace"],
        )
