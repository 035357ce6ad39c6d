"""Repositories that are configured otherwise than by default: what the stock importer does, or a refusal in words."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler, Config

from butler_replica.cli import main
from butler_replica.errors import ReplicaError
from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.stock import stock_import

FILES = "lsst.daf.butler.datastores.fileDatastore.FileDatastore"
MEMORY = "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"
CHAINED = "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore"
COLLECTIONS = "lsst.daf.butler.registry.collections"


def with_obscore(**more: Any) -> dict[str, Any]:
    """A repository that keeps an ObsCore table."""
    config = {
        "namespace": "test",
        "version": 1,
        "collection_type": "RUN",
        "facility_name": "here",
        "obs_collection": "test",
        "use_butler_uri": False,
        "dataset_types": {
            "raw": {
                "dataproduct_type": "image",
                "calib_level": 1,
                "obs_id_fmt": "{records[exposure].obs_id}",
            }
        },
    }
    kind = "lsst.daf.butler.registry.obscore.ObsCoreLiveTableManager"
    return {"registry": {"managers": {"obscore": {"cls": kind, "config": {**copy.deepcopy(config), **more}}}}}


AS_STOCK: dict[str, dict[str, Any]] = {
    "ObsCore": with_obscore(),
    "ObsCore of other collections": with_obscore(collections=["other/.*"]),
    "ObsCore, table with a space": with_obscore(table_name="my obs"),
    "checksums": {"datastore": {"checksum": True}},
    "files in a folder of their own": {"datastore": {"root": "<butlerRoot>/st#ore %20"}},
    "records in another table": {"datastore": {"records": {"table": "my_records"}}},
    "collections by number": {
        "registry": {"managers": {"collections": f"{COLLECTIONS}.synthIntKey.SynthIntKeyCollectionManager"}}
    },
    "collections by name": {
        "registry": {"managers": {"collections": f"{COLLECTIONS}.nameKey.NameKeyCollectionManager"}}
    },
    "paths by id": {"datastore": {"templates": {"default": "{run:/}/{datasetType}.{component:?}/{id}"}}},
    "raws are accepted": {"datastore": {"constraints": {"accept": ["raw"]}}},
    "raws of the instrument are accepted": {
        "datastore": {"constraints": {"accept": [{"instrument<Cam>": ["raw"]}], "reject": ["all"]}}
    },
}
"""What a repository can be made with."""

NOT_TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "raws are rejected": ({"datastore": {"constraints": {"reject": ["raw"]}}}, r"datastore\.constraints"),
    "others are accepted": ({"datastore": {"constraints": {"accept": ["flat"]}}}, r"datastore\.constraints"),
    "raws of the instrument are rejected": (
        {"datastore": {"constraints": {"reject": [{"instrument<Cam>": ["raw"]}]}}},
        r"datastore\.constraints",
    ),
    "ObsCore of a dimension that raws have not": (
        with_obscore(
            dataset_types={
                "raw": {
                    "dataproduct_type": "image",
                    "calib_level": 1,
                    "obs_id_fmt": "{records[visit].name}",
                }
            }
        ),
        "ObsCore.*KeyError",
    ),
    "ObsCore with a number that is none": (
        with_obscore(extra_columns={"x": {"template": "{run}", "type": "int"}}),
        "ObsCore.*invalid literal",
    ),
    "two datastores": (
        {
            "datastore": {
                "cls": CHAINED,
                "datastores": [
                    {"cls": MEMORY},
                    {"cls": FILES, "root": "<butlerRoot>/f", "records": {"table": "f"}},
                ],
            }
        },
        r"is a ChainedDatastore \(.*FileDatastore",
    ),
    "a datastore in memory": ({"datastore": {"cls": MEMORY}}, "is a InMemoryDatastore"),
}
"""Configurations with which nothing can be imported, and what is said."""


def make(root: Path, seed: dict[str, Any]) -> Repository:
    Butler.makeRepo(root, config=Config(copy.deepcopy(seed)))
    return Repository.on_sqlite(root)


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raws(tmp_path_factory.mktemp("raws"), exposures=1, detectors=5)


@pytest.fixture(params=["by ref", "staged"])
def way(request: pytest.FixtureRequest) -> int:
    """From how many datasets on they go set by set."""
    return 1 if request.param == "staged" else 1_000


def content(repository: Repository, table: str) -> tuple[object, ...]:
    """Datasets, where the stock butler has their artifacts, and the rows of an ObsCore table."""
    butler = Butler.from_config(str(repository))
    refs = butler.query_datasets("raw", collections="*", find_first=False, limit=None)
    places = {
        (ref.id, ref.run, str(ref.dataId), os.path.relpath(butler.getURI(ref).ospath, repository.root))
        for ref in refs
    }
    there = repository.sql("SELECT 1 FROM sqlite_master WHERE name = :name", name=table)
    rows = sorted(map(str, repository.sql(f'SELECT * FROM "{table}"'))) if there else []
    files = sorted(str(path.relative_to(repository.root)) for path in repository.root.rglob("*.fits"))
    assert len(places) == len(files) > 0
    return places, rows, files


@pytest.fixture(scope="module")
def of_stock() -> dict[str, object]:
    """What the stock importer has made, by configuration."""
    return {}


@pytest.mark.parametrize("seed", AS_STOCK)
def test_as_the_stock_importer(
    raws: Path, tmp_path: Path, way: int, seed: str, of_stock: dict[str, object]
) -> None:
    table = "my obs" if "space" in seed else "obscore"
    if seed not in of_stock:
        stocks = make(tmp_path / "stock", AS_STOCK[seed])
        stock_import(stocks.root, raws, raws.parent, "copy")
        of_stock[seed] = content(stocks, table)
    ours = make(tmp_path / "ours", AS_STOCK[seed])
    import_exports(str(ours), [raws], transfer="copy", staged_from=way)
    assert content(ours, table) == of_stock[seed]
    assert not import_exports(str(ours), [raws], transfer="copy").changed


@pytest.mark.parametrize("seed", NOT_TAKEN)
def test_nothing_is_imported(raws: Path, tmp_path: Path, way: int, seed: str) -> None:
    config, words = NOT_TAKEN[seed]
    repository = make(tmp_path / "ours", config)
    before = registry_tables(repository)
    with pytest.raises(ReplicaError, match=words):
        import_exports(str(repository), [raws], transfer="copy", staged_from=way)
    after = registry_tables(repository)
    for name, rows in before.items():
        assert after[name] == rows or name.startswith("dimension_graph"), name
    assert not list(repository.root.rglob("*.fits"))


NOT_OPENED: dict[str, tuple[dict[str, Any], str]] = {
    "a manager of a package that is not here": (
        {"registry": {"managers": {"obscore": "no.such.Manager"}}},
        "is not installed here",
    ),
    "a datastore of no class": ({"datastore": {"cls": "no.such.Store"}}, "cannot be opened"),
    "artifacts on a web server": ({"datastore": {"root": "https://example.org/x"}}, "in a local folder"),
    "a template without dimensions": (
        {"datastore": {"templates": {"default": "{run:/}/{datasetType}"}}},
        "cannot be opened",
    ),
}
"""What somebody writes into ``butler.yaml``, and what is said."""


@pytest.mark.parametrize("seed", NOT_OPENED)
@pytest.mark.parametrize("verb", ["import", "verify", "prune", "visits"])
def test_words_of_what_is_not_opened(
    make_repository: Callable[..., Repository], tmp_path: Path, seed: str, verb: str
) -> None:
    more, words = NOT_OPENED[seed]
    repository = make_repository()
    path = repository.root / "butler.yaml"
    config = Config(yaml.safe_load(path.read_text()))
    config.update(more)
    config.dumpToUri(str(path))
    export = write_raws(tmp_path / "raws", exposures=1, detectors=1)
    arguments = {"import": [str(export)], "visits": ["--collection", "raw"]}.get(verb, [])
    done = CliRunner().invoke(main, [verb, str(repository), *arguments])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert words in " ".join(done.output.split())
