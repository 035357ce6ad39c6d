"""Commands in processes of their own, which have imported the butler before they begin.

A command is forked from a process that has imported all that it needs and has done nothing else: importing takes
longer than most commands. It is the leader of a session, has its own environment, its output goes to pipes, and it
ends with the status that its user sees.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, Self

OURS = "butler_replica.cli:main"
STOCK = "lsst.daf.butler.cli.butler:main"

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *("butler_replica.cli", "butler_replica.imports.importer", "butler_replica.holdings.prune"),
        *("lsst.daf.butler.cli.butler", "lsst.daf.butler.direct_butler", "lsst.daf.butler.script"),
        *("lsst.daf.butler.registry.databases.sqlite", "lsst.daf.butler.registry.databases.postgresql"),
        *("lsst.daf.butler.registry.managers", "lsst.daf.butler.datastores.fileDatastore", "psycopg2"),
        *("lsst.daf.butler.registry.datasets.byDimensions", "astropy.time", "lsst.sphgeom"),
    ]
)


def _run(
    entry: str, arguments: Sequence[str], environment: Mapping[str, str], out: Connection, err: Connection
) -> None:
    os.setsid()
    # Where tests run in the background Ctrl-C is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    for number, end in ((1, out), (2, err)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    module, _, function = entry.partition(":")
    sys.argv = [module, *arguments]
    sys.exit(getattr(importlib.import_module(module), function)())


class Command:
    """A command that was started; it is used as ``subprocess.Popen`` is."""

    def __init__(self, *arguments: object, entry: str = OURS, **environment: str) -> None:
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        self.args = [entry, *map(str, arguments)]
        given = (entry, self.args[1:], {**os.environ, **environment}, out, err)
        self._process = _FORKING.Process(target=_run, args=given)
        self._process.start()
        for end in (out, err):
            end.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or the number of the signal below zero."""
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and for that of all who could still write; return what was written."""
        texts = ["", ""]

        def read(number: int, pipe: IO[str]) -> None:
            texts[number] = pipe.read() if not pipe.closed else ""

        readers = [
            threading.Thread(target=read, args=each, daemon=True)
            for each in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.stdout.close()
        self.stderr.close()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it has not ended."""
        if self.returncode is None:
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()


def _pipe() -> tuple[IO[str], Connection]:
    read, write = multiprocessing.Pipe(duplex=False)
    with read:
        return os.fdopen(os.dup(read.fileno()), encoding="utf-8"), write


def run(*arguments: object, entry: str = OURS, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with Command(*arguments, entry=entry, **environment) as command:
        out, err = command.communicate()
    return subprocess.CompletedProcess(command.args, command.wait(), out, err)
