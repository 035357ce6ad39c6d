from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from lsst.daf.butler import Butler

from butler_replica.cli import main
from butler_replica.errors import RefusedError, ReplicaError
from butler_replica.holdings import prune as prune_module
from butler_replica.holdings.prune import prune
from kit.processes import STOCK, run
from kit.repositories import add_datasets, certify, tree


def datasets_in_database(repository):
    """Number of registered datasets by dataset type, by SQL."""
    return dict(
        repository.sql(
            "SELECT t.name, count(*) FROM dataset d JOIN dataset_type t ON t.id = d.dataset_type_id GROUP BY t.name"
        )
    )


def records_in_database(repository):
    return (
        repository.sql("SELECT count(*) FROM file_datastore_records")[0][0],
        repository.sql("SELECT count(*) FROM dataset_location")[0][0],
        repository.sql("SELECT count(*) FROM dataset_location_trash")[0][0],
    )


@pytest.fixture
def filled(repository, tmp_path):
    """Copies of biases, links to flats, darks used in place; and raws that are only registered."""
    data = tmp_path / "data"
    certify(repository, add_datasets(repository, data, kind="bias", run="run/bias"))
    add_datasets(repository, data, kind="flat", run="run/flat", transfer="symlink")
    add_datasets(repository, data, kind="dark", run="run/dark", transfer="direct")
    raws = add_datasets(repository, data, kind="raw", run="run/raw")
    butler = Butler.from_config(str(repository), writeable=True)
    butler._datastore.forget(raws)
    return repository


def test_everything_in_place_changes_nothing(filled):
    result = prune(str(filled), keep=["raw"])
    assert not result.changed
    assert result.diff() == []
    assert result.kept == {"raw": 4}
    assert datasets_in_database(filled) == {"bias": 4, "flat": 4, "dark": 4, "raw": 4}


def test_what_is_gone_leaves_the_registry(filled, tmp_path):
    data = tmp_path / "data"
    for name in ("flat_1.yaml", "dark_2.yaml", "dark_3.yaml"):
        (data / name).unlink()
    copies = sorted(filled.root.glob("run/bias/**/*.yaml"))
    copies[0].unlink()
    before, inputs = tree(filled.root), tree(data)

    planned = prune(str(filled), keep=["raw"], dry_run=True)
    assert planned.removed == {"bias": 1, "dark": 2, "flat": 1}
    assert datasets_in_database(filled) == {"bias": 4, "flat": 4, "dark": 4, "raw": 4}

    result = prune(str(filled), keep=["raw"])
    assert result.to_dict() == planned.to_dict()
    assert result.to_dict()["datasets"] == {
        "before": 16,
        "removed": 4,
        "kept": 4,
        "remote": 0,
        "after": 12,
    }
    lost, counts = result.diff()
    assert (lost["before"], lost["after"]) == ("CALIBRATION calib: 1 bias\n", "")
    assert counts["before"] == "bias 4\ndark 4\nflat 4\n"
    assert counts["after"] == "bias 3\ndark 2\nflat 3\n"
    assert datasets_in_database(filled) == {"bias": 3, "flat": 3, "dark": 2, "raw": 4}
    assert records_in_database(filled) == (8, 8, 0)
    [(calibs,)] = filled.sql("SELECT calibration_association_table FROM dataset_type WHERE name = 'bias'")
    assert filled.sql(f"SELECT count(*) FROM {calibs}") == [(3,)]
    # No file is touched, not even the link that leads nowhere.
    assert tree(filled.root) == before
    assert tree(data) == inputs
    assert not prune(str(filled), keep=["raw"]).changed

    butler = Butler.from_config(str(filled))
    for kind, left in (("bias", 3), ("flat", 3), ("dark", 2)):
        refs = butler.query_datasets(kind, f"run/{kind}")
        assert [butler.get(ref)["kind"] for ref in refs] == [kind] * left
    listed = run("query-datasets", filled, "dark", "--collections", "run/dark", entry=STOCK).stdout
    assert listed.count("run/dark") == 2


def test_what_is_not_kept_and_only_registered_goes(filled):
    result = prune(str(filled), keep=["r?w"])
    assert not result.changed
    assert prune(str(filled)).removed == {"raw": 4}
    assert datasets_in_database(filled) == {"bias": 4, "flat": 4, "dark": 4}


def test_data_that_are_not_mounted(repository, tmp_path):
    """Links lead nowhere, though some artifact was copied."""
    data = tmp_path / "data"
    add_datasets(repository, data, kind="flat", run="run/flat", transfer="symlink")
    data.rename(tmp_path / "elsewhere")
    for kind in (None, "bias"):
        if kind:
            add_datasets(repository, tmp_path / "other", kind=kind, run="run/bias", transfer="copy")
        before = datasets_in_database(repository)
        with pytest.raises(RefusedError, match="Is the data mounted"):
            prune(str(repository))
        with pytest.raises(RefusedError, match="Is the data mounted"):
            prune(str(repository), dry_run=True)
        assert datasets_in_database(repository) == before
    assert prune(str(repository), allow_all=True).removed == {"flat": 4}
    assert datasets_in_database(repository) == {"bias": 4}


def test_a_file_that_comes_back_meanwhile_saves_its_dataset(filled, tmp_path, monkeypatch):
    flats = [tmp_path / "data" / f"flat_{n}.yaml" for n in (1, 2)]
    content = [path.read_text() for path in flats]
    for path in flats:
        path.unlink()
    plan = prune_module._make_plan

    def plan_then_restore(*arguments):
        planned = plan(*arguments)
        flats[0].write_text(content[0])
        return planned

    monkeypatch.setattr(prune_module, "_make_plan", plan_then_restore)
    assert prune(str(filled), keep=["raw"]).removed == {"flat": 1}
    assert datasets_in_database(filled)["flat"] == 3


def test_many_batches(filled, monkeypatch):
    monkeypatch.setattr(prune_module, "_TRANSACTION_BATCH", 3)
    for path in filled.root.glob("run/bias/**/*.yaml"):
        path.unlink()
    assert prune(str(filled), gone=[filled.root / "run"]).removed == {"bias": 4, "raw": 4}
    assert datasets_in_database(filled) == {"flat": 4, "dark": 4}


def test_no_repository(tmp_path):
    with pytest.raises(ReplicaError, match="no Butler repository is there"):
        prune(str(tmp_path))


def test_command(make_repository, tmp_path):
    repository = make_repository()
    add_datasets(repository, tmp_path / "data")
    next(repository.root.glob("run/bias/**/*.yaml")).unlink()
    done = CliRunner().invoke(main, ["prune", str(repository), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert datasets_in_database(repository) == {"bias": 4}
    done = CliRunner().invoke(main, ["prune", str(repository), "--json"])
    assert '"removed": 1' in done.output
    for path in repository.root.glob("run/bias/**/*.yaml"):
        path.unlink()
    assert CliRunner().invoke(main, ["prune", str(repository)]).exit_code == 1
    assert CliRunner().invoke(main, ["prune", str(repository), "--allow-all"]).exit_code == 0
    assert datasets_in_database(repository) == {}


def test_on_the_disk_before_it_leaves_the_registry(filled, tmp_path, monkeypatch):
    (tmp_path / "data" / "flat_1.yaml").unlink()
    before = datasets_in_database(filled)
    fsync, seen = os.fsync, {}

    def look(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen[path.suffix] = (datasets_in_database(filled), path.stat().st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    (written,) = prune(str(filled), keep=["raw"]).files
    assert seen[".yaml"] == (before, Path(written).stat().st_size)
    assert seen[""][0] == before, "the folder, too"
    assert datasets_in_database(filled)["flat"] == 3


@pytest.mark.parametrize("of_root", [0o700, 0o2775])
def test_the_next_to_prune_may_be_another_of_the_group(filled, tmp_path, of_root):
    filled.root.chmod(of_root)
    (tmp_path / "data" / "flat_1.yaml").unlink()
    before = os.umask(0o077)
    try:
        (written,) = prune(str(filled), keep=["raw"]).files
    finally:
        os.umask(before)
    for folder in list(Path(written).parents)[:3]:
        assert folder.stat().st_mode & 0o7777 == of_root, folder
