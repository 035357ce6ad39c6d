"""Imports by the package of another commit and by the one in work, side by side; their repositories are compared.

    python benchmarks/before_and_after.py COMMIT --exposures 100 --backend postgresql

Each measurement has a process and a repository of its own, before and after by turns; the best of ``--repeat``
counts. Starting Python is not counted. Without COMMIT, what is
changed is held against what is committed. The commit only has to have the command ``butler-replica import``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import click
from import_exports import DETECTORS, Bench, environment, write_exports
from rich import box
from rich.console import Console
from rich.table import Table

from butler_replica.holdings.compare import compare

PROJECT = Path(__file__).resolve().parents[3]
SOURCE = "files/butler_replica/src"
TIMED = """
import json, sys, time
from pathlib import Path
import butler_replica
from butler_replica.cli import main
import butler_replica.cli.import_
begin = time.monotonic()
status = 0
try:
    main(sys.argv[2:])
except SystemExit as error:
    status = error.code or 0
seconds = time.monotonic() - begin
Path(sys.argv[1]).write_text(json.dumps({"seconds": seconds, "package": butler_replica.__file__}))
sys.exit(status)
"""


def source_of(commit: str, folder: Path) -> Path:
    """Write the package of a commit to a folder; return what to put on Python's path."""
    archive = subprocess.run(  # noqa: S603
        ["git", "-C", str(PROJECT), "archive", commit, SOURCE],  # noqa: S607
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / SOURCE


def seconds_of(source: Path, arguments: list[str], folder: Path) -> float:
    """Import with the package of a source; return the seconds.

    Raises
    ------
    RuntimeError
        Raised if another package was loaded than that one.
    """
    result = folder / "result.json"
    subprocess.run(  # noqa: S603
        [sys.executable, "-c", TIMED, str(result), "import", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    found = json.loads(result.read_text())
    if not Path(found["package"]).is_relative_to(source):
        raise RuntimeError(f"{found['package']} was measured, which is not below {source}.")
    return float(found["seconds"])


@click.command()
@click.argument("commit", default="HEAD")
@click.option("--exposures", default=100, show_default=True, help=f"Exposures of {DETECTORS} raws each.")
@click.option("--chunks", default=1, show_default=True, help="Export files that they are in.")
@click.option("--backend", "backends", multiple=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option("--transfer", "transfers", multiple=True, type=click.Choice(["direct", "symlink", "copy"]))
@click.option("--repeat", default=3, show_default=True, help="Times each is measured.")
def main(
    commit: str,
    exposures: int,
    chunks: int,
    backends: tuple[str, ...],
    transfers: tuple[str, ...],
    *,
    repeat: int,
) -> None:
    """Import raws with the package of COMMIT and with that in work, by turns."""
    backends, transfers = backends or ("postgresql", "sqlite"), transfers or ("direct", "symlink")
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(
        title=f"{exposures * DETECTORS} raws, best of {repeat}", title_justify="left", box=box.SIMPLE
    )
    for header in ("", "before, s", "after, s", "before / after", "same"):
        table.add_column(header, justify="right")
    all_same = True
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="before_and_after-")))
        bench = Bench(work, environment(stack, work, backends))
        sources = {"before": source_of(commit, work / "before"), "after": PROJECT / SOURCE}
        write_exports(work / "exports", exposures=exposures, chunks=chunks)
        for backend in backends:
            for transfer in transfers:
                seconds: dict[str, list[float]] = {"before": [], "after": []}
                repos: dict[str, Path] = {}
                for _ in range(repeat):
                    for name, source in sources.items():
                        repos[name] = bench.repository(backend)
                        arguments = [str(repos[name]), str(work / "exports"), "--transfer", transfer]
                        seconds[name].append(seconds_of(source, arguments, work))
                result = compare(str(repos["before"]), str(repos["after"]))
                all_same &= result.same
                before, after = min(seconds["before"]), min(seconds["after"])
                table.add_row(
                    f"{backend} {transfer}",
                    f"{before:.2f}",
                    f"{after:.2f}",
                    f"{before / after:.2f}",
                    "yes" if result.same else "NO",
                )
    console.print(table)
    sys.exit(0 if all_same else 1)


if __name__ == "__main__":
    main()
