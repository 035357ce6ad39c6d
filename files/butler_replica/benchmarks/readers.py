"""How long readers of a registry wait while an import writes into it, on a temporary PostgreSQL server.

A replica of raws is made; then stock butlers, each in a process of its own, ask for collections, dimension
records, datasets and the places of their artifacts, again and again: first with nobody writing, then while
one more export is imported, then while processes do nothing but take as much of the processors as an import
does. An observer looks every 20 ms what sessions wait for. Many readers on few processors take long without
waiting for anybody: the rounds that are longer than with mere work beside them are the import's doing, and
what counts is the time that they wait for something of the database's, and that none of them fails.

    python benchmarks/readers.py
    python benchmarks/readers.py --exclusive
    python benchmarks/readers.py --there 20 --new 20 --readers 8
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg2
from dimension_records import RAW
from import_exports import DETECTORS, Bench, environment, write_exports
from lsst.daf.butler import Butler
from rich.console import Console

LIMIT_SECONDS = 2.0
"""No reader may wait longer for a lock."""

_WAITING = (
    "SELECT wait_event_type || ' ' || wait_event, pid, query_start FROM pg_stat_activity WHERE state = 'active' "
    "AND wait_event_type IN ('Lock', 'LWLock', 'IO', 'BufferPin', 'IPC') AND backend_type = 'client backend' "
    "AND application_name <> 'importer'"
)
_WORKERS = 2
"""Processes that work instead of an import: itself, and the session of the server that works for it."""


class Waits(threading.Thread):
    """Watches how long the sessions of readers wait, and for what.

    Parameters
    ----------
    url : `str`
        The database, with the credentials of a superuser.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._stop_asked = threading.Event()
        self.longest: dict[str, float] = {}
        """Seconds of the longest wait, by what was waited for."""

    def run(self) -> None:
        """Watch until told to stop."""
        connection = psycopg2.connect(self._url)
        connection.autocommit = True
        cursor = connection.cursor()
        since: dict[Any, float] = {}
        while not self._stop_asked.wait(0.02):
            cursor.execute(_WAITING)
            now = time.monotonic()
            since = {waiting: since.get(waiting, now) for waiting in cursor.fetchall()}
            for (event, *_), begin in since.items():
                self.longest[event] = max(self.longest.get(event, 0.0), now - begin)
        connection.close()

    @property
    def for_locks(self) -> float:
        """Seconds of the longest wait for a lock."""
        return max([0.0, *(seconds for event, seconds in self.longest.items() if event.startswith("Lock "))])

    def stop(self) -> None:
        """End."""
        self._stop_asked.set()
        self.join()


def read(repo: str, seed: int, stop: Any, answers: Any) -> None:
    """Read until told to stop; answer with when rounds began and how long they took, and with what went wrong."""
    chance = random.Random(seed)  # noqa: S311
    rounds, problem = [], ""
    try:
        butler = Butler.from_config(repo, writeable=False)
        while not stop.is_set():
            begin = time.monotonic()
            butler.registry.refresh()
            butler.collections.query_info("*")
            exposures = butler.query_dimension_records("exposure", limit=50)
            chosen = chance.choice(exposures)
            refs = butler.query_datasets(
                "raw",
                collections=RAW,
                where=f"instrument = 'LSSTCam-imSim' AND exposure = {chosen.id}",
                limit=20,
            )
            for ref in refs[:5]:
                butler.getURI(ref)
            rounds.append((begin, time.monotonic() - begin))
            time.sleep(chance.uniform(0.1, 0.5))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    answers.put((rounds, problem))


def occupy(stop: Any) -> None:
    """Do nothing but work until told to stop."""
    while not stop.is_set():
        sum(range(10_000))


class Phase(NamedTuple):
    """What happened beside the readers, and when."""

    name: str
    begin: float
    end: float
    waits: Waits

    def line(self, rounds: list[tuple[float, float]]) -> str:
        """Return how long the rounds took that were under way meanwhile."""
        seconds = sorted(
            took for began, took in rounds if began < self.end and began + took > self.begin
        ) or [0.0]
        median, most = (seconds[len(seconds) * share // 100] for share in (50, 99))
        waits = ", ".join(f"{event} {longest:.2f} s" for event, longest in sorted(self.waits.longest.items()))
        return (
            f"{self.name} ({self.end - self.begin:.1f} s): {len(seconds)} rounds, median {median:.2f} s, 99 of 100 "
            f"within {most:.2f} s, the longest {seconds[-1]:.2f} s; longest waits: {waits or 'none'}."
        )


@contextmanager
def phase(name: str, url: str, phases: list[Phase]) -> Iterator[None]:
    """Watch what readers wait for."""
    waits = Waits(url)
    waits.start()
    begin = time.monotonic()
    yield
    end = time.monotonic()
    waits.stop()
    phases.append(Phase(name, begin, end, waits))


@click.command()
@click.option(
    "--there", default=530, show_default=True, help=f"Exposures of {DETECTORS} raws in the replica."
)
@click.option("--new", default=106, show_default=True, help="Exposures of the import that is watched.")
@click.option("--readers", default=30, show_default=True, help="Processes that read.")
@click.option("--transfer", default="symlink", show_default=True)
@click.option("--alone", default=20.0, show_default=True, help="Seconds without an import, twice.")
@click.option("--exclusive", is_flag=True, help="Let the import have the tables for itself.")
def main(there: int, new: int, readers: int, transfer: str, alone: float, *, exclusive: bool) -> None:
    """Measure how long readers wait while an import writes."""
    console = Console()
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="readers-"))
        stack.callback(shutil.rmtree, work)
        server = environment(stack, work, ("postgresql",), 2 * readers + 20)
        assert server is not None  # noqa: S101
        repo = Bench(work, server).repository("postgresql")
        console.print(f"Writing {(there + new) * DETECTORS} raws.")
        write_exports(work / "exports", exposures=there + new, chunks=-(-(there + new) // new))
        *before, last = sorted((work / "exports").glob("*.yaml"))
        command = [sys.executable, "-m", "butler_replica", "import", str(repo), "--transfer", transfer]
        begin = time.monotonic()
        subprocess.run([*command, *map(str, before)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        console.print(f"Replica made in {time.monotonic() - begin:.1f} s, nobody else connected.")
        forked = multiprocessing.get_context("fork")
        stop, answers = forked.Event(), forked.Queue()
        processes = [
            forked.Process(target=read, args=(str(repo), seed, stop, answers)) for seed in range(readers)
        ]
        for process in processes:
            process.start()
        url = server.url(repo.name, "postgres", server.admin_password)
        phases: list[Phase] = []
        time.sleep(5.0)
        with phase("nobody writes", url, phases):
            time.sleep(alone)
        options = ["--exclusive"] if exclusive else []
        with phase(f"{new * DETECTORS} raws are imported", url, phases):
            done = subprocess.run(  # noqa: S603
                [*command, *options, str(last)],
                check=False,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PGAPPNAME": "importer"},
            )
        others = [forked.Process(target=occupy, args=(stop,)) for _ in range(_WORKERS)]
        with phase(f"{_WORKERS} processes work", url, phases):
            for process in others:
                process.start()
            time.sleep(alone)
        stop.set()
        results = [answers.get() for _ in processes]
        for process in (*processes, *others):
            process.join()
    problems = [problem for _, problem in results if problem]
    rounds = [one for of_reader, _ in results for one in of_reader]
    for one in phases:
        console.print(one.line(rounds), markup=False, soft_wrap=True)
    console.print(f"{readers} readers, {len(problems)} failed.")
    for problem in problems:
        console.print(problem, markup=False)
    late = max(one.waits.for_locks for one in phases) > LIMIT_SECONDS
    sys.exit(1 if problems or done.returncode or late else 0)


if __name__ == "__main__":
    main()
