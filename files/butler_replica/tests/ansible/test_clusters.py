"""Which PostgreSQL cluster the role butler_db uses: somebody else's is left alone, whatever it is called."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from kit import PROJECT

SCRIPT = PROJECT / "roles/butler_db/files/clusters.py"
MARK = "role postgres of dc2-replica"
SETTINGS = "conf.d/dc2-replica.conf"
WISH = {
    "name": "dc2_replica",
    "version": "15",
    "port": 0,
    "existing": "",
    "versions": {},
    "settings": SETTINGS,
    "mark": MARK,
}

pytestmark = pytest.mark.skipif(shutil.which("pg_lsclusters") is None, reason="No postgresql-common here.")


@pytest.fixture
def look(tmp_path):
    """Ask the script about a machine with clusters as Debian lays them out; ``ours`` carry the project's file."""

    def ask(clusters, ours=(), **wish):
        for label, port in clusters.items():
            configuration, data = tmp_path / "etc" / label, tmp_path / "data" / label
            (configuration / "conf.d").mkdir(parents=True)
            data.mkdir(parents=True, exist_ok=True)
            (data / "PG_VERSION").write_text(label.partition("/")[0])
            (configuration / "postgresql.conf").write_text(
                f"data_directory = '{data}'\nport = {port}\ninclude_dir 'conf.d'\n"
            )
            if label in ours:
                (configuration / SETTINGS).write_text(f"# Ansible managed ({MARK})\nport = '{port}'\n")
        (tmp_path / "etc").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-", json.dumps(WISH | wish)],
            input=SCRIPT.read_text(),
            env={**os.environ, "PG_CLUSTER_CONF_ROOT": str(tmp_path / "etc")},
            capture_output=True,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout)
        used = answer["cluster"]
        return f"{used['version']}/{used['name']}" if used else "", used, answer

    return ask


# Clusters with their ports, those that carry the project's file, what is wished; what is used, and whether it is there.
USED = {
    "nothing there": ({}, [], {}, "15/dc2_replica", False),
    "somebody else's main": ({"15/main": 5432}, [], {}, "15/dc2_replica", False),
    "somebody else's, of many versions": ({"13/main": 5432, "15/old": 5433}, [], {}, "15/dc2_replica", False),
    "made by this project": ({"15/dc2_replica": 5432}, ["15/dc2_replica"], {}, "15/dc2_replica", True),
    "main of an older commit": ({"15/main": 5432}, ["15/main"], {}, "15/main", True),
    "main of an older commit beside others": (
        {"15/main": 5432, "14/main": 5433},
        ["15/main"],
        {},
        "15/main",
        True,
    ),
    "the system was upgraded": (
        {"15/dc2_replica": 5432},
        ["15/dc2_replica"],
        {"version": ""},
        "15/dc2_replica",
        True,
    ),
    "after pg_upgradecluster": (
        {"9.6/dc2_replica": 5433, "15/dc2_replica": 5432},
        ["9.6/dc2_replica", "15/dc2_replica"],
        {},
        "15/dc2_replica",
        True,
    ),
    "another name": ({"15/dc2_replica": 5432}, [], {"name": "mine"}, "15/mine", False),
}


@pytest.mark.parametrize("case", USED)
def test_which_cluster_is_used(look, case):
    clusters, ours, wish, label, exists = USED[case]
    used, cluster, answer = look(clusters, ours, **wish)
    assert (used, cluster["exists"], answer["problems"]) == (label, exists, [])
    assert cluster["own"]
    assert (cluster["port"] in clusters.values()) == exists
    assert cluster["port"] >= 5432
    for other in clusters.keys() - {label}:
        assert f"left alone: {other}" in answer["told"]


def test_ports_of_others_are_left_alone(look):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, cluster, answer = look({"15/main": 5432}, port=port)
    assert cluster["port"] == port
    assert f"(process {os.getpid()})" in answer["problems"][0]
    assert f"({cluster['port']} is free)" not in answer["problems"][0]


# Clusters, those that carry the project's file, what is wished, and what the one problem says.
REFUSED = {
    "the port of somebody else's cluster": (
        {"15/main": 5544},
        [],
        {"port": 5544},
        "Port 5544, .* is taken by the cluster 15/main on port 5544 .*: leave butler_db_port out",
    ),
    "our port is somebody else's now": (
        {"15/dc2_replica": 5544, "15/main": 5544},
        ["15/dc2_replica"],
        {},
        "Port 5544, .* is taken by the cluster 15/main .*: set butler_db_port",
    ),
    "our name is somebody else's": (
        {"15/dc2_replica": 5544},
        [],
        {},
        "a cluster 15/dc2_replica, which this project has not set up.*butler_db_own_cluster",
    ),
    "main is asked for": (
        {"15/main": 5544},
        [],
        {"name": "main"},
        "a cluster 15/main, which this project has not set up.*butler_db_cluster=15/main",
    ),
    "another version": (
        {"15/dc2_replica": 5544},
        ["15/dc2_replica"],
        {"version": "17"},
        "butler_db_version is 17, and the project's cluster is 15/dc2_replica.*pg_upgradecluster 15 dc2_replica",
    ),
    "a cluster that is not there": (
        {"15/main": 5544},
        [],
        {"existing": "16/main"},
        r"butler_db_cluster is 16/main, and there is no such cluster \(.*15/main on port 5544",
    ),
    "a name of two clusters": (
        {"15/main": 5544, "14/main": 5545},
        [],
        {"existing": "main"},
        "butler_db_cluster is main, and there is no such cluster",
    ),
    "somebody else's, not running": (
        {"15/main": 5544},
        [],
        {"existing": "main"},
        "is not running, and the project does not start what is somebody else's: pg_ctlcluster 15 main start",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_in_the_way(look, case):
    clusters, ours, wish, says = REFUSED[case]
    _, _, answer = look(clusters, ours, **wish)
    assert len(answer["problems"]) == 1
    assert re.search(says, answer["problems"][0])


# Clusters, and whether ours, which had port 5544 and is wished at 5545, may have that once it has a database.
MOVED = {
    "its port is its own": ({"15/dc2_replica": 5544}, False),
    "its port is somebody else's now": ({"15/dc2_replica": 5544, "15/main": 5544}, True),
}


@pytest.mark.parametrize("case", MOVED)
def test_a_cluster_with_a_replica_keeps_its_port(look, tmp_path, case):
    clusters, may_move = MOVED[case]
    base = tmp_path / "data/15/dc2_replica/base"
    base.mkdir(parents=True)
    for came_with_it in ("1", "4", "13757"):
        (base / came_with_it).mkdir()
    wish = {"clusters": clusters, "ours": ["15/dc2_replica"], "port": 5545}
    _, cluster, answer = look(**wish)
    assert (cluster["port"], answer["problems"]) == (5545, [])
    shutil.rmtree(tmp_path / "etc")
    (base / "16384").mkdir()
    _, _, answer = look(**wish)
    assert ["has port 5544, by which the butler.yaml" in problem for problem in answer["problems"]] == (
        [] if may_move else [True]
    )
    # As it is, it goes on.
    shutil.rmtree(tmp_path / "etc")
    assert bool(look(**wish | {"port": 0})[2]["problems"]) == may_move


def test_the_port_of_somebody_elses_cluster_is_not_given(look):
    used, cluster, answer = look({"15/main": 5544}, existing="15/main", port=5545)
    assert (used, cluster["own"], cluster["port"]) == ("15/main", False, 5544)
    assert any("leave butler_db_port out" in problem for problem in answer["problems"])
