"""What the stock importer takes, this one imports to the same end: every table, every artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from butler_replica.imports.importer import import_exports
from kit.exports import artifact_paths, make_artifacts
from kit.repositories import Repository, tree
from kit.sameness import assert_same, registry_tables
from kit.stock import stock_import

# In direct mode rc2_subset could not be the same: of a path with %2C the stock importer records a URI that
# leads to no file.
TAKEN = {
    "ap_verify_testdata.20201001.e02bdec.yaml": "direct",
    "ap_verify_testdata.20241001.7d3be4c.yaml": "symlink",
    "jointcal_cfht.20211110.b2039ca.yaml": "copy",
    "jointcal_hsc.20221103.d43ec85.yaml": "copy",
    "rc2_subset.20210611.6cbe561.yaml": "symlink",
}
SLOW = ("jointcal_hsc", "rc2_subset")
REFUSED_BY_STOCK = {
    "ap_verify_ci_cosmos_pdr2.20220519.89b5daf.yaml": "visits of an early universe",
    "ap_verify_testdata.20200924.248767b.yaml": "calibration labels",
    "ci_imsim.20250220.4c194b9.yaml": "no dimension records, a certification into a TAGGED collection",
}

FROM_ELSEWHERE = {"jointcal_cfht.20211110.b2039ca.yaml": "refcats"}
"""Collection that has to be there before, since a chain of the export contains it."""


def test_all_exports_are_here(shared_exports: Path) -> None:
    assert {path.name for path in shared_exports.glob("*.yaml")} == TAKEN.keys() | REFUSED_BY_STOCK.keys()


@pytest.mark.parametrize(
    ("name", "transfer"),
    [
        pytest.param(name, transfer, marks=[pytest.mark.slow] if name.startswith(SLOW) else [])
        for name, transfer in TAKEN.items()
    ],
)
@pytest.mark.filterwarnings("ignore:Constructing day_obs")
def test_every_table(
    make_repository: Callable[..., Repository],
    backend: str,
    shared_exports: Path,
    tmp_path: Path,
    name: str,
    transfer: str,
) -> None:
    export, artifacts = tmp_path / "export.yaml", tmp_path / "artifacts"
    # Absolute paths of another site: the stock importer cannot rewrite them.
    export.write_text((shared_exports / name).read_text().replace("path: /", "path: "))
    make_artifacts(artifact_paths(export), artifacts)
    stock, ours = make_repository(backend), make_repository(backend)
    if name in FROM_ELSEWHERE:
        for repository in (stock, ours):
            Butler.from_config(repository.root, writeable=True).collections.register(FROM_ELSEWHERE[name])
    stock_import(stock.root, export, artifacts, transfer)
    import_exports(ours, [export], artifacts=artifacts, transfer=transfer)
    assert_same(stock, ours)
    if transfer != "direct":
        assert tree(ours.root) | {"butler.yaml": ""} == tree(stock.root) | {"butler.yaml": ""}
    rows = registry_tables(ours)
    assert not import_exports(ours, [export], artifacts=artifacts, transfer=transfer).changed
    assert registry_tables(ours) == rows


def test_documentation_and_associations(
    make_repository: Callable[..., Repository], backend: str, exported: Path
) -> None:
    stock, ours = make_repository(backend), make_repository(backend)
    stock_import(stock.root, exported / "export.yaml", exported, "copy")
    import_exports(ours, [exported], transfer="copy")
    assert_same(stock, ours)
    assert ours.sql("SELECT doc FROM collection WHERE name = 'best'") == [("The best ones.",)]
