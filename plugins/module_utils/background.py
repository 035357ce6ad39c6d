# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""A module's work in a process of its own, for the action plugin of long work.

The plugin calls the module as often as it takes and names the same job: a
file, which the first call makes. Every call waits a little for the end of the
work, so that one is enough where there is little to do. The work holds a lock
on the file and writes its result to it; the kernel says whether it goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_POLL_SECONDS = 0.05
"""Seconds between looks at a job."""

_GRACE_SECONDS = 3.0
"""Seconds for a module that has not started its job yet, and for a job that was told to end."""

_FORGOTTEN_SECONDS = 120.0
"""Seconds after which nobody asks for the result of a job any more: longer than the plugin tries to reach a target."""


class Job:
    """The work of a module."""

    def __init__(self, path: str) -> None:
        self._result = Path(path).expanduser()
        self._progress = Path(f"{self._result}.progress")
        self._errors = Path(f"{self._result}.errors")
        self.told = ""

    def obey(self) -> None:
        """Do what the plugin asks for: return where the work is to be done, and exit elsewhere."""
        if os.environ.get("BUTLER_REPLICA_STOP"):
            self._stop()
        self._start(patience=float(os.environ["BUTLER_REPLICA_PATIENCE"]))

    def tell(self, line: str) -> None:
        """Write down how far the work is."""
        self.told = line
        new = Path(f"{self._result}.new")
        # Work is not lost for want of a word about it.
        with contextlib.suppress(OSError):
            new.write_text(f"{os.getpid()}\n{line}\n")
            new.replace(self._progress)

    def _start(self, patience: float) -> None:
        """Return in a new process; the one that was called answers."""
        try:
            self._result.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            result = os.open(self._result, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self._answer(patience)
        except OSError:
            # No place for it: the work is done in this call.
            return
        fcntl.flock(result, fcntl.LOCK_EX)
        self._clear_forgotten()
        sys.stdout.flush()
        if os.fork():
            os.close(result)
            try:
                self._answer(patience)
            except SystemExit:
                # Ansible's own way out takes away the Python code that the work still needs.
                sys.stdout.flush()
                os._exit(0)
        # The end of the connection is not that of the work, and what the work starts ends with it.
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(result, 1)
        os.dup2(os.open(self._errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
        self.tell("")

    def _stop(self) -> NoReturn:
        """End the work."""
        # A call that starts nothing any more: it finds the job made.
        with contextlib.suppress(FileExistsError):
            self._result.touch(mode=0o600, exist_ok=False)
        if _within(_GRACE_SECONDS, self._progress.exists):
            group = int(self._progress.read_text().splitlines()[0])
            for number in (signal.SIGTERM, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, number)
            _within(_GRACE_SECONDS, self._has_ended)
        self._remove()
        _exit_with({"changed": False})

    def _answer(self, patience: float) -> NoReturn:
        """Exit with the result of the work, or with how far it is."""
        # Whoever clears what was forgotten sees that somebody asks.
        os.utime(self._result)
        if not _within(patience, self._has_ended):
            said = self._progress.read_text().splitlines() if self._progress.exists() else []
            _exit_with({"changed": False, "job_running": True, "job_progress": "".join(said[1:])})
        result = self._result.read_bytes()
        errors = self._errors.read_bytes() if self._errors.exists() else b""
        self._remove()
        if result.rstrip().endswith(b"}"):
            sys.stdout.buffer.write(result)
            sys.exit()
        message = (
            "This ended without a result: it was killed, perhaps for want of memory. What it has completed is in the "
            "repository; run it again and it continues."
        )
        _exit_with({"failed": True, "msg": message, "stderr": _visible(errors)})

    def _has_ended(self) -> bool:
        with self._result.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _clear_forgotten(self) -> None:
        """Remove the files of jobs that have ended and whose run was cut before it asked for the result."""
        family, _, _ = self._result.name.partition(".")
        for name in {".".join(path.name.split(".")[:2]) for path in self._result.parent.glob(f"{family}.*")}:
            # Another run may clear it, too.
            with contextlib.suppress(OSError):
                Job(str(self._result.parent / name))._clear_if_forgotten()

    def _clear_if_forgotten(self) -> None:
        files = list(self._result.parent.glob(f"{self._result.name}*"))
        newest = max((path.stat().st_mtime for path in files), default=0.0)
        if time.time() - newest > _FORGOTTEN_SECONDS and (not self._result.exists() or self._has_ended()):
            self._remove()

    def _remove(self) -> None:
        for path in self._result.parent.glob(f"{self._result.name}*"):
            path.unlink(missing_ok=True)


def _visible(said: bytes) -> str:
    """Return what the work said: it may have quoted names, which control no terminal."""
    # Only where there was work to do, and so the package.
    from butler_replica.wording import visible_lines  # noqa: PLC0415

    return visible_lines(said.decode(errors="backslashreplace"))


def _exit_with(result: dict[str, Any]) -> NoReturn:
    # Ansible's own way imports code that goes with the work.
    print(json.dumps(result))
    sys.exit()


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Wait until something holds; say whether it did within the time."""
    deadline = time.monotonic() + seconds
    while not (now := holds()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return now
