"""Time and memory of registering the skymap and defining visits, beside the stock butler.

``stock`` inserts the same records in the way of the official commands: tract
by tract in one transaction, visit by visit in a transaction each.
``replica`` is `register_skymap` and `define_visits`. Each measurement has a
process and a repository of its own.

    python benchmarks/dimension_records.py --visits 500 --tracts 2000
    python benchmarks/dimension_records.py --all-sky --registry postgresql://localhost/empty_database

Credentials are read as the butler reads them; each measurement has a schema
of its own in the database, which is dropped in the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import astropy.time
import astropy.units as u
import click
import numpy as np
import sqlalchemy
from lsst.daf.butler import Butler, Config, DatasetType, DimensionRecord, DimensionUniverse, Timespan
from lsst.utils.db_auth import DbAuth
from rich.console import Console
from rich.table import Table

from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.skymap import register_skymap
from butler_replica.dimensions.skymap_records import patch_records, skymap_record, tract_records
from butler_replica.dimensions.skymaps import skymap_named
from butler_replica.dimensions.visit_records import visit_records, visit_system_records
from butler_replica.dimensions.visits import define_visits

INSTRUMENT = "LSSTCam-imSim"
DC2_SKYMAP = skymap_named("DC2")
RAW = "2.2i/raw/all"


def make_exposures(universe: DimensionUniverse, number: int) -> list[DimensionRecord]:
    """Make records of exposures spread over the footprint of DC2."""
    rng = np.random.default_rng(2022)
    begin = astropy.time.Time("2022-10-01T00:00:00", scale="tai")
    timespan = Timespan(begin, begin + 30 * u.s)
    pointings = zip(
        rng.uniform(50, 73, number), rng.uniform(-44, -28, number), rng.uniform(0, 360, number), strict=True
    )
    return [
        universe["exposure"].RecordClass(
            instrument=INSTRUMENT,
            id=i,
            obs_id=f"obs_{i}",
            physical_filter="r_sim_1.4",
            group=str(i),
            day_obs=20221001,
            timespan=timespan,
            tracking_ra=float(ra),
            tracking_dec=float(dec),
            sky_angle=float(angle),
            exposure_time=30.0,
            seq_num=i,
            azimuth=1.0,
            zenith_angle=30.0,
            can_see_sky=True,
        )
        for i, (ra, dec, angle) in enumerate(pointings)
    ]


def prepare_raws(repo: str, number: int) -> None:
    """Register the instrument, exposures and one raw dataset of each."""
    register_instrument(repo)
    butler = Butler.from_config(repo, writeable=True)
    insert = butler.registry.insertDimensionData
    exposures = make_exposures(butler.dimensions, number)
    insert("day_obs", {"instrument": INSTRUMENT, "id": 20221001})
    insert("group", *[{"instrument": INSTRUMENT, "name": exposure.group} for exposure in exposures])
    insert("exposure", *exposures)
    raw = DatasetType("raw", ["instrument", "exposure", "detector"], "Exposure", universe=butler.dimensions)
    butler.registry.registerDatasetType(raw)
    butler.collections.register(RAW)
    data_ids = [{"instrument": INSTRUMENT, "exposure": exposure.id, "detector": 94} for exposure in exposures]
    butler.registry.insertDatasets(raw, data_ids, run=RAW)


def stock_visits(repo: str) -> None:
    """Define visits as the official command inserts them."""
    butler = Butler.from_config(repo, writeable=True)
    registry = butler.registry
    registry.insertDimensionData(
        "visit_system", *visit_system_records(butler.dimensions, INSTRUMENT, "one-to-one")
    )
    for exposure in butler.query_dimension_records("exposure", instrument=INSTRUMENT, limit=None):
        records = visit_records(butler.dimensions, [exposure])
        with butler.transaction():
            registry.syncDimensionData("visit", *records.pop("visit"))
            for element, of_element in records.items():
                registry.insertDimensionData(element, *of_element)


def stock_skymap(repo: str, tracts: range) -> None:
    """Register a skymap as the official command inserts it."""
    butler = Butler.from_config(repo, writeable=True)
    with butler.transaction():
        butler.registry.syncDimensionData("skymap", skymap_record(DC2_SKYMAP, butler.dimensions))
        for tract in tracts:
            records = tract_records(DC2_SKYMAP, butler.dimensions, [tract])
            butler.registry.insertDimensionData("tract", *records)
            butler.registry.insertDimensionData(
                "patch", *patch_records(DC2_SKYMAP, butler.dimensions, [tract])
            )


def peak_megabytes() -> float:
    """Return the most memory that this process had; `resource` would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(task: str, number: int, registry: str | None) -> dict[str, float]:
    """Measure one task in a fresh repository; return seconds and peak megabytes beyond the start's."""
    schema = f"bench_{task.replace('-', '_')}"
    config: dict[str, str] = {"db": registry, "namespace": schema} if registry else {}
    with tempfile.TemporaryDirectory() as folder:
        repo = str(Path(folder) / "repo")
        Butler.makeRepo(repo, config=Config({"registry": config}) if config else None)
        tracts = range(number)
        if task.endswith("visits"):
            prepare_raws(repo, number)
        actions: dict[str, Callable[[], object]] = {
            "stock-visits": lambda: stock_visits(repo),
            "replica-visits": lambda: define_visits(repo, RAW),
            "stock-skymap": lambda: stock_skymap(repo, tracts),
            "replica-skymap": lambda: register_skymap(repo, tracts=tracts),
        }
        before, begin = peak_megabytes(), time.monotonic()
        actions[task]()
        seconds = time.monotonic() - begin
        result = {"seconds": seconds, "megabytes": peak_megabytes() - before}
        if not task.startswith("stock"):
            begin = time.monotonic()
            actions[task]()
            result["rerun"] = time.monotonic() - begin
    if registry:
        drop_schema(registry, schema)
    return result


def drop_schema(registry: str, schema: str) -> None:
    """Remove what a measurement left in the database."""
    url = sqlalchemy.engine.make_url(registry)
    user, password = DbAuth(authList=None).getAuth(
        "postgresql", url.username, url.host, str(url.port or 5432), url.database
    )
    engine = sqlalchemy.create_engine(url.set(username=user, password=password))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f'DROP SCHEMA "{schema}" CASCADE'))


@click.command()
@click.option("--visits", default=250, show_default=True, help="Number of visits.")
@click.option("--tracts", default=500, show_default=True, help="Number of tracts.")
@click.option("--all-sky", is_flag=True, help="All tracts.")
@click.option("--registry", metavar="URL", help="A PostgreSQL database instead of SQLite.")
@click.option("--one", nargs=2, type=(str, int), hidden=True)
def main(visits: int, tracts: int, all_sky: bool, registry: str | None, one: tuple[str, int] | None) -> None:
    """Measure registering the skymap and defining visits, beside the stock butler."""
    if one:
        click.echo(json.dumps(measure(*one, registry)))
        return
    table = Table("", "records of", "seconds", "ms each", "memory MB", "rerun s", title=registry or "SQLite")
    numbers = {"skymap": DC2_SKYMAP.n_tracts if all_sky else tracts, "visits": visits}
    for what, number in numbers.items():
        for how in ("stock", "replica"):
            command = [sys.executable, __file__, "--one", f"{how}-{what}", str(number)]
            command += ["--registry", registry] if registry else []
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            result = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                how,
                f"{number} {'tracts' if what == 'skymap' else what}",
                f"{result['seconds']:.1f}",
                f"{result['seconds'] / number * 1000:.1f}",
                f"{result['megabytes']:.0f}",
                f"{result['rerun']:.1f}" if "rerun" in result else "",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
