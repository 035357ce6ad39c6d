"""Kill importers at random moments; what is left must be whole, and a rerun must complete it.

python tests/kill_importer.py 100 --backend postgresql --transfer copy
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import click
from lsst.daf.butler import Butler

from kit.exports import write_raws
from kit.importers import (
    Clean,
    assert_like,
    assert_whole,
    group,
    imported,
    make_on,
    run_import,
    start_import,
    wait_until,
    write_auth,
)
from kit.repositories import Repository
from kit.servers import temporary_server


def kill_at_random(
    make: Callable[[], Repository], exports: Sequence[Path], transfer: str, count: int, seed: int
) -> None:
    """Kill an importer ``count`` times, at moments spread evenly over the duration of a clean run.

    Each import continues what the one before it left, until nothing is left to import; then a new
    repository takes its place.
    """
    print(f"seed {seed}")
    moments = random.Random(seed)
    arguments = (*exports, "--transfer", transfer)
    whole = make()
    began = time.monotonic()
    run_import(whole, *arguments)
    duration = time.monotonic() - began
    clean = Clean.of(whole)
    killed = make()
    for number in range(1, count + 1):
        moment = moments.uniform(0, duration)
        with start_import(killed, *arguments) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            # Not communicate(): a child that outlives its parent would keep the pipes open.
            process.wait()
            wait_until(lambda: not group(process.pid), "the importer's child processes have gone", 10)
        assert_whole(killed)
        there = imported(killed)
        print(f"{number}: killed after {moment:.2f} of {duration:.2f} s, {there} datasets")
        if there == clean.n_datasets or number == count:
            run_import(killed, *arguments)
            assert_like(clean, killed)
            killed = make()


@click.command()
@click.argument("count", type=int, default=100)
@click.option("--backend", type=click.Choice(["postgresql", "sqlite"]), default="postgresql")
@click.option("--transfer", type=click.Choice(["symlink", "copy"]), default="symlink")
@click.option("--exposures", default=50, help="A hundred raws each.")
@click.option("--seed", type=int, default=lambda: random.SystemRandom().randrange(10**6))
def main(count: int, backend: str, transfer: str, exposures: int, seed: int) -> None:
    """Kill COUNT importers and check what they leave."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(temporary_server() if backend == "postgresql" else nullcontext())
        os.environ["LSST_DB_AUTH"] = str(write_auth(folder / "db-auth.yaml", server))

        def make() -> Repository:
            root = folder / f"repo{len(list(folder.glob('repo*')))}"
            if server is not None:
                return make_on(server, root, lambda *login: None)
            Butler.makeRepo(root)
            return Repository(root, backend, root.name, f"sqlite:///{root / 'gen3.sqlite3'}")

        exports = [
            write_raws(folder / "exports", exposures=exposures),
            write_raws(folder / "exports", exposures=2, first=5000, run="Cam/raw/few"),
        ]
        kill_at_random(make, exports, transfer, count, seed)


if __name__ == "__main__":
    main()
