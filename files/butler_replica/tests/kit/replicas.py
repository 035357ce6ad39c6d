"""Repositories that a test asks the package for, and all that is to be seen of one."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset

from butler_replica.repository import RepositoryResult, ensure_repository
from kit.processes import STOCK, run


@dataclass
class Replica:
    """A repository that a test asks for."""

    root: Path
    name: str
    config: dict[str, Any]
    url: str
    """URL of the database with credentials, for SQL."""

    server: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def ensure(self, confirm_destroy: object = "", **options: Any) -> RepositoryResult:
        merged = {"config": self.config, **self.options, **options}
        return ensure_repository(self.root, confirm_destroy=confirm_destroy, **merged)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            result = connection.execute(sqlalchemy.text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []

    def database_exists(self) -> bool:
        return self.name in self.server.databases() if self.server else (self.root / "gen3.sqlite3").exists()

    def collections(self) -> set[str]:
        return {name for (name,) in self.sql("SELECT name FROM collection")}

    def fingerprint(self) -> dict[str, Any]:
        """All there is: the tree with contents, modes and link targets, and the database with its rows."""
        state: dict[str, Any] = {}
        for path in sorted(self.root.rglob("*")) if self.root.exists() else []:
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                state[name] = ("link", str(path.readlink()))
            elif path.is_file():
                state[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
            else:
                state[name] = "folder"
        if self.server:
            state["databases"] = self.server.databases()
            if self.database_exists():
                state["identity"] = self.server.sql(
                    "SELECT oid, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = :name",
                    name=self.name,
                )
                tables = self.server.sql(
                    "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
                    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
                    database=self.name,
                )
                state["rows"] = {
                    t: self.server.sql(f"SELECT count(*) FROM {t}", database=self.name) for (t,) in tables
                }
        return state

    def stock(self, *arguments: str) -> str:
        """Run the stock ``butler`` command in a process of its own."""
        done = run(*arguments, entry=STOCK)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fill(self, source: Path, transfers: dict[str, str]) -> None:
        """Put artifacts into the repository with the stock butler, one for each name."""
        source.mkdir(exist_ok=True)
        _ingest(self.root, source, transfers)
        gc.collect()  # lsst-daf-butler 29 cannot close a butler


def _ingest(root: Path, source: Path, transfers: dict[str, str]) -> None:
    butler = Butler.from_config(str(root), writeable=True, run="a/run")
    butler.registry.insertDimensionData("instrument", {"name": "Cam"})
    for name, transfer in transfers.items():
        artifact = source / f"{name}.yaml"
        artifact.write_text(f"name: {name}\n")
        dataset_type = DatasetType(name, ("instrument",), "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        ref = DatasetRef(dataset_type, butler.registry.expandDataId(instrument="Cam"), run="a/run")
        butler.ingest(FileDataset(str(artifact), [ref]), transfer=transfer)
