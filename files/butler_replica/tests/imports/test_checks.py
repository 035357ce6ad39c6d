"""What a database would refuse is refused before anything is registered."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from butler_replica.errors import ConflictError, ExportError
from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.repositories import Repository, tree
from kit.sameness import registry_tables


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    return write_raws(tmp_path / "raws", exposures=1, detectors=1)


CASES = {
    "a long run": ("Cam/raw/all\n", f"{'r' * 2001}\n", "2001 bytes; 2000 are allowed"),
    "an empty run": ("run: Cam/raw/all\n", "run: ''\n", "is empty"),
    "a NUL in a run": ("run: Cam/raw/all\n", 'run: "a\\0b"\n', "NUL"),
    "a run above the repository": ("run: Cam/raw/all\n", "run: ../../out\n", "leads out of the repository"),
    "a long formatter": ("no.such.RawFormatter", "f" * 2001, "2001 bytes; 2000 are allowed"),
    "a long dataset type": (": raw\n", f": {'t' * 2001}\n", "2001 bytes; 2000 are allowed"),
    "an unknown dataset type": ("dataset_type: raw\n", 'dataset_type: "ra\\0w"\n', "x00.*which neither"),
    "an unknown storage class": ("storage_class: Exposure", f"storage_class: {'S' * 65}", "storage class"),
    "a long name": ("obs_id: MC_1000", f"obs_id: {'é' * 1001}", "exposure record 1.*2002 bytes; 2000"),
    "a long band": ("band: r", f"band: {'b' * 33}", "physical_filter record 1.*33 characters; 32"),
    "an empty name": ("obs_id: MC_1000", "obs_id: ''", "exposure record 1.*is empty"),
    "a huge number in a data ID": (
        "      exposure: 1000",
        f"      exposure: {2**63}",
        "raw record 1.*no database",
    ),
    "infinity in a data ID": ("      detector: 0", "      detector: .inf", "raw record 1.*infinity"),
    "a NUL in a data ID": ("    - instrument: Cam", '    - instrument: "C\\0"', "raw record 1.*NUL"),
    "nothing in a data ID": ("    - instrument: Cam", "    - instrument:", "raw record 1.*None"),
    "a huge integer": ("visit_max: 9999", f"visit_max: {2**63}", "visit_max.*no database can hold"),
    "a text for a number": ("exposure_time: 30.0", "exposure_time: long", "exposure_time is 'long'"),
    "a value that must be there": ("    obs_id: MC_1000\n", "", "obs_id has no value"),
    "a timespan that is none": ("!lsst.daf.butler.Timespan", "", "timespan"),
}


ABOUT_DATASETS = ("a run above the repository", "a long formatter", *(c for c in CASES if "data ID" in c))


@pytest.mark.parametrize(
    ("backend", "case", "staged_from"),
    [
        *(("sqlite", case, 10) for case in CASES),
        *(("sqlite", case, 0) for case in ABOUT_DATASETS),
        # What is looked at is the export; that nothing is changed there either is seen in a few.
        *(
            pytest.param("postgresql", case, staged_from, marks=pytest.mark.postgres)
            for case, staged_from in (("a NUL in a run", 10), ("a long name", 10), ("a NUL in a data ID", 0))
        ),
    ],
)
def test_refused_beforehand(
    make_repository: Callable[..., Repository],
    backend: str,
    raws: Path,
    case: str,
    staged_from: int,
) -> None:
    repository = make_repository(backend)
    old, new, message = CASES[case]
    text = raws.read_text()
    assert old in text
    raws.write_text(text.replace(old, new))
    before, rows = tree(repository.root), registry_tables(repository)
    with pytest.raises(ExportError, match=f"{raws.name}.*{message}"):
        import_exports(repository, [raws], staged_from=staged_from)
    assert (tree(repository.root), registry_tables(repository)) == (before, rows)


def test_as_long_as_allowed(make_repository: Callable[..., Repository], raws: Path, backend: str) -> None:
    text = raws.read_text()
    # Not to be compressed: what limits PostgreSQL is the size of an entry in an index.
    run, name = secrets.token_hex(1000), secrets.token_hex(1000)
    text = text.replace("Cam/raw/all\n", f"{run}\n").replace("MC_1000", name)
    text = text.replace("no.such.RawFormatter", "f" * 2000).replace(
        "visit_max: 9999", f"visit_max: {2**63 - 1}"
    )
    text = text.replace("    obs_id:", "    target_name: ''\n    obs_id:")
    raws.write_text(text)
    repository = make_repository(backend)
    import_exports(repository, [raws], transfer="direct")
    assert repository.sql("SELECT name FROM collection") == [(run,)]
    assert repository.sql("SELECT obs_id, target_name FROM exposure") == [(name, "")]
    assert repository.sql("SELECT visit_max FROM instrument") == [(2**63 - 1,)]


SKYMAP = """- type: dimension
  element: skymap
  records:
  - {name: rings, hash: !!binary 'AAAA', tract_max: 1, patch_nx_max: 1, patch_ny_max: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: rings",
            "name: discs",
            "skymap {skymap: discs} has the hash .* skymap {skymap: rings} of the rep",
        ),
        (
            "id: 0\n    full_name",
            "id: 7\n    full_name",
            "detector: 7} has the full_name 'D000', .* repository",
        ),
        (
            "id: 0\n    full_name: D000",
            "id: 7\n    full_name: D9\n  - instrument: Cam\n    id: 8\n    full_name: D9",
            "detector: 8} has the full_name 'D9', .* of the export has",
        ),
    ],
)
def test_same_thing_under_two_names(
    repository: Repository, tmp_path: Path, old: str, new: str, message: str
) -> None:
    raws = write_raws(tmp_path / "raws", exposures=1, detectors=2)
    text = raws.read_text().replace("- type: collection", f"{SKYMAP}- type: collection")
    assert old in text
    raws.write_text(text)
    import_exports(repository, [raws])
    raws.write_text(text.replace(old, new))
    rows = registry_tables(repository)
    with pytest.raises(ConflictError, match=message):
        import_exports(repository, [raws])
    assert registry_tables(repository) == rows


def test_chain_with_itself(repository: Repository, raws: Path) -> None:
    chain = "- type: collection\n  collection_type: CHAINED\n  name: loop\n  children: [loop]\n"
    raws.write_text(raws.read_text().replace("- type: dataset_type\n", f"{chain}- type: dataset_type\n"))
    rows = registry_tables(repository)
    with pytest.raises(ExportError, match="has itself as a child"):
        import_exports(repository, [raws])
    assert registry_tables(repository) == rows
