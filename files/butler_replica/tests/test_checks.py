"""What a database would refuse is refused before anything is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from butler_replica.errors import ExportError
from butler_replica.importer import import_exports
from conftest import Repository
from exports_for_tests import write_raws
from registry_tables import registry_tables
from small_repository import tree


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    return write_raws(tmp_path / "raws", exposures=1, detectors=1)


CASES = {
    "a long run": ("Cam/raw/all\n", f"{'r' * 65}\n", "65 characters; 64 are allowed"),
    "an empty run": ("run: Cam/raw/all\n", "run: ''\n", "is empty"),
    "a NUL in a run": ("run: Cam/raw/all\n", 'run: "a\\0b"\n', "NUL"),
    "a run above the repository": ("run: Cam/raw/all\n", "run: ../../out\n", "leads out of the repository"),
    "a long formatter": ("no.such.RawFormatter", "f" * 129, "129 characters; 128 are allowed"),
    "a long dataset type": (": raw\n", f": {'t' * 129}\n", "129 characters; 128 are allowed"),
    "a long storage class": ("storage_class: Exposure", f"storage_class: {'S' * 65}", "storage class"),
    "a long name": ("obs_id: MC_1000", f"obs_id: {'x' * 65}", "exposure record 1.*65 characters; 64"),
    "a huge integer": ("visit_max: 9999", f"visit_max: {2**63}", "visit_max.*no database can hold"),
    "a text for a number": ("exposure_time: 30.0", "exposure_time: long", "exposure_time is 'long'"),
    "a value that must be there": ("    obs_id: MC_1000\n", "", "obs_id has no value"),
    "a timespan that is none": ("!lsst.daf.butler.Timespan", "", "timespan"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_beforehand(repository: Repository, raws: Path, case: str) -> None:
    old, new, message = CASES[case]
    text = raws.read_text()
    assert old in text
    raws.write_text(text.replace(old, new))
    before, rows = tree(repository.root), registry_tables(repository)
    with pytest.raises(ExportError, match=f"{raws.name}.*{message}"):
        import_exports(repository, [raws])
    assert (tree(repository.root), registry_tables(repository)) == (before, rows)


def test_as_long_as_allowed(make_repository: Callable[..., Repository], raws: Path, backend: str) -> None:
    text = raws.read_text()
    text = text.replace("run: Cam/raw/all\n", f"run: {'r' * 64}\n").replace("MC_1000", "x" * 64)
    text = text.replace("no.such.RawFormatter", "f" * 128).replace(
        "visit_max: 9999", f"visit_max: {2**63 - 1}"
    )
    raws.write_text(text)
    repository = make_repository(backend)
    import_exports(repository, [raws], transfer="direct")
    assert repository.sql("SELECT obs_id FROM exposure") == [("x" * 64,)]
    assert repository.sql("SELECT visit_max FROM instrument") == [(2**63 - 1,)]


def test_chain_with_itself(repository: Repository, raws: Path) -> None:
    chain = "- type: collection\n  collection_type: CHAINED\n  name: loop\n  children: [loop]\n"
    raws.write_text(raws.read_text().replace("- type: dataset_type\n", f"{chain}- type: dataset_type\n"))
    rows = registry_tables(repository)
    with pytest.raises(ExportError, match="has itself as a child"):
        import_exports(repository, [raws])
    assert registry_tables(repository) == rows
