"""After a failure nothing of a file stays: neither artifacts, nor what was registered for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, Config
from lsst.daf.butler.registry.interfaces import Database

from butler_replica.errors import ReplicaError
from butler_replica.imports.importer import import_exports
from butler_replica.session.lock import LOCK_NAME
from kit.exports import write_raws
from kit.importers import folder
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.servers import PostgresServer
from kit.stock import stock_import


def registered(repository: Repository) -> dict[str, Any]:
    """What a repository holds; which groups of dimensions have tables says nothing of it."""
    return {n: rows for n, rows in registry_tables(repository).items() if not n.startswith("dimension_graph")}


def refuse(repository: Repository, table: str, condition: str = "1 = 1") -> None:
    """Let the database refuse rows of a table."""
    if repository.backend == "sqlite":
        repository.sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN {condition} "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        return
    repository.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
    )
    repository.sql(
        f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
    )


WAYS: dict[str, tuple[str, ...]] = {
    "the second dataset type": ("dataset_type", "NEW.name = 'flat'"),
    "a run": ("run",),
    "a dataset": ("dataset",),
    "a datastore record": ("file_datastore_records",),
    "a location": ("dataset_location",),
    "a chain": ("collection_chain",),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_stays_of_a_small_file(
    make_repository: Callable[..., Repository], exported: Path, backend: str, way: str
) -> None:
    repository = make_repository(backend)
    Butler.from_config(str(repository), writeable=True)  # makes the table of datastore records
    before, files = registered(repository), folder(repository.root)
    refuse(repository, *WAYS[way])
    with pytest.raises(ReplicaError, match="refused|constraint failure"):
        import_exports(repository, [exported], transfer="copy")
    assert registered(repository) == before
    assert folder(repository.root) == {**files, LOCK_NAME: 0}
    table = WAYS[way][0]
    repository.sql("DROP TRIGGER refuse" + (f" ON {table}" if backend == "postgresql" else ""))
    assert import_exports(repository, [exported], transfer="copy").total("inserted") == 8


@pytest.mark.parametrize("table", ["dataset", "dataset_location", "file_datastore_records"])
def test_nothing_stays_of_a_large_file(
    make_repository: Callable[..., Repository], tmp_path: Path, backend: str, table: str
) -> None:
    """Its datasets are inserted set by set."""
    export = write_raws(tmp_path / "raws", exposures=11)
    repository = make_repository(backend)
    Butler.from_config(str(repository), writeable=True)
    before, files = registered(repository), folder(repository.root)
    refuse(repository, table)
    with pytest.raises(ReplicaError, match="refused|constraint failure"):
        import_exports(repository, [export])
    assert registered(repository) == before
    assert folder(repository.root) == {**files, LOCK_NAME: 0}


def test_nothing_stays_where_an_artifact_cannot_be_brought(
    make_repository: Callable[..., Repository], exported: Path
) -> None:
    clean, repository = make_repository(), make_repository()
    import_exports(clean, [exported], transfer="copy")
    place = max(path for (path,) in clean.sql("SELECT path FROM file_datastore_records"))
    (repository.root / place).parent.mkdir(parents=True)
    (repository.root / place).write_text("something else")
    before, files = registered(repository), folder(repository.root)
    with pytest.raises(ReplicaError, match="holds something else"):
        import_exports(repository, [exported], transfer="copy")
    assert registered(repository) == before
    assert folder(repository.root) == {**files, LOCK_NAME: 0}


OBSCORE = {
    "registry": {
        "managers": {
            "obscore": {
                "cls": "lsst.daf.butler.registry.obscore.ObsCoreLiveTableManager",
                "config": {
                    "namespace": "daf_butler_obscore",
                    "version": 1,
                    "table_name": "obscore",
                    "collection_type": "RUN",
                    "facility_name": "here",
                    "obs_collection": "test",
                    "use_butler_uri": False,
                    "dataset_types": {
                        name: {
                            "dataproduct_type": "image",
                            "calib_level": 1,
                            "obs_id_fmt": "{records[detector].full_name}",
                        }
                        for name in ("bias", "flat", "raw")
                    },
                },
            }
        }
    }
}


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_repository_with_an_obscore_table(exported: Path, tmp_path: Path, size: str) -> None:
    """The table is what the stock importer makes of it."""
    export = exported if size == "small" else write_raws(tmp_path / "raws", exposures=11)
    rows = []
    for name in ("stock", "ours"):
        root = tmp_path / name
        Butler.makeRepo(root, config=Config(OBSCORE))
        repository = Repository.on_sqlite(root)
        if name == "ours":
            import_exports(root, [export], transfer="direct")
        else:
            file = export if export.is_file() else next(export.glob("*.yaml"))
            stock_import(root, file, file.parent, "direct")
        rows.append(sorted(repository.sql("SELECT * FROM obscore"), key=str))
    assert rows[0] == rows[1]
    assert len(rows[0]) == (8 if size == "small" else 1100)


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_login_that_may_make_no_temporary_tables(
    make_repository: Callable[..., Repository],
    postgres_server: PostgresServer,
    exported: Path,
    tmp_path: Path,
    size: str,
) -> None:
    export = exported if size == "small" else write_raws(tmp_path / "raws", exposures=11)
    repository = make_repository("postgresql")
    postgres_server.sql(f'ALTER DATABASE "{repository.name}" OWNER TO postgres')
    postgres_server.sql(f'REVOKE TEMPORARY ON DATABASE "{repository.name}" FROM PUBLIC')
    postgres_server.sql(f'GRANT ALL ON SCHEMA public TO "{postgres_server.role}"', database=repository.name)
    if not hasattr(Database, "supports_temporary_tables"):
        before = registered(repository)
        with pytest.raises(ReplicaError, match="GRANT TEMPORARY ON DATABASE"):
            import_exports(repository, [export], transfer="direct")
        assert registered(repository) == before
        return
    result = import_exports(repository, [export], transfer="direct")
    assert result.total("inserted") == (8 if size == "small" else 1100)
    assert not import_exports(repository, [export], transfer="direct").changed
