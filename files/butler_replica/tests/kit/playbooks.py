"""Calling the project's playbooks as a user would, from a folder that is not the project's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from kit import PROJECT


def play(folder: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call ansible-playbook in a folder, with nothing of the project in its environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    of_test = {"ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *map(str, arguments)],
        cwd=folder,
        env={**inherited, **of_test, "DEMO_DIR": str(folder / "demo"), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def copied(name: str, folder: Path) -> Path:
    """Copy an inventory of the project as a user would, with ``cp -r``."""
    subprocess.run(["cp", "-r", PROJECT / "inventory" / name, folder / "mine"], check=True)
    return folder / "mine"


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return what ansible-playbook printed, without its line ends."""
    return " ".join((done.stdout + done.stderr).split())


def inventory(folder: Path, **variables: object) -> Path:
    """Write an inventory for this machine, without root."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    of_replica = {"replica_become": False, "butler_db_backend": "sqlite", **variables}
    groups = {"butler": {"hosts": {"here": host}}, "database": {"hosts": {"here": {}}}}
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"replica": {"children": groups, "vars": of_replica}}))
    return path
