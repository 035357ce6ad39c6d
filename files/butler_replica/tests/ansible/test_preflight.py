"""What preflight says, asked as a user would ask: through ansible-playbook."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from kit import PROJECT
from kit.playbooks import inventory, play, said

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow


def preflight(folder: Path, hosts: Path) -> tuple[int, str]:
    """Run preflight alone, and return its exit status and what it said."""
    done = play(folder, "-i", hosts, PROJECT / "site.yml", "--tags", "preflight")
    # YAML doubles an apostrophe within others.
    return done.returncode, said(done).replace("''", "'")


def old_python(folder: Path) -> str:
    """Write a Python of 2021 as far as preflight can see."""
    path = folder / "python3.9"
    path.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"python": "3.9", "makes_environments": true}\'\n')
    path.chmod(0o755)
    return str(path)


# What the user says (a value may need the folder of the test), and what preflight has to say to it.
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "a user that nobody can become": (
        {"butler_repo_user": "somebody-else"},
        "nobody can become somebody-else",
    ),
    "no data": ({"dc2_data_source": "present", "dc2_data_root": "/nowhere"}, "there is no /nowhere"),
    "a Python too old": ({"lsst_stack_base_python": old_python}, "is Python 3.9; the butler needs 3.11"),
    "no Python": ({"lsst_stack_base_python": "/nowhere/python3"}, "There is no /nowhere/python3"),
    "no stack": ({"lsst_stack_existing": "/nowhere"}, "no loadLSST.bash in it"),
    "a name to destroy by that is none": (
        {"confirm_destroy": "yes"},
        "is not the name of what would be dropped",
    ),
    "a schema that the butler does not quote": (
        {"butler_db_backend": "postgresql", "butler_db_managed": False, "butler_db_namespace": "Main-2021"},
        "butler_db_namespace is 'Main-2021', with which lsst-daf-butler cannot work",
    ),
    "a name that the server would cut": ({"butler_db_name": "d" * 64}, "at most 63 bytes"),
    "an environment that only root can write": (
        {"butler_repo_index_environment": ["environment"]},
        "butler_repo_index_environment names environment, which needs root",
    ),
    "a registry of another kind": (
        {"butler_db_sslmode": "on"},
        "butler_db_sslmode is 'on': leave it empty, or say one of",
    ),
    "no number": ({"butler_db_port": "many"}, "butler_db_port is of type str: say a int"),
    "no such filters": ({"dc2_filters": "some"}, "dc2_filters is 'some': say one of all, 2022"),
    "a mount of nothing": (
        {"dc2_data_mounts": [{"path": "/x", "fstype": "nfs"}]},
        "dc2_data_mounts: lacks src",
    ),
    "a variable of another name now": (
        {"butler_repo_profile": True},
        "butler_repo_profile has another name now, butler_repo_index_environment: say [profile] there, or [].",
    ),
    "a role of another name now": (
        {"postgres_settings": {"work_mem": "1GB"}},
        "postgres_settings has another name now, butler_db_settings: give it under that name.",
    ),
    "a variable that stands once now": (
        {"dc2_datasets_import_sets": []},
        "dc2_datasets_import_sets has another name now, dc2_import_sets: give it under that name.",
    ),
    "no room": ({"replica_disk_min_mb": 10**9}, "MB are free at"),
}


EXPORTS = {"exports": "/x"}

# Import sets, and what preflight has to say of each (number and name before it); nothing, where it will do.
SETS: list[tuple[object, str]] = [
    ({"name": "fits", **EXPORTS, "stage": "calib", "rewrite": {"/a": "/b"}, "runs": "one/run"}, ""),
    (
        {"name": "stage", **EXPORTS, "stage": "rawx"},
        "stage is 'rawx': say one of instrument, skymap, calib, refcats",
    ),
    (
        {"name": "policy", **EXPORTS, "missing": "ignore"},
        "missing is 'ignore': say one of fail, skip, register",
    ),
    (
        {"name": "key", **EXPORTS, "artefacts": "/x"},
        "there is no key 'artefacts'; there are artifacts, collections",
    ),
    ({"name": "without"}, "lacks exports"),
    ({"name": "flag", **EXPORTS, "exclusive": "perhaps"}, "exclusive is of type str: say a bool"),
    (EXPORTS, "lacks name"),
]
COLLECTIONS: list[tuple[object, str]] = [
    ({"name": "fits", "type": "RUN"}, ""),
    ({"name": "type", "type": "CHAIN"}, "type is 'CHAIN': say one of RUN, CALIBRATION, TAGGED, CHAINED"),
    ({"name": "without"}, "lacks type"),
]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    variables: dict[str, object] = {
        "butler_repo_root": str(tmp_path / "repo"),
        "lsst_stack_home": str(tmp_path / "stack"),
        "dc2_import_sets": [given for given, _ in SETS],
        "dc2_collections": [given for given, _ in COLLECTIONS],
    }
    for of_user, _ in REFUSED.values():
        variables |= {name: value(tmp_path) if callable(value) else value for name, value in of_user.items()}
    without = {"lsst_stack_existing": "", "butler_repo_root": "dc2"}
    of_others = {"lsst_stack_base_python": old_python(tmp_path), "dc2_collections": []}
    words = []
    for given in (
        variables,
        {**variables, **without, "dc2_import_sets": "none"},
        # Those of DC2, which need data.
        {
            name: value
            for name, value in {**variables, **without, **of_others}.items()
            if name != "dc2_import_sets"
        },
    ):
        status, told = preflight(tmp_path, inventory(tmp_path, **given))
        assert status != 0
        words.append(told)
    wanted = [wanted for _, wanted in REFUSED.values()]
    wanted += ["give the whole path of a folder", "dc2_import_sets is to be a list of mappings"]
    for variable, items in (("dc2_import_sets", SETS), ("dc2_collections", COLLECTIONS)):
        for number, (item, says) in enumerate(items, 1):
            name = f" ({item['name']})" if isinstance(item, dict) and "name" in item else ""
            where = f"{variable}, number {number}{name}: "
            if says:
                wanted.append(where + says)
            else:
                assert where not in words[0]
    for sentence in wanted:
        assert any(sentence in told for told in words), (sentence, words)
        assert all(told.count(sentence) <= 1 for told in words), sentence
    for told in words:
        assert "Traceback" not in told
        assert "deserialization" not in told
    assert not (tmp_path / "repo").exists()


def test_a_problem_of_all_hosts_is_told_once_and_one_of_a_host_with_its_name(tmp_path: Path) -> None:
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups = {
        "butler": {"hosts": {"here": host, "there": {**host, "lsst_stack_base_python": "/nowhere/python3"}}},
        "database": {"hosts": {"here": {}}},
    }
    variables = {
        "replica_become": False,
        "butler_repo_root": "dc2",
        "lsst_stack_home": str(tmp_path / "stack"),
        "dc2_data_source": "sample",
    }
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"replica": {"children": groups, "vars": variables}}))
    status, told = preflight(tmp_path, path)
    assert status != 0
    assert told.count("give the whole path of a folder") == 1, told
    of_both, of_one = told.index("here, there:"), told.index("there: -")
    assert of_both < told.index("give the whole path of a folder")
    assert of_one < told.index("There is no /nowhere/python3")
    assert "here will not do yet" in told
    assert "there will not do yet" in told


def test_what_will_do_is_said_to_do(tmp_path: Path) -> None:
    given = {"butler_repo_root": str(tmp_path / "repo"), "lsst_stack_home": str(tmp_path / "stack")}
    sets = [item for item, says in SETS if not says]
    status, told = preflight(
        tmp_path, inventory(tmp_path, **given, dc2_data_source="sample", dc2_import_sets=sets)
    )
    assert status == 0, told
    assert "here will do" in told
