"""Time and memory of importing raws, beside the stock importer and beside COPY.

``stock`` is `Butler.import_`, ``replica`` is `import_exports`, ``rerun`` is the same once more. ``COPY``
is the limit on PostgreSQL: the rows of the finished tables copied into the same tables, with their keys
and indexes, where everything but the datasets is there already. ``links`` is what the kernel takes for the
same symbolic links, and nothing else: an ext4 file system on which many files were removed in the last minutes
looks at each of them before it makes a new one, which is paid by all importers alike (``--folder`` on a tmpfs
leaves that out). Each measurement has a process and a
repository of its own; the temporary server lies in memory where there is room, for all alike. Opening the repository is
counted, importing Python modules is not. In the end all tables of the two repositories are compared.

    python benchmarks/import_exports.py --exposures 500 --backend postgresql
    python benchmarks/import_exports.py --exposures 5300 --chunks 100 --no-stock
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psycopg2
import yaml
from dimension_records import RAW, make_exposures, peak_megabytes
from lsst.daf.butler import Butler, Config, DatasetType, DimensionUniverse
from lsst.daf.butler.transfers import YamlRepoExportBackend
from lsst.utils.iteration import chunk_iterable
from rich import box
from rich.console import Console
from rich.table import Table

from butler_replica.dimensions.instruments import instrument_named
from butler_replica.dimensions.records import make_record
from butler_replica.holdings.compare import compare
from butler_replica.imports.importer import import_exports

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from kit.servers import PostgresServer, temporary_server
from kit.stock import formatters

FORMATTER = "lsst.obs.lsst.rawFormatter.LsstCamImSimRawFormatter"
INSTRUMENT = "LSSTCam-imSim"
DETECTORS = 189
SMALL = 24
"""Datasets of the small export."""

REPEAT_SMALL = 3
"""Times that the small export is imported: its seconds are few, the best of them count."""


def write_exports(folder: Path, *, exposures: int, chunks: int, detectors: int = DETECTORS) -> None:
    """Write exports of raws as the butler writes them, and artifacts of a few bytes beside them."""
    universe = DimensionUniverse()
    records = instrument_named(INSTRUMENT).records(universe)
    kind = DatasetType("raw", ["instrument", "exposure", "detector"], "Exposure", universe=universe)
    observed = make_exposures(universe, exposures)
    folder.mkdir()
    for number, chunk in enumerate(chunk_iterable(observed, -(-exposures // chunks))):
        records["day_obs"] = [make_record(universe["day_obs"], instrument=INSTRUMENT, id=chunk[0].day_obs)]
        records["group"] = [
            make_record(universe["group"], instrument=INSTRUMENT, name=exposure.group) for exposure in chunk
        ]
        records["exposure"] = list(chunk)
        with (folder / f"_export_{number:04}.yaml").open("w") as stream:
            backend = YamlRepoExportBackend(stream, universe)
            for element, of_element in records.items():
                backend.saveDimensionData(universe[element], *of_element)
            backend.finish()
            # The list of datasets is the end of the document: it need not be in memory.
            stream.write(
                f"- type: collection\n  collection_type: RUN\n  name: {RAW}\n  host: null\n"
                "  timespan_begin: null\n  timespan_end: null\n"
                f"- type: dataset_type\n  name: {kind.name}\n  dimensions:\n"
                + "".join(f"  - {name}\n" for name in kind.dimensions.names)
                + f"  storage_class: {kind.storageClass_name}\n  is_calibration: false\n"
                f"- type: dataset\n  dataset_type: {kind.name}\n  run: {RAW}\n  records:\n"
            )
            for exposure in chunk:
                name = f"{RAW}/raw/{exposure.day_obs}/{exposure.obs_id}"
                (folder / name).mkdir(parents=True)
                for detector in records["detector"][:detectors]:
                    path = f"{name}/raw_{INSTRUMENT}_{exposure.obs_id}_{detector.full_name}.fits"
                    (folder / path).write_bytes(b"raw")
                    stream.write(
                        f"  - dataset_id:\n    - !uuid '{uuid.uuid5(uuid.NAMESPACE_URL, path)}'\n"
                        f"    data_id:\n    - instrument: {INSTRUMENT}\n      detector: {detector.id}\n"
                        f"      exposure: {exposure.id}\n    path: {path}\n    formatter: {FORMATTER}\n"
                    )


def stock_import(repo: str, exports: Path, transfer: str) -> None:
    """Import with the stock importer, file by file."""
    butler = Butler.from_config(repo, writeable=True)
    for path in sorted(exports.glob("*.yaml")):
        butler.import_(directory=exports, filename=str(path), transfer=transfer)


def measure(how: str, repo: str, transfer: str, exports: str) -> dict[str, Any]:
    """Do one thing in this process; return seconds, peak megabytes and whether it had the right end."""
    with formatters([FORMATTER] if how == "stock" else []):
        begin = time.monotonic()
        match how:
            case "stock":
                stock_import(repo, Path(exports), transfer)
                good = True
            case "compare":
                # Here the other repository stands in the place of the exports.
                result = compare(repo, exports)
                good = result.same
                if not good:
                    result.show(Console(stderr=True))
            case _:
                good = import_exports(repo, [exports], transfer=transfer).changed == (how == "replica")
        seconds = time.monotonic() - begin
    # Of an importer with several processes, the largest child counts beside it.
    peak = peak_megabytes() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": peak, "good": good}


def in_process(how: str, repo: Path, transfer: str, exports: Path) -> dict[str, Any]:
    """Measure in a new process."""
    arguments = json.dumps([how, str(repo), transfer, str(exports)])
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__, "--one", arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass
class Bench:
    """Makes repositories, measures, and collects the rows of the table."""

    folder: Path
    server: PostgresServer | None
    failures: list[str] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    def repository(self, backend: str) -> Path:
        """Make a fresh, empty repository."""
        name = f"repo{next(self._number)}"
        config = Config()
        if backend == "postgresql":
            assert self.server is not None  # noqa: S101
            self.server.create_database(name)
            config["registry", "db"] = self.server.url(name)
        Butler.makeRepo(self.folder / name, config=config)
        return self.folder / name

    def run(self, how: str, repo: Path, transfer: str, exports: Path) -> dict[str, Any]:
        """Measure one thing; what ends wrong is a failure."""
        if self.server is not None:
            self.server.sql("CHECKPOINT")
        result = in_process(how, repo, transfer, exports)
        if not result["good"]:
            self.failures.append(f"{how} of {repo.name} ({transfer}) did not end as it should")
        return result

    def copy_limit(self, repo: Path) -> dict[str, Any]:
        """Copy the rows of the datasets of a finished repository into their tables, in one transaction."""
        assert self.server is not None  # noqa: S101
        server, copy = self.server, f"{repo.name}_copy"
        server.copy_database(repo.name, copy)
        with psycopg2.connect(server.url(copy, server.role, server.password)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT tag_association_table FROM dataset_type WHERE name = 'raw'")
            ((tags,),) = cursor.fetchall()
            tables = ("dataset", tags, "dataset_location", "file_datastore_records")
            for table in tables:
                with (self.folder / f"{table}.copy").open("wb") as rows:
                    cursor.copy_expert(f"COPY {table} TO STDOUT", rows)
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        server.sql("CHECKPOINT")
        begin = time.monotonic()
        with connection:
            for table in tables:
                with (self.folder / f"{table}.copy").open("rb") as rows:
                    cursor.copy_expert(f"COPY {table} FROM STDIN", rows)
        seconds = time.monotonic() - begin
        connection.close()
        server.drop_database(copy)
        return {"seconds": seconds}

    def link_limit(self, repo: Path) -> dict[str, Any]:
        """Make the links of a finished repository once more, in folders that are there."""
        copy = repo.with_name(f"{repo.name}_links")
        links = [(path, path.readlink()) for path in repo.rglob("*") if path.is_symlink()]
        places = [(copy / path.relative_to(repo), source) for path, source in links]
        for folder in {place.parent for place, _ in places}:
            folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        for place, source in places:
            place.symlink_to(source)
        return {"seconds": time.monotonic() - begin}

    def case(self, backend: str, transfer: str, exports: Path, *, stock: bool) -> dict[str, dict[str, Any]]:
        """Measure one backend with one transfer mode."""
        results: dict[str, dict[str, Any]] = {}
        if stock:
            by_stock = self.repository(backend)
            results["stock"] = self.run("stock", by_stock, transfer, exports)
        ours = self.repository(backend)
        results["replica"] = self.run("replica", ours, transfer, exports)
        if backend == "postgresql":
            results["COPY"] = self.copy_limit(ours)
        if transfer == "symlink":
            results["links"] = self.link_limit(ours)
        results["rerun"] = self.run("rerun", ours, transfer, exports)
        if stock:
            results["compare"] = self.run("compare", by_stock, transfer, ours)
        return results

    def small_case(self, backend: str, exports: Path) -> dict[str, dict[str, Any]]:
        """Measure a small import a few times; return the fastest."""
        return {
            how: min(
                (self.run(how, self.repository(backend), "symlink", exports) for _ in range(REPEAT_SMALL)),
                key=lambda result: float(result["seconds"]),
            )
            for how in ("stock", "replica")
        }


def add_rows(table: Table, case: str, n_datasets: int, results: dict[str, dict[str, Any]]) -> None:
    """Add the measurements of one case to the table."""

    def ratio(name: str, seconds: float) -> str:
        return f"{results[name]['seconds'] / seconds:.2f}" if name in results else ""

    for how, result in results.items():
        seconds = result["seconds"]
        is_import = how in ("stock", "replica", "COPY")
        table.add_row(
            case if how == next(iter(results)) else "",
            how,
            str(n_datasets),
            f"{seconds:.2f}",
            f"{n_datasets / seconds:.0f}",
            ratio("stock", seconds) if is_import else "",
            ratio("COPY", seconds) if is_import else "",
            f"{result['megabytes']:.0f}" if "megabytes" in result else "",
        )
    table.add_section()


def environment(
    stack: ExitStack, folder: Path, backends: tuple[str, ...], max_connections: int = 50
) -> PostgresServer | None:
    """Start the server, where it is needed, and put its credentials where the butler finds them."""
    if "postgresql" not in backends:
        return None
    server = stack.enter_context(
        temporary_server({"shared_buffers": "128MB", "max_connections": str(max_connections)})
    )
    auth = folder / "db-auth.yaml"
    auth.touch(mode=0o600)
    entry = {"url": server.url("*"), "username": server.role, "password": server.password}
    auth.write_text(yaml.safe_dump([entry]))
    os.environ["LSST_DB_AUTH"] = str(auth)
    # The stock importer does not wait until artifacts are on the disk.
    os.environ["BUTLER_REPLICA_NO_SYNC"] = "1"
    return server


@click.command()
@click.option("--exposures", default=30, show_default=True, help=f"Exposures of {DETECTORS} raws each.")
@click.option("--chunks", default=1, show_default=True, help="Export files that they are in.")
@click.option("--backend", "backends", multiple=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option("--transfer", "transfers", multiple=True, type=click.Choice(["direct", "symlink", "copy"]))
@click.option("--stock/--no-stock", default=True, help="Measure the stock importer, and compare with it.")
@click.option("--small/--no-small", default=True, help=f"Measure an export of {SMALL} raws, too.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to work; a temporary folder if not given."
)
@click.option("--keep", is_flag=True, help="Keep the exports and the repository folders.")
@click.option("--one", hidden=True)
def main(
    exposures: int,
    chunks: int,
    backends: tuple[str, ...],
    transfers: tuple[str, ...],
    *,
    stock: bool,
    small: bool,
    folder: Path | None,
    keep: bool,
    one: str | None,
) -> None:
    """Measure importing raws, beside the stock importer and beside COPY."""
    if one:
        click.echo(json.dumps(measure(*json.loads(one))))
        return
    backends, transfers = backends or ("postgresql", "sqlite"), transfers or ("direct", "symlink")
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(title=f"Import of raws, export files: {chunks}", title_justify="left", box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for header in ("datasets", "seconds", "per second", "x stock", "x COPY", "peak MB"):
        table.add_column(header, justify="right", no_wrap=True)
    with ExitStack() as stack:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="import_exports-", dir=folder))
        if not keep:
            stack.callback(shutil.rmtree, work)
        bench = Bench(work, environment(stack, work, backends))
        console.print(f"Writing {exposures * DETECTORS} raws to {work}.")
        write_exports(work / "exports", exposures=exposures, chunks=chunks)
        for backend, transfer in itertools.product(backends, transfers):
            console.print(f"{backend}, {transfer}")
            results = bench.case(backend, transfer, work / "exports", stock=stock)
            add_rows(table, f"{backend} {transfer}", exposures * DETECTORS, results)
        if small:
            write_exports(work / "small", exposures=1, chunks=1, detectors=SMALL)
            for backend in backends:
                console.print(f"{backend}, small")
                add_rows(table, f"{backend} symlink", SMALL, bench.small_case(backend, work / "small"))
    console.print(table)
    for failure in bench.failures:
        console.print(failure, style="red")
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
