"""Tell which PostgreSQL clusters a Debian machine has, and which one the replica is to use. Changes nothing.

The one argument is a JSON mapping: ``name``, ``version``, ``port`` (0: choose) and ``existing`` as the role's
variables say; ``versions``, the version that each distribution comes with; ``settings`` and ``mark``: a cluster is the
project's own where that file of its configuration holds that text. The answer is JSON on standard output.
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

CONFIGURATION = Path(os.environ.get("PG_CLUSTER_CONF_ROOT", "/etc/postgresql"))
FIRST_PORT = 5432
LISTENING = "0A"
FIRST_DATABASE = 16384  # FirstNormalObjectId: smaller ones are those of initdb


def is_ours(configuration: Path, wish: Json) -> bool:
    """Return whether a cluster's configuration carries the file of the project."""
    try:
        return wish["mark"] in (configuration / wish["settings"]).read_text()
    except OSError:
        return False


def owner(uid: int) -> str:
    """Return the name of a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def described(found: Json, wish: Json) -> Json:
    """Return what matters of a cluster, from what pg_lsclusters tells of it."""
    return {
        "version": str(found["version"]),
        "name": found["cluster"],
        "port": int(found["port"]),
        "running": bool(found["running"]),
        "own": is_ours(Path(found["configdir"]), wish),
        "owner": owner(found["owneruid"]),
        "configuration": found["configdir"],
        "data": found["pgdata"],
        "log": found.get("logfile", ""),
        "socket": found.get("socketdir", "/var/run/postgresql"),
        "exists": True,
    }


def clusters(wish: Json) -> list[Json]:
    """Return all clusters of the machine."""
    command = shutil.which("pg_lsclusters")
    if command is None:
        return []
    shown = subprocess.run([command, "--json"], check=True, capture_output=True, text=True).stdout  # noqa: S603
    return [described(found, wish) for found in json.loads(shown or "[]")]


def listening() -> dict[int, str]:
    """Return the TCP ports that somebody listens on, each with the inode of its socket."""
    sockets = {}
    for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for columns in map(str.split, lines):
            if columns[3] == LISTENING:
                sockets[int(columns[1].rpartition(":")[2], 16)] = columns[9]
    return sockets


def process(inode: str) -> str:
    """Return which process has a socket, as far as we may know."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                command = (descriptor.parents[1] / "comm").read_text().strip()
                return f"{command} (process {descriptor.parents[1].name})"
        except OSError:
            continue
    return "a process that cannot be seen"


def label(cluster: Json) -> str:
    """Return the name by which people call a cluster."""
    return f"{cluster['version']}/{cluster['name']}"


def state(cluster: Json) -> str:
    """Return one line on a cluster."""
    runs = "running" if cluster["running"] else "not running"
    whose = "the project's own" if cluster["own"] else "somebody else's"
    return f"{label(cluster)} on port {cluster['port']} ({runs}, {whose})"


class Machine:
    """What is there.

    Parameters
    ----------
    found : `list` of `dict`
        The clusters.
    sockets : `dict`
        Ports that somebody listens on, with the inodes of the sockets.
    """

    def __init__(self, found: list[Json], sockets: dict[int, str]) -> None:
        self.clusters = found
        self.sockets = sockets

    def holder(self, port: int, mine: Json | None = None) -> str:
        """Return who has a port, empty for nobody or for the cluster that is ``mine``."""
        for cluster in self.clusters:
            if cluster is not mine and cluster["port"] == port:
                return f"the cluster {state(cluster)}"
        if port not in self.sockets or (mine and mine["running"] and mine["port"] == port):
            return ""
        return process(self.sockets[port])

    def free_port(self) -> int:
        """Return the first port from 5432 on that nobody has."""
        taken = {cluster["port"] for cluster in self.clusters} | self.sockets.keys()
        return next(port for port in itertools.count(FIRST_PORT) if port not in taken)

    def own(self, name: str) -> Json | None:
        """Return the project's cluster: that of the wanted name, otherwise the newest one."""
        ours = [cluster for cluster in self.clusters if cluster["own"]]
        return max(ours, key=lambda c: (c["name"] == name, version_key(c["version"])), default=None)

    def called(self, wanted: str) -> list[Json]:
        """Return the clusters that ``NAME`` or ``VERSION/NAME`` stands for."""
        return [cluster for cluster in self.clusters if wanted in (cluster["name"], label(cluster))]


def version_key(version: str) -> list[int]:
    """Return what versions are sorted by."""
    return [int(part) for part in re.findall(r"\d+", version)]


def use_existing(machine: Machine, wish: Json) -> tuple[Json, list[str]]:
    """Return the cluster of somebody else that the user names, and what is in the way."""
    matching = machine.called(wish["existing"])
    if len(matching) != 1:
        there = ", ".join(map(state, machine.clusters)) or "none"
        return {}, [
            f"butler_db_cluster is {wish['existing']}, and there is no such cluster (pg_lsclusters shows: {there}). "
            "Name one of these as VERSION/NAME, or leave it out for a cluster of the project's own."
        ]
    cluster = matching[0]
    problems = []
    if not cluster["running"]:
        problems.append(
            f"The cluster {label(cluster)} (butler_db_cluster) is not running, and the project does not start what is "
            f"somebody else's: pg_ctlcluster {cluster['version']} {cluster['name']} start."
        )
    if wish["port"] not in (0, cluster["port"]):
        problems.append(
            f"butler_db_port is {wish['port']}, and the cluster {label(cluster)} (butler_db_cluster) has port "
            f"{cluster['port']}: leave butler_db_port out."
        )
    return cluster, problems


def use_own(machine: Machine, wish: Json, version: str) -> tuple[Json, list[str]]:
    """Return the project's own cluster, there or to be made, and what is in the way."""
    there = machine.own(wish["name"])
    cluster = there or to_be_made(machine, wish, version)
    port = wish["port"] or cluster["port"]
    problems = [
        *version_problems(there, wish),
        *name_problems(machine, there, cluster),
        *port_problems(machine, there, wish),
    ]
    if holder := machine.holder(port, mine=there):
        instead = "leave butler_db_port out" if wish["port"] else "set butler_db_port"
        problems.append(
            f"Port {port}, meant for PostgreSQL's cluster {label(cluster)}, is taken by {holder}: {instead}, or set it "
            f"to another port ({machine.free_port()} is free)."
        )
    return cluster | {"port": port, "port_now": cluster["port"]}, problems


def to_be_made(machine: Machine, wish: Json, version: str) -> Json:
    """Return the cluster that will be made."""
    name = wish["name"]
    return {
        "version": version,
        "name": name,
        "port": wish["port"] or machine.free_port(),
        "running": False,
        "own": True,
        "owner": "postgres",
        "configuration": str(CONFIGURATION / version / name),
        "data": f"/var/lib/postgresql/{version}/{name}",
        "log": f"/var/log/postgresql/postgresql-{version}-{name}.log",
        "socket": "/var/run/postgresql",
        "exists": False,
    }


def version_problems(there: Json | None, wish: Json) -> Iterator[str]:
    """Yield what is wrong with the wanted version."""
    if there and wish["version"] not in ("", there["version"]):
        yield (
            f"butler_db_version is {wish['version']}, and the project's cluster is {label(there)}: move it "
            f"(pg_upgradecluster {there['version']} {there['name']}), or leave butler_db_version out."
        )


def name_problems(machine: Machine, there: Json | None, cluster: Json) -> Iterator[str]:
    """Yield what is wrong with the name of a cluster that is to be made."""
    if there is None and machine.called(label(cluster)):
        yield (
            f"There is a cluster {label(cluster)}, which this project has not set up: give the project's own another "
            f"name (butler_db_own_cluster), use that one as it is (butler_db_cluster={label(cluster)}), or, where an "
            f"interrupted run left it, remove it (pg_dropcluster {cluster['version']} {cluster['name']})."
        )


def port_problems(machine: Machine, there: Json | None, wish: Json) -> Iterator[str]:
    """Yield what is wrong with another port for the project's cluster, unless somebody else has the one it had."""
    if there is None or wish["port"] in (0, there["port"]) or machine.holder(there["port"], mine=there):
        return
    if has_databases(Path(there["data"])):
        yield (
            f"butler_db_port is {wish['port']}, and the project's cluster {label(there)} has port {there['port']}, by "
            "which the butler.yaml of its replica and everybody's credentials find it: leave butler_db_port out."
        )


def has_databases(data: Path) -> bool:
    """Return whether a cluster has databases that did not come with it."""
    numbers = (int(folder.name) for folder in data.glob("base/*") if folder.name.isdecimal())
    return any(number >= FIRST_DATABASE for number in numbers)


def default_version(versions: dict[str, str], release: Path = Path("/etc/os-release")) -> str:
    """Return the version of PostgreSQL that this distribution has, empty for one that is not known."""
    lines = release.read_text().splitlines() if release.exists() else []
    said = dict(line.partition("=")[::2] for line in lines)
    return versions.get(f"{said.get('ID', '')} {said.get('VERSION_ID', '')}".replace('"', ""), "")


def told(machine: Machine, cluster: Json) -> str:
    """Return one sentence on what is there and what will be used."""
    others = [state(found) for found in machine.clusters if not is_same(found, cluster)]
    plan = f"PostgreSQL: {label(cluster)} on port {cluster['port']}" if cluster else "PostgreSQL: none"
    if cluster:
        plan += (
            ", to be made" if not cluster["exists"] else ", there" if cluster["own"] else ", used as it is"
        )
    return "; ".join([plan, *(f"left alone: {other}" for other in others)]) + "."


def is_same(one: Json, other: Json) -> bool:
    """Return whether two descriptions are of one cluster."""
    return bool(other) and label(one) == label(other)


def answer(wish: Json, found: list[Json], sockets: dict[int, str]) -> Json:
    """Return what is there, what is to be used, and the problems."""
    machine = Machine(found, sockets)
    version = wish["version"] or default_version(wish["versions"])
    cluster, problems = use_existing(machine, wish) if wish["existing"] else use_own(machine, wish, version)
    if cluster:
        installed = Path(f"/usr/lib/postgresql/{cluster['version']}/bin/postgres").exists()
        cluster = {"port_now": cluster["port"], "installed": installed} | cluster
    return {
        "cluster": cluster,
        "clusters": found,
        "problems": problems,
        "told": told(machine, cluster),
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    json.dump(answer(asked, clusters(asked), listening()), sys.stdout)
