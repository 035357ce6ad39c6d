"""A replica by the command line alone: credentials, repository, index, collections."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType

from butler_replica.cli import main
from kit import PROJECT


def run(*arguments: object, given: str = "", status: int = 0) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "butler.yaml").write_text(
        yaml.safe_dump({"registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}})
    )
    described = [
        {"name": "all", "type": "CHAINED", "children": ["one", "later"]},
        {"name": "none", "type": "CHAINED", "children": ["nowhere"], "stage": "refcats"},
    ]
    sets = [{"name": "data", "exports": str(tmp_path / "dc2/data")}]
    (tmp_path / "dc2.yml").write_text(yaml.safe_dump({"dc2_import_sets": sets, "dc2_collections": described}))
    return tmp_path


def test_repository_collections_and_index(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = ("repository", work / "dc2", "--config", work / "butler.yaml")
    run(*make, "--dry-run")
    assert not (work / "dc2").exists()
    run(*make)
    assert "nothing to do" in run(*make)
    Butler.from_config(str(work / "dc2"), writeable=True).collections.register("one", CollectionType.RUN)

    run("chain", work / "dc2", "--collections", work / "dc2.yml", "--stage", "refcats")
    run("chain", work / "dc2", "--collections", work / "dc2.yml", "--dry-run")
    assert set(Butler.from_config(str(work / "dc2")).collections.query("*")) == {"one"}
    run("chain", work / "dc2", "--collections", work / "dc2.yml")
    run("index", work / "index.yaml", "mine", work / "dc2")
    monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(work / "index.yaml"))
    assert Butler.from_config("mine").collections.get_info("all").children == ("one",)


def test_the_guard_of_the_command(work: Path) -> None:
    make = ("repository", work / "dc2", "--config", work / "butler.yaml")
    run(*make)
    before = sorted(work.rglob("*"))
    assert "type confirm_destroy=dc2" in run(*make, "--confirm-destroy", "yes", status=1)
    refused = run(*make, "--confirm-destroy", "dc2", "--sets", work / "dc2.yml", status=1)
    assert "lies above the data folder" in refused
    assert sorted(work.rglob("*")) == before


def test_credentials(work: Path) -> None:
    path = work / "auth.yaml"
    arguments = ("credentials", "postgresql://h/db", "me", "--path", path)
    assert "Give the password" in run(*arguments, status=2)
    assert "s3cret" not in run(*arguments, given="s3cret\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (entry,) = yaml.safe_load(path.read_text())
    assert (entry["username"], entry["password"]) == ("me", "s3cret")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("name",),
        ("name", "child", "--collections", "FILE"),
        ("name", "child", "--stage", "chains"),
        ("--collections", "FILE", "--doc", "x"),
    ],
)
def test_a_chain_or_many(work: Path, arguments: tuple[str, ...]) -> None:
    given = [work / "dc2.yml" if one == "FILE" else one for one in arguments]
    assert "Give either NAME and CHILD" in run("chain", work / "dc2", *given, status=2)


@pytest.mark.parametrize(("text", "message"), [("- 1", "is to hold a mapping"), ("a: [", "cannot be read")])
def test_a_configuration_that_is_none(work: Path, text: str, message: str) -> None:
    (work / "butler.yaml").write_text(text)
    assert message in run("repository", work / "dc2", "--config", work / "butler.yaml", status=1)


def test_templates_of_the_project_are_left_to_ansible(work: Path) -> None:
    """In one sentence, with the key and a remedy, from the file that users have."""
    described = PROJECT / "group_vars/dc2_replica/dc2.yml"
    refused = run("verify", work, "--sets", described, status=1)
    assert f"{described}: dc2_import_sets[skymap].exports[1] is '{{{{ dc2_data_root }}}}/" in refused
    assert "--tags verify" in refused
    assert "Traceback" not in refused
