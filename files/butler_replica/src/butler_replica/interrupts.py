"""Ending work when a signal asks for it, with what was begun undone."""

from __future__ import annotations

__all__ = ["ended_by_signals"]

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import sqlalchemy
import sqlalchemy.exc

_ENDING = (signal.SIGTERM, signal.SIGHUP)

_noted: list[dict[int, Any]] = []
"""Connections of the database's driver that are in use, by the place that each has in a pool, for each block within
which they are noted: a verb that has two repositories open is in two."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End work on SIGTERM and SIGHUP as on Ctrl-C, by an exception; each of them cancels SQL statements.

    Signals that are handled or ignored already are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]

    def end(number: int, _: FrameType | None) -> NoReturn:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in ending:
        signal.signal(each, end)
    try:
        with _statements_cancelled():
            yield
    finally:
        for each in ending:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def _statements_cancelled() -> Iterator[None]:
    """Cancel the statements that the database is at as soon as a signal asks to end.

    Python itself looks at signals only between two of its own steps, and a
    database can be at one statement for minutes.
    """
    heard, speak = socket.socketpair()
    speak.setblocking(False)

    def watch() -> None:
        while number := heard.recv(1):
            if number[0] in (signal.SIGINT, *_ENDING):
                _cancel_statements()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    previous = signal.set_wakeup_fd(speak.fileno(), warn_on_full_buffer=False)
    try:
        with _uses_noted():
            yield
    finally:
        signal.set_wakeup_fd(previous)
        speak.close()
        watcher.join()
        heard.close()


@contextmanager
def _uses_noted() -> Iterator[None]:
    """Note the connections that are in use meanwhile."""
    in_use: dict[int, Any] = {}

    def begin(connection: Any, record: Any, _: Any) -> None:
        in_use[id(record)] = connection

    def end(_: Any, record: Any) -> None:
        in_use.pop(id(record), None)

    listeners: dict[str, Callable[..., None]] = {"checkout": begin, "checkin": end}
    for event, listener in listeners.items():
        sqlalchemy.event.listen(sqlalchemy.Pool, event, listener)
    _noted.append(in_use)
    try:
        yield
    finally:
        _noted[:] = [one for one in _noted if one is not in_use]
        for event, listener in listeners.items():
            sqlalchemy.event.remove(sqlalchemy.Pool, event, listener)


def _cancel_statements() -> None:
    for connection in [one for in_use in _noted for one in in_use.values()]:
        # SQLite's driver calls it one thing, PostgreSQL's another.
        cancel = getattr(connection, "interrupt", None) or connection.cancel
        # Its error has a class of the driver's own: the connection is closed, or the server gone.
        with contextlib.suppress(Exception):
            cancel()
