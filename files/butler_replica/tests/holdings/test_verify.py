from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType

from butler_replica.cli import main
from butler_replica.collections.ensure import set_chain
from butler_replica.errors import ReplicaError
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.repositories import add_datasets, certify

COLLECTIONS = [{"name": "all", "type": "CHAINED", "children": ["run/flat", "calibs"]}]


@pytest.fixture(scope="module")
def exported_once(empty_repository, tmp_path_factory):
    """Export biases, certified and in a chain, and flats, tagged; their artifacts lie in ``source``."""
    made = tmp_path_factory.mktemp("verify")
    source = shutil.copytree(empty_repository("sqlite"), made / "source")
    biases = add_datasets(source, made / "files", kind="bias", run="run/bias")
    flats = add_datasets(source, made / "files", kind="flat", run="run/flat")
    certify(source, biases)
    butler = Butler.from_config(str(source), writeable=True)
    butler.collections.register("tagged", CollectionType.TAGGED)
    butler.registry.associate("tagged", flats)
    butler.collections.register("calibs", CollectionType.CHAINED)
    butler.collections.redefine_chain("calibs", ["calib", "run/bias"])
    for name, refs, collections in (
        ("bias", biases, ["run/bias", "calib", "calibs"]),
        ("flat", flats, ["run/flat", "tagged"]),
    ):
        folder = made / "exports" / name
        folder.mkdir(parents=True)
        with butler.export(directory=str(folder), filename=str(folder / "_export_000.yaml")) as export:
            export.saveDatasets(refs)
            for collection in collections:
                export.saveCollection(collection)
    return made


@pytest.fixture
def exports(exported_once, tmp_path):
    """Copies of them, and of ``source``, to do with what a test likes."""
    shutil.copytree(exported_once / "source", tmp_path / "source")
    shutil.copytree(exported_once / "exports", tmp_path / "exports")
    return [tmp_path / "exports" / name for name in ("bias", "flat")]


def sets(exports, source, *, missing="skip"):
    return [
        {"name": folder.name, "exports": str(folder), "artifacts": str(source), "missing": missing}
        for folder in exports
    ]


def replicate(repository, import_sets):
    for one in import_sets:
        import_exports(
            str(repository),
            [one["exports"]],
            artifacts=one["artifacts"],
            missing=one["missing"],
            transfer="symlink",
        )
    set_chain(str(repository), "all", ["run/flat", "calibs"])


def artifacts(source: Path, kind: str) -> list[Path]:
    return sorted(source.glob(f"run/{kind}/**/*.yaml"))


def row(result, set_name, kind):
    (check,) = [check for check in result.datasets if (check.set, check.dataset_type) == (set_name, kind)]
    return check.promised, check.registered, check.recorded, check.on_disk, check.without_artifact


def test_a_complete_replica(repository, exports, tmp_path):
    wanted = sets(exports, tmp_path / "source", missing="fail")
    replicate(repository, wanted)
    result = verify(str(repository), wanted, COLLECTIONS)
    assert result.ok, result.failures
    assert row(result, "bias", "bias") == row(result, "flat", "flat") == (4, 4, 4, 4, 0)
    assert [(c.collection, c.promised, c.found, c.total) for c in result.calibrations] == [("calib", 4, 4, 4)]
    assert result.chains == {"all": ["run/flat", "calibs"], "calibs": ["calib", "run/bias"]}
    assert json.loads(json.dumps(result.to_dict()))["ok"]
    assert not any("WRONG" in line for line in result.report())
    assert verify(str(repository)).ok


def test_the_note_of_a_set_is_shown(make_repository, exports, tmp_path):
    repository = make_repository("sqlite", tmp_path / "replica")
    done = CliRunner().invoke(
        main,
        [
            "import",
            str(repository),
            str(exports[0]),
            "--artifacts",
            str(tmp_path / "source"),
            "--note",
            "[ask] me",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "[ask] me" in done.output
    wanted = [{**one, "note": "ask Alice"} for one in sets(exports, tmp_path / "source")]
    result = verify(str(repository), wanted)
    assert "import set 'bias': ask Alice" in result.notices
    assert any("ask Alice" in line for line in result.report())


def test_an_empty_repository(repository, exports, tmp_path):
    assert verify(str(repository)).ok
    result = verify(str(repository), sets(exports, tmp_path / "source"))
    assert not result.ok
    assert any("4 are not registered although their artifacts are there" in line for line in result.failures)
    assert "collection calib (CALIBRATION) of the exports does not exist" in result.failures


@pytest.mark.parametrize("missing", ["skip", "register"])
def test_missing_artifacts_that_the_set_allows(repository, exports, tmp_path, missing):
    source = tmp_path / "source"
    for path in artifacts(source, "bias")[:1] + artifacts(source, "flat")[:3]:
        path.unlink()
    wanted = sets(exports, source, missing=missing)
    replicate(repository, wanted)
    result = verify(str(repository), wanted, COLLECTIONS)
    assert result.ok, result.failures
    registered = (3, 1) if missing == "skip" else (4, 4)
    assert row(result, "bias", "bias") == (4, registered[0], 3, 3, 1)
    assert row(result, "flat", "flat") == (4, registered[1], 1, 1, 3)
    assert result.calibrations[0].promised == result.calibrations[0].found == registered[0]

    strict = verify(str(repository), sets(exports, source, missing="fail"))
    assert "import set 'flat': flat in run/flat: 3 have no artifact, which 'missing: fail'" in "\n".join(
        strict.failures
    )
    # Pruned on purpose is as good as left out.
    prune(str(repository))
    assert verify(str(repository), wanted, COLLECTIONS).ok


def test_an_artifact_that_was_left_out_and_is_there_now(repository, exports, tmp_path):
    source = tmp_path / "source"
    path = artifacts(source, "flat")[0]
    content = path.read_bytes()
    path.unlink()
    for missing, problem in (("skip", "1 are not registered"), ("register", "1 have no datastore record")):
        wanted = sets(exports, source, missing=missing)
        replicate(repository, wanted)
        path.write_bytes(content)
        result = verify(str(repository), wanted)
        assert [problem in failure for failure in result.failures] == [True]
        path.unlink()
        assert verify(str(repository), wanted).ok


def test_artifacts_that_vanished(repository, exports, tmp_path):
    source = tmp_path / "source"
    wanted = sets(exports, source)
    replicate(repository, wanted)
    artifacts(source, "flat")[0].unlink()
    for result in (verify(str(repository), wanted), verify(str(repository))):
        assert len(result.failures) == 1
        assert "flat in run/flat: 1 have a datastore record and no artifact on disk" in result.failures[0]
    prune(str(repository))
    assert verify(str(repository), wanted).ok
    assert verify(str(repository)).ok


def test_what_was_taken_away_by_hand(repository, exports, tmp_path):
    """Each wound is made by SQL or the stock butler, and each is named."""
    wanted = sets(exports, tmp_path / "source")
    replicate(repository, wanted)
    butler = Butler.from_config(str(repository), writeable=True)
    [(calibs,)] = repository.sql("SELECT calibration_association_table FROM dataset_type WHERE name = 'bias'")
    repository.sql(f"DELETE FROM {calibs} WHERE detector = 1")
    butler.registry.disassociate(
        "tagged", butler.query_datasets("flat", "run/flat", where="detector = 2", instrument="Cam")
    )
    butler.collections.redefine_chain("all", ["calibs", "run/flat"])
    butler.collections.redefine_chain("calibs", ["run/bias"])
    [(lost,)] = repository.sql("SELECT dataset_id FROM file_datastore_records ORDER BY path LIMIT 1")
    result = verify(str(repository), wanted, COLLECTIONS)
    assert sorted(result.failures) == [
        "CALIBRATION collection calib lacks 1 validity ranges of the exports",
        "TAGGED collection tagged lacks 1 datasets of the exports",
        "chain all is [calibs, run/flat] and should be [run/flat, calibs]",
        "chain calibs lacks calib of the exports",
    ]
    repository.sql("DELETE FROM dataset_location WHERE dataset_id = :lost", lost=lost)
    repository.sql("DELETE FROM dataset WHERE id = :lost", lost=lost)
    assert "1 datastore records belong to no registered dataset" in verify(str(repository)).failures


def test_open_chains(repository, exports, tmp_path):
    """They are known without the exports; a child that is there and not in its chain is wrong."""
    bias, flat = sets(exports, tmp_path / "source")
    replicate(repository, [flat])
    for wanted, described in (([], []), ([flat], COLLECTIONS)):
        result = verify(str(repository), wanted, described)
        assert result.ok, result.failures
        assert result.open_chains == result.to_dict()["open_chains"] == {"all": ["calibs"]}
        assert "open chain all: no collection calibs" in result.report()
    Butler.from_config(str(repository), writeable=True).collections.register("calibs", CollectionType.CHAINED)
    assert verify(str(repository)).failures == ["chain all is [run/flat] and should be [run/flat, calibs]"]
    replicate(repository, [bias])
    result = verify(str(repository), [bias, flat], COLLECTIONS)
    assert result.ok, result.failures
    assert result.open_chains == {}
    assert repository.sql("SELECT doc FROM collection WHERE name = 'all'") == [(None,)]


def test_a_set_without_exports_is_named(repository, tmp_path):
    with pytest.raises(ReplicaError, match=r"import set 'none': .*/nothing/\*.yaml: no such file or folder"):
        verify(str(repository), [{"name": "none", "exports": str(tmp_path / "nothing" / "*.yaml")}])


def test_command(make_repository, exports, tmp_path):
    repository = make_repository("sqlite", tmp_path / "replica")
    source = tmp_path / "source"
    artifacts(source, "flat")[0].unlink()
    wanted = sets(exports, source)
    replicate(repository, wanted)
    arguments = ["verify", str(repository), *map(str, exports), "--artifacts", str(source)]
    assert CliRunner().invoke(main, [*arguments, "--missing", "skip"]).exit_code == 0
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["totals"]["on_disk"] == 7
    description = tmp_path / "dc2.yml"
    description.write_text(yaml.safe_dump({"dc2_import_sets": wanted, "dc2_collections": COLLECTIONS}))
    done = CliRunner().invoke(main, ["verify", str(repository), "--sets", str(description)])
    assert done.exit_code == 0, done.output
    assert "The replica is as it should be." in done.output
    assert CliRunner().invoke(main, [*arguments, "--sets", str(description)]).exit_code == 2
