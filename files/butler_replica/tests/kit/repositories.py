"""Repositories made for a test, small enough to know every dataset of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import astropy.time
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan

SPRING = Timespan(astropy.time.Time("2022-03-01", scale="tai"), astropy.time.Time("2022-06-01", scale="tai"))


@functools.lru_cache(maxsize=8)
def engine_of(url: str) -> sqlalchemy.Engine:
    """Connect to a database anew each time, without asking it again what it is."""
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


@dataclasses.dataclass
class Repository:
    """A repository made for a test, and a way to look into its registry that is not the butler."""

    root: Path
    backend: str
    name: str
    """Name of the database; on SQLite, of the folder."""

    url: str
    """URL of the database for SQLAlchemy, with credentials."""

    def sql(self, statement: str, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one SQL statement on the registry's database and return the rows."""
        with engine_of(self.url).begin() as connection:
            result = connection.execute(sqlalchemy.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    @classmethod
    def on_sqlite(cls, root: Path) -> Self:
        """Look at a repository whose registry is an SQLite file in its folder."""
        return cls(root, "sqlite", root.name, f"sqlite:///{root / 'gen3.sqlite3'}")

    def __fspath__(self) -> str:
        return str(self.root)

    def __str__(self) -> str:
        return str(self.root)


def add_datasets(
    repo: str | Path,
    files: Path,
    *,
    kind: str = "bias",
    run: str = "run/bias",
    count: int = 4,
    transfer: str = "copy",
) -> list[DatasetRef]:
    """Ingest one small YAML file for each of ``count`` detectors and return the datasets."""
    butler = Butler.from_config(str(repo), writeable=True)
    butler.registry.insertDimensionData(
        "instrument",
        {"name": "Cam", "class_name": "no.such.Cam", "detector_max": 100, "visit_max": 9, "exposure_max": 9},
        skip_existing=True,
    )
    butler.registry.insertDimensionData(
        "detector",
        *({"instrument": "Cam", "id": number, "full_name": f"D{number:02d}"} for number in range(count)),
        skip_existing=True,
    )
    dataset_type = DatasetType(
        kind, {"instrument", "detector"}, "StructuredDataDict", universe=butler.dimensions, isCalibration=True
    )
    butler.registry.registerDatasetType(dataset_type)
    butler.collections.register(run)
    refs = [
        DatasetRef(dataset_type, butler.registry.expandDataId(instrument="Cam", detector=detector), run)
        for detector in range(count)
    ]
    files.mkdir(parents=True, exist_ok=True)
    ingested = []
    for detector, ref in enumerate(refs):
        path = files / f"{kind}_{detector}.yaml"
        path.write_text(yaml.safe_dump({"kind": kind, "detector": detector}))
        ingested.append(FileDataset(str(path), [ref]))
    butler.ingest(*ingested, transfer=transfer)
    return refs


def certify(repo: str | Path, refs: list[DatasetRef], collection: str = "calib") -> None:
    """Give datasets a validity range in a CALIBRATION collection."""
    butler = Butler.from_config(str(repo), writeable=True)
    butler.collections.register(collection, CollectionType.CALIBRATION)
    butler.registry.certify(collection, refs, SPRING)


def tree(folder: Path) -> dict[str, str]:
    """Return what is in a folder: content of files, targets of links; without what prune has written down."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_bytes().hex()
        for path in sorted(folder.rglob("*"))
        if ".dc2-replica" not in path.parts
        if path.is_symlink() or (path.is_file() and "gen3.sqlite3" not in path.name and path.name[0] != ".")
    }
