"""Ending work when a signal asks for it, with what was begun undone."""

from __future__ import annotations

__all__ = ["cancelled_by_signals", "ended_by_signals"]

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end work as Ctrl-C does, by an exception.

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
        yield
    finally:
        for each in ending:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def cancelled_by_signals(cancel: Callable[[], object]) -> Iterator[None]:
    """Cancel what the main thread waits for as soon as a signal asks it to end.

    Python itself looks at signals only between two of its own steps, and a
    database can be at one statement for minutes.

    Parameters
    ----------
    cancel : `~collections.abc.Callable`
        Is called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tell = socket.socketpair()
    tell.setblocking(False)

    def watch() -> None:
        while number := told.recv(1):
            if number[0] in (signal.SIGINT, *_ENDING):
                cancel()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    previous = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        tell.close()
        watcher.join()
        told.close()
