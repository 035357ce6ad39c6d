"""Private API of lsst-daf-butler: it is there, and does what the package relies on.

Where one of these tests fails, a release has changed something that the package uses.
"""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, Config, DatasetRef
from lsst.daf.butler.registry.interfaces import Database
from sqlalchemy.dialects.postgresql import psycopg

import butler_replica
from butler_replica import internals
from butler_replica.errors import RepositoryError
from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.other_release import Other
from kit.repositories import Repository, add_datasets, tree
from kit.sameness import assert_same
from kit.servers import PostgresServer


def test_private_names_are_used_in_one_place() -> None:
    source = Path(butler_replica.__file__).parent
    users = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"\._(registry|datastore|managers|db|table|static)\b", path.read_text())
    }
    assert {name.partition("/")[0] for name in users} == {"internals"}


def test_ids_formatter_names_and_records(repository: Repository, tmp_path: Path) -> None:
    (made, *_) = add_datasets(repository.root, tmp_path / "files", count=1)
    butler = Butler.from_config(repository.root, writeable=True)
    ref = DatasetRef(made.datasetType, made.dataId, "run/other", id=uuid.uuid4())
    butler.collections.register("run/other")
    assert internals.known_dataset_ids(butler, [ref.id, made.id]) == {made.id}
    with butler.transaction():
        internals.insert_datasets(butler, [ref])
    assert butler.get_dataset(ref.id) == ref
    assert internals.stored_datasets(butler, [ref, made]) == {made.id}
    with butler.transaction():
        internals.insert_artifact_records(
            butler, {ref.id: ("a/b.yaml", "no.such.Formatter", "StructuredDataDict", 7)}
        )
    assert internals.stored_datasets(butler, [ref, made]) == {ref.id, made.id}
    rows = repository.sql("SELECT path, formatter, storage_class, file_size FROM file_datastore_records")
    assert ("a/b.yaml", "no.such.Formatter", "StructuredDataDict", 7) in [tuple(row) for row in rows]
    # Registered for the datastore, too: without it the butler takes the record for deleted.
    assert repository.sql("SELECT count(*) FROM dataset_location")[0][0] == 2


def test_the_transaction_takes_everything_back(repository: Repository, tmp_path: Path) -> None:
    (made, *_) = add_datasets(repository.root, tmp_path / "files", count=1)
    butler = Butler.from_config(repository.root, writeable=True)
    butler.collections.register("run/other")
    ref = DatasetRef(made.datasetType, made.dataId, "run/other", id=uuid.uuid4())

    class StopError(Exception):
        pass

    with pytest.raises(StopError), butler.transaction():
        internals.insert_datasets(butler, [ref])
        internals.insert_artifact_records(butler, {ref.id: ("a/b.yaml", "f.F", "StructuredDataDict", 7)})
        raise StopError
    assert [count for (count,) in repository.sql("SELECT count(*) FROM dataset")] == [1]
    assert [count for (count,) in repository.sql("SELECT count(*) FROM file_datastore_records")] == [1]


def test_templates_and_default_formatters(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    repository = make_repository("sqlite")
    (made, *_) = add_datasets(repository.root, tmp_path / "files", count=1)
    butler = Butler.from_config(repository.root)
    expanded = made.expanded(butler.registry.expandDataId(made.dataId))
    (path,) = repository.sql("SELECT path FROM file_datastore_records")[0]
    assert path == internals.template_path(butler, expanded) + ".yaml"
    assert internals.default_formatter(butler, made) == "lsst.daf.butler.formatters.yaml.YamlFormatter"
    assert internals.datastore_root(butler) == repository.root


def test_forgetting_touches_no_artifact(repository: Repository, tmp_path: Path) -> None:
    refs = add_datasets(repository.root, tmp_path / "files", count=3)
    butler = Butler.from_config(repository.root, writeable=True)
    before = tree(repository.root)
    (rows,) = internals.dataset_rows(butler)
    assert {(row.id, row.dataset_type, row.run) for row in rows} == {
        (ref.id, "bias", "run/bias") for ref in refs
    }
    internals.forget_datasets(butler, [refs[0].id])
    assert internals.known_dataset_ids(butler, [ref.id for ref in refs]) == {refs[1].id, refs[2].id}
    assert repository.sql("SELECT count(*) FROM file_datastore_records")[0][0] == 2
    assert internals.count_orphan_records(butler) == 0
    assert tree(repository.root) == before


def test_tables(repository: Repository, tmp_path: Path) -> None:
    (ref,) = add_datasets(repository.root, tmp_path / "files", count=1, transfer="direct")
    with internals.registry_tables(Butler.from_config(repository.root)) as tables:
        found = {
            name: [dict(zip(t.columns, row, strict=True)) for row in t.rows()] for name, t in tables.items()
        }
    assert found["dataset"] == [{"id": ref.id.hex, "dataset_type_id": "bias", "run_id": "run/bias"}]
    assert found["dataset_tags (detector, instrument)"] == [
        {
            **{"dataset_id": ref.id.hex, "dataset_type_id": "bias", "collection_id": "run/bias"},
            **{"instrument": "Cam", "detector": 0},
        }
    ]
    (record,) = found["file_datastore_records"]
    assert record["path"] == f"file://{tmp_path}/files/bias_0.yaml"
    assert found.keys() > {"instrument", "exposure", "visit_detector_region", "collection_chain"}


def test_other_datastores_are_refused(tmp_path: Path) -> None:
    config = Config({"datastore": {"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"}})
    Butler.makeRepo(tmp_path / "repo", config=config)
    with pytest.raises(RepositoryError, match="InMemoryDatastore.*in a local folder"):
        internals.file_datastore(Butler.from_config(tmp_path / "repo"))


class TestStaging:
    """Where datasets cannot be staged, they are imported the other way, with a notice."""

    @pytest.fixture
    def falls_back(self, make_repository: Callable[..., Repository], exported: Path) -> Callable[..., None]:
        """Import two files into a repository, and compare with one into which they came one by one."""
        (exported / "once_more.yaml").write_bytes((exported / "export.yaml").read_bytes())

        def check(
            repository: Repository, reason: str, change: Callable[[Repository], None] = lambda _: None
        ) -> None:
            change(repository)
            result = import_exports(repository, [exported], staged_from=0)
            assert [(file.inserted, file.present) for file in result.files] == [(8, 0), (0, 8)]
            for file in result.files:
                assert len(file.notices) == 1
                assert re.search(f"one by one, many times slower: .*{reason}", file.notices[0])
            plain = make_repository(repository.backend)
            change(plain)
            assert not any(file.notices for file in import_exports(plain, [exported]).files)
            assert_same(repository, plain)

        return check

    def test_nothing_is_in_the_way(self, repository: Repository, exported: Path) -> None:
        """What is used of private API is there."""
        assert import_exports(repository, [exported], staged_from=0).files[0].notices == []

    @pytest.mark.postgres
    @pytest.mark.skipif(not hasattr(Database, "supports_temporary_tables"), reason="no such setting")
    def test_no_temporary_tables(self, make_repository: Callable[..., Repository], falls_back: Any) -> None:
        repository = make_repository("postgresql")
        config = Config(str(repository.root / "butler.yaml"))
        config["registry", "temporary_tables"] = False
        config.dumpToUri(str(repository.root / "butler.yaml"))
        falls_back(repository, "butler.yaml, or the login of the database, allows no temporary tables")

    @pytest.mark.parametrize("table", ["dataset", "dataset_location"])
    def test_tables_with_more_columns(self, repository: Repository, falls_back: Any, table: str) -> None:
        def add_column(one: Repository) -> None:
            one.sql(f"ALTER TABLE {table} ADD COLUMN more TEXT")

        falls_back(repository, f"table {table} has other columns", add_column)

    @pytest.mark.parametrize("table", ["file_datastore_records", r"dataset_tags_\d+"])
    def test_tables_made_later_with_more_columns(
        self,
        make_repository: Callable[..., Repository],
        postgres_server: PostgresServer,
        falls_back: Any,
        table: str,
    ) -> None:
        """The latter are made with the first dataset type: it is seen in the middle of the first file."""

        def add_column(one: Repository) -> None:
            for statement in (
                "CREATE FUNCTION add_more() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made text; BEGIN "
                "FOR made IN SELECT object_identity FROM pg_event_trigger_ddl_commands() "
                f"WHERE object_type = 'table' AND object_identity ~ '{table}$' "
                "LOOP EXECUTE 'ALTER TABLE ' || made || ' ADD COLUMN IF NOT EXISTS more text'; END LOOP; END $$",
                "CREATE EVENT TRIGGER add_more ON ddl_command_end WHEN TAG IN ('CREATE TABLE') "
                "EXECUTE FUNCTION add_more()",
            ):
                postgres_server.sql(statement, database=one.name)

        falls_back(make_repository("postgresql"), f"table {table} has other columns", add_column)

    @pytest.mark.parametrize(
        ("table", "column"),
        [
            ("collection", "name"),
            ("dataset_type", "tag_association_table"),
            ("dataset", "ingest_date"),
            ("file_datastore_records", "checksum"),
        ],
    )
    def test_tables_with_other_columns(self, repository: Repository, table: str, column: str) -> None:
        """The butler itself would not do with them: they become others while it is open."""
        butler = Butler.from_config(repository.root, writeable=True)
        with internals.staging(butler):
            pass
        repository.sql(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
        message = f"^table {table} has other columns than those that are known$"
        with pytest.raises(internals.UnsupportedError, match=message), internals.staging(butler):
            pass

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("_registry._db.dialect", psycopg.dialect(), r"the driver postgresql\+psycopg is not known"),
            ("_registry._managers.obscore", "a table", "the repository keeps an ObsCore table"),
            ("_registry._managers.datasets._renames", {"a": "b"}, "butler.yaml renames dataset types"),
            ("_registry._db._session_connection", "one", "a session is open already"),
        ],
    )
    def test_other_repositories(self, repository: Repository, name: str, value: Any, reason: str) -> None:
        other: Any = Other(Butler.from_config(repository.root), name, value)
        with pytest.raises(internals.UnsupportedError, match=f"^{reason}$"), internals.staging(other):
            pass

    @pytest.mark.parametrize(
        "name",
        [
            "_registry",
            "_registry._db",
            "_registry._db._engine",
            "_registry._db._session_connection",
            "_registry._db.dialect",
            "_registry._managers",
            "_registry._managers.datasets._static",
            "_registry._managers.datasets._static.dataset_type",
            "_registry._managers.obscore",
        ],
    )
    def test_a_release_without_the_private_api(self, repository: Repository, name: str) -> None:
        other: Any = Other(Butler.from_config(repository.root), name)
        message = f"^this release of lsst-daf-butler is another: .*{name.rpartition('.')[2]}"
        with pytest.raises(internals.UnsupportedError, match=message), internals.staging(other):
            pass


@pytest.mark.slow
def test_memory(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    """A process that imports 60,000 datasets stays below 300 MB."""
    repository = make_repository("sqlite")
    export = write_raws(tmp_path / "in", exposures=300, detectors=200, one_file=True)
    report = (
        "import sys, pathlib; from butler_replica.imports.importer import import_exports; "
        "result = import_exports(sys.argv[1], [sys.argv[2]], transfer='direct', formatters=['no.such']); "
        "print(result.total('inserted'), len(result.files[0].notices)); "
        "print(pathlib.Path('/proc/self/status').read_text())"
    )
    done = subprocess.run(
        [sys.executable, "-c", report, repository.root, export], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("60000 0\n")
    assert int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) < 300_000
