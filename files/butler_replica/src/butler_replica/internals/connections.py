"""What is done at each connection of the engines that this package opens, and of no other one of the process."""

from __future__ import annotations

__all__ = ["known_connections", "watch_butler", "watch_engine", "watching_new_engines"]

import weakref
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler

_KEEPALIVE = {"connect_timeout": 60, "keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
"""When to give up a PostgreSQL server that has vanished without a word: after two minutes, not two hours."""

_MAKES_TABLE = ("CREATE TABLE", "CREATE INDEX", "CREATE UNIQUE INDEX", "COMMIT")

_connections: weakref.WeakSet[Any] = weakref.WeakSet()
"""Connections of these engines to PostgreSQL."""


def _keep_alive(dialect: sqlalchemy.Dialect, _: Any, __: Any, parameters: dict[str, Any]) -> None:
    if dialect.name == "postgresql":
        for name, value in _KEEPALIVE.items():
            parameters.setdefault(name, value)


def _fail_where_table_is_not_made(context: sqlalchemy.engine.ExceptionContext) -> None:
    """Raise every error but "somebody else has made it" where a table is made.

    The butler takes every `~sqlalchemy.exc.DatabaseError` there for that one, a cut connection and a full disk
    included, and then registers a dataset type whose table does not exist: the repository is broken for good.
    """
    error = context.sqlalchemy_exception
    if (
        context.connection is not None
        and isinstance(error, sqlalchemy.exc.DatabaseError)
        and not isinstance(error, sqlalchemy.exc.IntegrityError)
        and (context.statement or "COMMIT").lstrip().startswith(_MAKES_TABLE)
        and "already exists" not in str(error.orig)
    ):
        raise sqlalchemy.exc.DBAPIError(error.statement, error.params, context.original_exception) from error


def _note_connection(connection: Any, _: Any) -> None:
    if hasattr(connection, "get_backend_pid"):
        _connections.add(connection)


_LISTENERS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("do_connect", _keep_alive),
    ("handle_error", _fail_where_table_is_not_made),
    ("connect", _note_connection),
)


def known_connections() -> Set[Any]:
    """Return the connections of this process to PostgreSQL, as the driver has them."""
    return _connections


def watch_engine(engine: sqlalchemy.Engine) -> None:
    """Watch the connections of an engine from now on.

    Parameters
    ----------
    engine : `sqlalchemy.Engine`
        The engine.
    """
    for event, listener in _LISTENERS:
        sqlalchemy.event.listen(engine, event, listener)


def watch_butler(butler: Butler) -> None:
    """Watch the connections of a butler from now on.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; one without a database of its own is left alone.
    """
    database = getattr(getattr(butler, "_registry", None), "_db", None)
    if database is not None:
        watch_engine(database._engine)


@contextmanager
def watching_new_engines() -> Iterator[None]:
    """Watch connections while a butler is made: it connects before anybody can have its engine."""
    with ExitStack() as stack:
        for event, listener in _LISTENERS:
            target = sqlalchemy.Pool if event == "connect" else sqlalchemy.Engine

            # One of its own each time: what is listened to twice is removed once.
            def own(*given: Any, _listener: Callable[..., None] = listener) -> None:
                _listener(*given)

            sqlalchemy.event.listen(target, event, own)
            stack.callback(sqlalchemy.event.remove, target, event, own)
        yield
