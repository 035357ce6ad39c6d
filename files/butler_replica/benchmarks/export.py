"""CPU time and memory of exporting raws, beside `Butler.export`; what is exported is imported again and compared.

    python benchmarks/export.py --exposures 200
    python benchmarks/export.py --exposures 5300 --no-stock

The stock exporter writes neither the visits of the exposures nor files of limited size. Each measurement has a process
of its own; importing Python modules is not counted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from dimension_records import RAW, peak_megabytes
from import_exports import DETECTORS, Bench, environment, write_exports
from lsst.daf.butler import Butler
from rich import box
from rich.console import Console
from rich.table import Table

from butler_replica.dimensions.visits import define_visits
from butler_replica.holdings.compare import compare
from butler_replica.imports.importer import import_exports
from butler_replica.source.export import export


def measure(how: str, repo: str, out: str) -> dict[str, float]:
    """Export in this process; return CPU and wall seconds, and peak megabytes."""
    cpu, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    if how == "stock":
        butler = Butler.from_config(repo)
        Path(out).mkdir()
        with butler.export(directory=out, filename="export.yaml") as exporter:
            exporter.saveDatasets(butler.query_datasets("raw", "*", find_first=False, limit=None))
    else:
        export(repo, out, dataset_types=["raw"])
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime,
        "wall": time.monotonic() - wall,
        "megabytes": peak_megabytes(),
    }


def in_process(how: str, repo: Path, out: Path) -> dict[str, float]:
    """Measure in a new process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__, "--one", json.dumps([how, str(repo), str(out)])],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@click.command()
@click.option("--exposures", default=50, show_default=True, help=f"Exposures of {DETECTORS} raws each.")
@click.option("--backend", default="sqlite", show_default=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option("--stock/--no-stock", default=True, help="Measure the stock exporter, too.")
@click.option("--visits/--no-visits", default=True, help="Define visits before.")
@click.option("--one", hidden=True)
def main(exposures: int, backend: str, *, stock: bool, visits: bool, one: str | None) -> None:
    """Export raws by this project and by the stock butler."""
    if one:
        click.echo(json.dumps(measure(*json.loads(one))))
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(
        title=f"Export of {exposures * DETECTORS} raws ({backend})", title_justify="left", box=box.SIMPLE
    )
    for header in ("", "CPU s", "wall s", "us CPU per raw", "peak MB"):
        table.add_column(header, justify="right")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="export-")))
        bench = Bench(work, environment(stack, work, (backend,)))
        source, copy = bench.repository(backend), bench.repository(backend)
        write_exports(work / "exports", exposures=exposures, chunks=max(1, exposures // 50))
        import_exports(source, [work / "exports"], transfer="direct")
        if visits:
            define_visits(source, [RAW])
        results: dict[str, dict[str, Any]] = {"replica": in_process("replica", source, work / "ours")}
        if stock:
            results["stock"] = in_process("stock", source, work / "theirs")
        for how, result in results.items():
            table.add_row(
                how,
                f"{result['cpu']:.1f}",
                f"{result['wall']:.1f}",
                f"{result['cpu'] / exposures / DETECTORS * 1e6:.0f}",
                f"{result['megabytes']:.0f}",
            )
        import_exports(copy, [work / "ours/raw"], transfer="direct", roots=[work])
        same = compare(source, copy).same
    console.print(table)
    if stock:
        console.print(f"stock / replica, CPU: {results['stock']['cpu'] / results['replica']['cpu']:.1f}")
    console.print("imported again: the same" if same else "imported again: NOT the same")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
