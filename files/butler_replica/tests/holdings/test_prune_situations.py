"""What prune takes for gone, and what for not there at the moment; and bringing back what it took out."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType, Timespan

from butler_replica.cli import main
from butler_replica.errors import RefusedError, ReplicaError
from butler_replica.holdings import prune as prune_module
from butler_replica.holdings.prune import prune
from butler_replica.repository.making import ensure_repository
from kit.processes import STOCK, run
from kit.repositories import SPRING, add_datasets, certify, tree


def datasets_in_database(repository):
    """Number of registered datasets by dataset type, by SQL."""
    return dict(
        repository.sql(
            "SELECT t.name, count(*) FROM dataset d JOIN dataset_type t ON t.id = d.dataset_type_id GROUP BY t.name"
        )
    )


def rename(folder: Path) -> None:
    folder.rename(folder.with_name(f"{folder.name}.away"))


def empty(folder: Path) -> None:
    """Leave a mount point, which is there and empty."""
    rename(folder)
    folder.mkdir()


def mount_other(folder: Path) -> None:
    """Leave a folder in which others lie, which the mount hid."""
    rename(folder)
    folder.mkdir()
    (folder / "README").write_text("Nothing is mounted here.")


# Where the biases are, where the flats are, what happens to which folder.
AWAY = {
    "one of two folders, renamed": ("one", "two", "two", rename),
    "one of two folders, a mount point": ("one", "two", "two", empty),
    "one of two folders, what the mount hid": ("one", "two", "two", mount_other),
    "one of two folders, the one above is renamed": ("one", "disk/a/b", "disk", rename),
    "a folder within the other": ("one", "one/mounted", "one/mounted", empty),
    "a folder within the other, deep": ("one", "one/mounted/a/b", "one/mounted", empty),
    "a folder within the other, renamed": ("one", "one/mounted", "one/mounted", rename),
    "the one around the other": ("one/mounted", "one/other", "one/other", rename),
    "through a link to a folder": ("one", "link/flats", "disk", rename),
}


@pytest.mark.parametrize(
    ("situation", "transfer"),
    [
        *((situation, "direct") for situation in AWAY),
        *((situation, link) for situation in list(AWAY)[1::3] for link in ("symlink", "relsymlink")),
    ],
)
def test_a_folder_that_is_not_mounted(make_repository, tmp_path, situation, transfer):
    biases, flats, away, go_away = AWAY[situation]
    if "link" in situation:
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to("disk")
    repository = make_repository()
    certify(
        repository,
        add_datasets(repository, tmp_path / biases, kind="bias", run="run/bias", transfer=transfer),
    )
    add_datasets(repository, tmp_path / flats, kind="flat", run="run/flat", transfer=transfer)
    lost = tmp_path / biases / "bias_1.yaml"
    lost.unlink()
    go_away(tmp_path / away)
    before = tree(tmp_path), datasets_in_database(repository)
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match="Is the data mounted") as refused:
            prune(str(repository), dry_run=dry_run)
        assert f"{os.path.realpath(tmp_path / flats)}: 4 recorded, none there; " in str(refused.value)
        assert f"{tmp_path / biases}:" not in str(refused.value)
        assert "--gone" in str(refused.value)
        assert refused.value.arguments == ("gone", "allow_all")
    assert (tree(tmp_path), datasets_in_database(repository)) == before
    # What is gone beside others goes, and so does what is said to be gone.
    assert prune(str(repository), gone=[tmp_path / flats]).removed == {"bias": 1, "flat": 4}
    assert datasets_in_database(repository) == {"bias": 3}


@pytest.mark.parametrize("transfer", ["copy", "symlink", "direct"])
def test_lost_beside_others(make_repository, tmp_path, transfer):
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, transfer=transfer)
    artifacts = sorted((repository.root / "run" if transfer == "copy" else data).rglob("*.yaml"))
    artifacts[0].unlink()
    assert prune(str(repository)).removed == {"bias": 1}
    for path in artifacts[1:]:
        path.unlink()
    with pytest.raises(RefusedError, match="3 recorded, none there; it is empty"):
        prune(str(repository), allow_all=False, max_share=1)
    assert prune(str(repository), allow_all=True).removed == {"bias": 3}


def test_several_folders_are_named(make_repository, tmp_path):
    repository = make_repository()
    add_datasets(repository, tmp_path / "there", transfer="direct")
    for number in range(7):
        folder = tmp_path / f"data{number}"
        add_datasets(
            repository, folder, kind=f"flat{number}", run=f"run/{number}", count=1, transfer="direct"
        )
        rename(folder)
    with pytest.raises(RefusedError) as refused:
        prune(str(repository), gone=[tmp_path / "data0"])
    for number in range(1, 6):
        assert f"{tmp_path}/data{number}: 1 recorded, none there; there is no such folder" in str(
            refused.value
        )
    assert "  and 1 more\n" in str(refused.value)
    assert "data0:" not in str(refused.value)


def test_kept_types_say_nothing_against_others(make_repository, tmp_path):
    repository = make_repository()
    add_datasets(repository, tmp_path / "bias")
    add_datasets(repository, tmp_path / "raw", kind="raw", run="run/raw", transfer="direct")
    rename(tmp_path / "raw")
    assert not prune(str(repository), keep=["raw"]).changed
    next(repository.root.glob("run/bias/**/*.yaml")).unlink()
    assert prune(str(repository), keep=["raw"]).removed == {"bias": 1}


LIMITS = [
    # datasets, lost, options, the option that helps
    (10, 6, {}, "--max-share 0.6"),
    (10, 5, {}, None),
    (10, 6, {"max_share": 0.6}, None),
    (10, 2, {"max_number": 1}, "--max-number 2"),
    (10, 2, {"max_number": 2}, None),
    (10, 1, {"max_number": 0}, "--max-number 1"),
    (10, 1, {"max_share": 0.0}, "--max-share 0.1"),
    (10, 6, {"allow_all": True, "max_number": 0}, None),
    (10, 0, {"max_number": 0, "max_share": 0.0}, None),
]


@pytest.mark.parametrize(("count", "lost", "options", "helps"), LIMITS)
def test_limits(make_repository, tmp_path, count, lost, options, helps):
    """Datasets that never had an artifact count neither way."""
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, count=count, transfer="symlink")
    raws = add_datasets(repository, data, kind="raw", run="run/raw", transfer="symlink")
    Butler.from_config(str(repository), writeable=True)._datastore.forget(raws)
    for number in range(lost):
        (data / f"bias_{number}.yaml").unlink()
    if helps is None:
        removed = prune(str(repository), **options).removed
        assert removed == {"raw": 4} | ({"bias": lost} if lost else {})
        return
    with pytest.raises(RefusedError, match=f"{lost} of {count} datasets .* have lost it") as refused:
        prune(str(repository), **options)
    assert helps in str(refused.value)
    assert datasets_in_database(repository) == {"bias": count, "raw": 4}
    done = CliRunner().invoke(main, ["prune", str(repository), *helps.split()])
    assert done.exit_code == 0, done.output
    assert datasets_in_database(repository) == {"bias": count - lost}


def test_a_folder_that_goes_away_meanwhile(make_repository, tmp_path, monkeypatch):
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, transfer="symlink")
    (data / "bias_0.yaml").unlink()
    make_plan = prune_module._make_plan

    def plan_then_unmount(*arguments):
        planned = make_plan(*arguments)
        rename(data)
        return planned

    monkeypatch.setattr(prune_module, "_make_plan", plan_then_unmount)
    with pytest.raises(RefusedError, match="was there when this began"):
        prune(str(repository))
    assert datasets_in_database(repository) == {"bias": 4}
    assert not (repository.root / ".dc2-replica").exists()


REMOTE = ["https://example.org/x/bias.yaml", "s3://bucket/bias.yaml", "davs://example.org/bias.yaml"]


@pytest.mark.parametrize("uri", REMOTE)
def test_remote_artifacts_stay(make_repository, tmp_path, uri, monkeypatch):
    """Nothing is asked of the network, with or without the packages for it."""
    for package in ("requests", "boto3"):
        monkeypatch.setitem(sys.modules, package, None)
    repository = make_repository()
    add_datasets(repository, tmp_path / "data")
    repository.sql(f"UPDATE file_datastore_records SET path = '{uri}' WHERE path LIKE '%D01%'")
    result = prune(str(repository))
    assert not result.changed
    assert result.to_dict()["datasets"] == {"before": 4, "removed": 0, "kept": 0, "remote": 1, "after": 4}
    done = CliRunner().invoke(main, ["verify", str(repository), "--json"])
    assert done.exit_code == 0, done.output
    totals = yaml.safe_load(done.output)["totals"]
    assert (totals["registered"], totals["recorded"], totals["on_disk"], totals["remote"]) == (4, 4, 3, 1)
    shown = CliRunner().invoke(main, ["verify", str(repository)]).output
    assert "notice: 1 artifacts are not on this machine and were not looked at" in shown
    assert prune(str(repository), allow_all=True).removed == {}


@pytest.fixture
def associated(repository, tmp_path):
    """Biases certified, flats tagged and used in place, a dark copied and only registered."""
    data = tmp_path / "data"
    certify(repository, add_datasets(repository, data, kind="bias", run="run/bias", transfer="symlink"))
    flats = add_datasets(repository, data, kind="flat", run="run/flat", transfer="direct")
    darks = add_datasets(repository, data, kind="dark", run="run/dark")
    butler = Butler.from_config(str(repository), writeable=True)
    butler.collections.register("u/me/best", CollectionType.TAGGED, doc="The best.")
    butler.registry.associate("u/me/best", [*flats[:3], *darks])
    butler.registry.certify("calib", darks[1:3], Timespan(SPRING.begin, None))
    butler.registry.certify("calib", darks[2:3], Timespan(None, SPRING.begin))
    butler._datastore.forget(darks[:1])
    return repository


def everything(repository):
    """All rows that a dataset has anywhere, but for its generated keys and the time of its import."""
    rows = {}
    names = [name for (name,) in repository.sql("SELECT name FROM dataset_type ORDER BY name")]
    for name in names:
        [(tags, calibs)] = repository.sql(
            "SELECT tag_association_table, calibration_association_table FROM dataset_type WHERE name = :name",
            name=name,
        )
        rows["tags"] = set(repository.sql(f"SELECT * FROM {tags}"))
        rows["calibs"] = {row[1:] for row in repository.sql(f"SELECT * FROM {calibs}")}
    rows["dataset"] = set(repository.sql("SELECT id, dataset_type_id, run_id FROM dataset"))
    rows["records"] = set(
        repository.sql("SELECT dataset_id, path, formatter, file_size FROM file_datastore_records")
    )
    rows["location"] = set(repository.sql("SELECT * FROM dataset_location"))
    return rows


def test_what_was_taken_out_can_be_brought_back(associated, tmp_path):
    """By the commands that the files themselves name, with all associations."""
    repository = associated
    data = tmp_path / "data"
    whole = everything(repository)
    contents = {}
    for name in ("bias_0.yaml", "flat_0.yaml", "flat_3.yaml"):
        contents[data / name] = (data / name).read_bytes()
        (data / name).unlink()
    (dark,) = repository.root.glob("run/dark/**/*D02*.yaml")
    contents[dark] = dark.read_bytes()
    dark.unlink()

    planned = prune(str(repository), dry_run=True)
    assert not (repository.root / ".dc2-replica").exists()
    result = prune(str(repository))
    assert result.to_dict() == planned.to_dict()
    assert result.to_dict()["collections"] == {
        "TAGGED u/me/best": {"dark": 2, "flat": 1},
        "CALIBRATION calib": {"bias": 1, "dark": 1},
    }
    assert list(result.to_dict()["collections"]) == ["TAGGED u/me/best", "CALIBRATION calib"]
    assert result.diff()[0]["before"].startswith("TAGGED u/me/best: 2 dark, 1 flat\n")
    assert datasets_in_database(repository) == {"bias": 3, "flat": 2, "dark": 2}

    files = sorted((repository.root / ".dc2-replica" / "pruned").rglob("*.yaml"))
    assert files == sorted(result.files)
    for path in files:
        export = yaml.safe_load(path.read_text())
        assert export["description"] == "Butler Data Repository Export"
    for path, content in contents.items():
        path.write_bytes(content)
    for path in files:
        command = shlex.split(
            path.read_text().splitlines()[1].removeprefix("# ").replace("REPO", str(repository))
        )
        assert command[:2] == ["butler-replica", "import"]
        done = CliRunner().invoke(main, [command[1], command[2], command[3], *command[4:]])
        assert done.exit_code == 0, done.output
    assert everything(repository) == whole
    butler = Butler.from_config(str(repository))
    for kind in ("bias", "flat", "dark"):
        for ref in butler.query_datasets(kind, "u/me/best" if kind != "bias" else "run/bias"):
            if kind != "dark" or ref.dataId["detector"]:
                assert butler.get(ref)["kind"] == kind


def test_what_was_taken_out_is_an_export_of_the_butler(make_repository, tmp_path):
    """The stock importer reads it, in another repository."""
    repository = make_repository()
    data = tmp_path / "data"
    certify(repository, add_datasets(repository, data, transfer="direct"))
    content = (data / "bias_1.yaml").read_bytes()
    (data / "bias_1.yaml").unlink()
    (written,) = prune(str(repository)).files
    (data / "bias_1.yaml").write_bytes(content)
    other = make_repository()
    add_datasets(other, tmp_path / "others", kind="flat", run="run/flat")
    done = run("import", other, repository, "--export-file", written, "--transfer", "direct", entry=STOCK)
    assert done.returncode == 0, done.stderr
    (found,) = Butler.from_config(str(other)).query_datasets("bias", "run/bias")
    assert found.dataId["detector"] == 1
    [(calibs,)] = other.sql("SELECT calibration_association_table FROM dataset_type WHERE name = 'bias'")
    assert other.sql(f"SELECT count(*) FROM {calibs}") == [(1,)]


def test_written_before_anything_is_removed(make_repository, tmp_path, monkeypatch):
    """On disk when the transaction begins; not there after one that failed."""
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, transfer="symlink")
    (data / "bias_1.yaml").unlink()
    seen = []

    def fail(butler, ids):
        seen.extend((repository.root / ".dc2-replica").rglob("*.yaml"))
        assert [str(one) for one in ids] == [
            str(record["dataset_id"][0])
            for item in yaml.safe_load(seen[0].read_text())["data"]
            for record in item.get("records", ())
        ]
        raise RuntimeError("cut")

    monkeypatch.setattr(prune_module, "forget_datasets", fail)
    with pytest.raises(RuntimeError, match="cut"):
        prune(str(repository))
    assert seen
    assert not list((repository.root / ".dc2-replica").rglob("*.yaml"))
    assert datasets_in_database(repository) == {"bias": 4}


def test_what_cannot_be_written_down_stays(make_repository, tmp_path):
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, transfer="symlink")
    (data / "bias_1.yaml").unlink()
    (tmp_path / "elsewhere").mkdir()
    (repository.root / ".dc2-replica").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReplicaError, match="is no folder"):
        prune(str(repository))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert datasets_in_database(repository) == {"bias": 4}


def test_the_guard_knows_what_was_written_down(tmp_path):
    """It goes with its repository, and so does nothing else beside it."""
    root = tmp_path / "replica"
    config = {"registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}}
    ensure_repository(root, config=config)
    add_datasets(root, tmp_path / "data", transfer="symlink")
    (tmp_path / "data" / "bias_1.yaml").unlink()
    (written,) = prune(str(root)).files
    foreign = written.with_name("notes.txt")
    foreign.write_text("Mine.")
    with pytest.raises(RefusedError, match="notes.txt"):
        ensure_repository(root, config=config, confirm_destroy="replica")
    foreign.unlink()
    ensure_repository(root, config=config, confirm_destroy="replica")
    assert not written.exists()
    assert (tmp_path / "data" / "bias_2.yaml").exists()


@pytest.mark.parametrize("name", ["run/x[/nope]y", "run/\x1b[31mred", "run/[bold]b[/bold]"])
def test_hostile_names(make_repository, tmp_path, name):
    repository = make_repository()
    data = tmp_path / "data"
    add_datasets(repository, data, run="run/bias", transfer="direct")
    repository.sql("UPDATE collection SET name = :name WHERE name = 'run/bias'", name=name)
    visible = name.replace("\x1b", "\\x1b")
    shown = CliRunner().invoke(main, ["verify", str(repository)])
    assert shown.exit_code == 0, shown.output
    assert visible in shown.output.replace("\n", "")
    (data / "bias_1.yaml").unlink()
    shown = CliRunner().invoke(main, ["verify", str(repository)])
    assert shown.exit_code == 1
    assert visible in shown.output.replace("\n", "")
    for options in (["--dry-run"], []):
        shown = CliRunner().invoke(main, ["prune", str(repository), *options])
        assert shown.exit_code == 0, shown.output
        assert "\x1b" not in shown.output
