"""Private API of lsst-daf-butler: it is there, and does what the package relies on.

Where one of these tests fails, a release has changed something that the package uses.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config, DatasetRef

import butler_replica
from butler_replica import internals
from butler_replica.errors import RepositoryError
from conftest import Repository
from small_repository import add_datasets, tree


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
    with pytest.raises(RepositoryError, match="local files only"):
        internals.file_datastore(Butler.from_config(tmp_path / "repo"))
