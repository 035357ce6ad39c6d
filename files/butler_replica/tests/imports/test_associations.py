"""Imports that bring associations alone: of datasets that are there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType

from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.repositories import SPRING, Repository, add_datasets, certify
from kit.sameness import registry_tables


def drop(path: Path) -> bytes:
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture
def incomplete(repository: Repository, exported: Path) -> Repository:
    """Six of the eight datasets, without their collections; the artifacts of the others come afterwards."""
    lost = [sorted(exported.glob(f"run/{kind}/{kind}/*_D00_*"))[0] for kind in ("bias", "flat")]
    contents = [drop(path) for path in lost]
    import_exports(repository, [exported], collections="drop", missing="skip")
    for path, content in zip(lost, contents, strict=True):
        path.write_bytes(content)
    return repository


def associated(repository: Repository, kind: str, collection: str) -> set[tuple[int, object]]:
    """Detectors and validity ranges, as the stock butler says."""
    found = Butler.from_config(repository.root).registry.queryDatasetAssociations(
        kind, collections=[collection], collectionTypes={CollectionType.CALIBRATION, CollectionType.TAGGED}
    )
    return {(int(each.ref.dataId["detector"]), each.timespan) for each in found}


def test_associations_of_what_is_there(incomplete: Repository, exported: Path) -> None:
    datasets = incomplete.sql("SELECT id FROM dataset ORDER BY id")
    tables = registry_tables(incomplete)
    result = import_exports(incomplete, [exported], collections="associations").to_dict()
    assert result["datasets"] | {"found": 8, "inserted": 0, "present": 6} == result["datasets"]
    assert (result["associations"], result["associations_dropped"]) == (4, 2)
    assert associated(incomplete, "bias", "calib") == {(detector, SPRING) for detector in (1, 2, 3)}
    assert associated(incomplete, "flat", "best") == {(1, None)}
    assert incomplete.sql("SELECT id FROM dataset ORDER BY id") == datasets
    names = [name for (name,) in incomplete.sql("SELECT name FROM collection ORDER BY name")]
    assert names == ["best", "calib", "run/bias", "run/flat"]
    changed = {table for table, rows in registry_tables(incomplete).items() if rows != tables.get(table, {})}
    assert all(table.startswith(("collection", "dataset_calibs_", "dataset_tags_")) for table in changed)
    tables = registry_tables(incomplete)
    assert not import_exports(incomplete, [exported], collections="associations").changed
    assert registry_tables(incomplete) == tables


def test_nothing_where_no_dataset_is_there(repository: Repository, exported: Path) -> None:
    tables = registry_tables(repository)
    result = import_exports(repository, [exported], collections="associations")
    assert not result.changed
    assert result.to_dict()["associations_dropped"] == 6
    assert registry_tables(repository) == tables


def test_what_would_be_associated(incomplete: Repository, exported: Path) -> None:
    tables = registry_tables(incomplete)
    result = import_exports(incomplete, [exported], collections="associations", dry_run=True)
    assert result.to_dict()["associations"] == 4
    assert registry_tables(incomplete) == tables


@pytest.mark.parametrize("decertified", [False, True])
def test_verify(make_repository: Callable[..., Repository], exported: Path, *, decertified: bool) -> None:
    """The set promises the associations of what is there, and no dataset, run or chain."""
    repository = make_repository("sqlite")
    folder, one = str(exported), {"name": "validity", "exports": str(exported), "collections": "associations"}
    assert verify(repository, sets=[one]).ok
    import_exports(repository, [folder], collections="drop")
    import_exports(repository, [folder], collections="associations")
    if decertified:
        butler = Butler.from_config(repository.root, writeable=True)
        butler.registry.decertify("calib", "bias", SPRING)
    result = verify(repository, sets=[{"name": "all", "exports": folder, "collections": "drop"}, one])
    assert result.ok != decertified
    assert {check.set for check in result.datasets} == {"all"}
    if decertified:
        assert result.failures == ["CALIBRATION collection calib lacks 4 validity ranges of the exports"]


@pytest.mark.parametrize("name", ["x[/nope]y", "best[1]", "a*b", "a?b", "[ab]", "a[!b]c", "a.b+c", "(a|b)"])
def test_names_that_are_globs_to_the_butler(
    make_repository: Callable[..., Repository], tmp_path: Path, name: str
) -> None:
    source = make_repository()
    refs = add_datasets(source, tmp_path / "files", count=3)
    certify(source, refs, "calib/NAME")
    butler = Butler.from_config(str(source), writeable=True)
    butler.collections.register("NAME", CollectionType.TAGGED)
    butler.registry.associate("NAME", refs[:2])
    path = tmp_path / "export.yaml"
    with butler.export(directory=str(tmp_path), filename=str(path), transfer="copy") as export:
        export.saveDatasets(refs)
        for collection in ("NAME", "calib/NAME"):
            export.saveCollection(collection)
    # The stock butler saves no associations of such names.
    path.write_text(re.sub(r": (calib/)?NAME$", rf": '\1{name}'", path.read_text(), flags=re.MULTILINE))
    repository = make_repository()
    import_exports(str(repository), [tmp_path / "export.yaml"], transfer="copy")
    result = verify(str(repository), [{"name": "all", "exports": str(tmp_path / "export.yaml")}])
    assert result.failures == []
    assert [(one.promised, one.found) for one in result.calibrations] == [(3, 3)]
    assert not import_exports(str(repository), [tmp_path / "export.yaml"], transfer="copy").changed
