"""The modules: check mode says what a run does, and a rerun changes nothing."""

from __future__ import annotations

import pytest
from lsst.daf.butler import Butler

from kit.exports import write_raws
from kit.repositories import add_datasets

pytest.importorskip("ansible.module_utils.testing")

from kit.modules import check_run_rerun, run_module

pytestmark = pytest.mark.slow


def test_modules(make_repository, tmp_path):
    source = make_repository("sqlite", tmp_path / "source")
    refs = add_datasets(source, tmp_path / "files")
    folder = tmp_path / "exports"
    folder.mkdir()
    with Butler.from_config(str(source)).export(filename=str(folder / "bias.yaml")) as export:
        export.saveDatasets(refs)
    repository = make_repository("sqlite", tmp_path / "replica")
    artifacts = sorted(source.root.glob("run/bias/**/*.yaml"))
    artifacts[0].unlink()
    import_set = {"name": "bias", "exports": str(folder), "artifacts": str(source), "missing": "register"}

    def datasets():
        return repository.sql("SELECT id FROM dataset ORDER BY id")

    result = check_run_rerun("butler_import", datasets, repo=str(repository), sets=[import_set])["sets"][
        "bias"
    ]
    assert (result["datasets"]["found"], result["datasets"]["inserted"], result["datasets"]["missing"]) == (
        4,
        4,
        1,
    )

    def chains():
        return repository.sql("SELECT * FROM collection_chain ORDER BY parent, position")

    described = [{"name": "all", "type": "CHAINED", "children": ["run/bias", "later"]}]
    result = check_run_rerun("butler_chain", chains, repo=str(repository), collections=described)
    assert result["open"] == {"all": ["later"]}
    result = check_run_rerun(
        "butler_chain",
        chains,
        repo=str(repository),
        name="one",
        children=["run/bias"],
        doc="One.",
    )
    assert result["after"] == ["run/bias"]

    report = run_module("butler_verify", repo=str(repository), sets=[import_set], collections=described)
    assert report["ok"]
    assert report["totals"]["promised"] == 4

    result = check_run_rerun("butler_prune", datasets, repo=str(repository))
    assert result["datasets"] == {"before": 4, "removed": 1, "kept": 0, "remote": 0, "after": 3}

    artifacts[1].unlink()
    report = run_module("butler_verify", repo=str(repository), sets=[{**import_set, "missing": "skip"}])
    assert report["failed"]
    assert len(report["failures"]) == 1
    assert "1 have a datastore record and no artifact on disk" in report["msg"]
    failed = run_module(
        "butler_import", repo=str(repository), sets=[{"name": "gone", "exports": str(tmp_path / "gone")}]
    )
    assert failed["failed"]
    assert failed["msg"].startswith(f"import set 'gone': {tmp_path}/gone: no such file or folder")
    failed = run_module("butler_chain", repo=str(repository), name="run/bias", children=["all"])
    assert failed["error_type"] == "ConflictError"


def test_several_sets_in_one_call(make_repository, tmp_path):
    """Each has its own result and diff; the first that fails ends the run, and what was there stays."""
    repository = make_repository("sqlite", tmp_path / "replica")

    def of(name, n):
        exports = write_raws(tmp_path / name, exposures=1, detectors=n, first=n, run=f"run/{name}")
        return {"name": name, "exports": str(exports)}

    def runs():
        return dict(
            repository.sql(
                "SELECT name, count(*) FROM dataset JOIN collection ON collection_id = run_id GROUP BY name"
            )
        )

    one, two, three = of("one", 1), of("two", 2), of("three", 3)
    nothing = {"name": "gone", "exports": str(tmp_path / "gone")}
    # A word more than there is fails before anything is imported.
    assert run_module("butler_import", repo=str(repository), sets=[one, {**two, "word": 1}])["failed"]
    assert run_module("butler_import", repo=str(repository), sets=[one, one])["failed"]
    assert runs() == {}

    failed = run_module("butler_import", repo=str(repository), sets=[one, nothing, two])
    assert failed["msg"].startswith(f"import set 'gone': {tmp_path}/gone: no such file or folder")
    assert runs() == {"run/one": 1}

    arguments = {"repo": str(repository), "sets": [one, two, three], "diff": True}
    for check, then in ((True, {"run/one": 1}), (False, {"run/one": 1, "run/two": 2, "run/three": 3})):
        result = run_module("butler_import", check=check, **arguments)
        assert result["changed"]
        assert runs() == then
        told = {
            name: (each["changed"], each["datasets"]["found"], each["datasets"]["inserted"])
            for name, each in result["sets"].items()
        }
        assert told == {"one": (False, 1, 0), "two": (True, 2, 2), "three": (True, 3, 3)}
        assert [diff["after_header"] for diff in result["diff"]] == [
            "repository with import set two",
            "repository with import set three",
        ]
    again = run_module("butler_import", **arguments)
    assert (again["changed"], again["diff"]) == (False, [])


VARIABLES = {
    "root": "my_root",
    "label": "my_label",
    "config.registry.db": "my_database",
    "max_number": "my_number",
}


def lose(repository, tmp_path):
    add_datasets(repository, tmp_path / "biases", kind="bias", run="run/bias", transfer="direct", count=4)
    for number in (1, 2):
        (tmp_path / "biases" / f"bias_{number}.yaml").unlink()
    return {"repo": str(repository), "max_number": 1, "max_share": 1.0}


def another(repository, tmp_path):
    index = tmp_path / "index.yaml"
    index.write_text(f"dc2: {repository}\n")
    return {"path": str(index), "label": "dc2", "root": str(tmp_path / "other")}


ABOUT_OPTIONS = {
    "prune": ("butler_prune", lose, "max_number is set by my_number"),
    "index": ("butler_index", another, "label is set by my_label"),
    "root": (
        "butler_repository",
        lambda _, path: {
            "root": f"{path}/a#b",
            "config": {"registry": {"db": "sqlite:///<butlerRoot>/x.sqlite3"}},
        },
        "root is set by my_root",
    ),
    "several": (
        "butler_repository",
        lambda repository, _: {
            "root": str(repository),
            "config": {"registry": {"db": "sqlite:///<butlerRoot>/x.sqlite3"}},
        },
        "root is set by my_root and config.registry.db is set by my_database",
    ),
}


@pytest.mark.parametrize("case", ABOUT_OPTIONS)
def test_errors_name_the_variables_of_the_playbook(make_repository, tmp_path, case):
    module, arrange, sentence = ABOUT_OPTIONS[case]
    arguments = arrange(make_repository(), tmp_path)
    plain = run_module(module, **arguments)
    named = run_module(module, **arguments, variables=VARIABLES)
    assert plain["failed"]
    assert "my_" not in plain["msg"]
    assert named["msg"] == f"{plain['msg']} In this playbook, {sentence}."
