"""How long readers of a registry wait while an import writes into it, on a temporary PostgreSQL server.

A replica of raws is made; then stock butlers, each in a process of its own, ask for collections, dimension
records, datasets and the places of their artifacts, again and again, while one more export is imported. An
observer looks every 20 ms which sessions wait for a lock. Many readers on few processors take long without
waiting for anybody: what counts is the time that they wait for locks, and that none of them fails.

    python benchmarks/readers.py
    python benchmarks/readers.py --exclusive
    python benchmarks/readers.py --there 20 --new 20 --readers 8
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import psycopg2
from dimension_records import RAW
from import_exports import DETECTORS, Bench, environment, write_exports
from lsst.daf.butler import Butler
from rich.console import Console

LIMIT_SECONDS = 2.0
"""No reader may wait longer for a lock."""

_WAITING = "SELECT pid, query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class Waits(threading.Thread):
    """Watches how long sessions wait for locks.

    Parameters
    ----------
    url : `str`
        The database, with the credentials of a superuser.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._stop_asked = threading.Event()
        self.longest = 0.0

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
            self.longest = max([self.longest, *(now - begin for begin in since.values())])
        connection.close()

    def stop(self) -> None:
        """End."""
        self._stop_asked.set()
        self.join()


def read(repo: str, seed: int, stop: Any, answers: Any) -> None:
    """Read until told to stop; answer with the number of rounds, the longest of them, and what went wrong."""
    chance = random.Random(seed)  # noqa: S311
    rounds, longest, problem = 0, 0.0, ""
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
            rounds += 1
            longest = max(longest, time.monotonic() - begin)
            time.sleep(chance.uniform(0.1, 0.5))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    answers.put((rounds, longest, problem))


@click.command()
@click.option(
    "--there", default=530, show_default=True, help=f"Exposures of {DETECTORS} raws in the replica."
)
@click.option("--new", default=106, show_default=True, help="Exposures of the import that is watched.")
@click.option("--readers", default=30, show_default=True, help="Processes that read.")
@click.option("--transfer", default="symlink", show_default=True)
@click.option("--exclusive", is_flag=True, help="Let the import have the tables for itself.")
def main(there: int, new: int, readers: int, transfer: str, *, exclusive: bool) -> None:
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
        time.sleep(5.0)
        waits = Waits(server.url(repo.name, "postgres", server.admin_password))
        waits.start()
        begin = time.monotonic()
        options = ["--exclusive"] if exclusive else []
        done = subprocess.run([*command, *options, str(last)], check=False, stdout=subprocess.DEVNULL)  # noqa: S603
        seconds = time.monotonic() - begin
        waits.stop()
        stop.set()
        results = [answers.get() for _ in processes]
        for process in processes:
            process.join()
    problems = [problem for _, _, problem in results if problem]
    console.print(
        f"{new * DETECTORS} raws imported in {seconds:.1f} s beside {readers} readers: "
        f"{sum(rounds for rounds, _, _ in results)} rounds, the longest {max(one[1] for one in results):.1f} s; "
        f"longest wait for a lock {waits.longest:.2f} s; {len(problems)} readers failed."
    )
    for problem in problems:
        console.print(problem, markup=False)
    sys.exit(1 if problems or done.returncode or waits.longest > LIMIT_SECONDS else 0)


if __name__ == "__main__":
    main()
