"""The generated passwords: root writes and reads them where nobody else could have put something in their place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kit import PROJECT

pytest.importorskip("ansible")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes passwords of the server"),
]


def have_secret(tmp_path: Path, secret: Path) -> subprocess.CompletedProcess[str]:
    role = {"name": "butler_db", "tasks_from": "secret"}
    variables = {"butler_db_secret_file": str(secret), "butler_readers": ["alice"]}
    task = {"name": "Have it", "ansible.builtin.include_role": role, "vars": variables}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    return subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", str(playbook), "-i", "localhost,", "-c", "local"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=PROJECT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def link(folder: Path, victim: Path) -> None:
    (folder / "password").symlink_to(victim)


def link_to_what_is_not_there(folder: Path, victim: Path) -> None:
    (folder / "password").symlink_to(victim.with_name("new"))


def link_of_a_reader(folder: Path, victim: Path) -> None:
    (folder / "password.alice").symlink_to(victim)


def hard_link(folder: Path, victim: Path) -> None:
    os.link(victim, folder / "password")


def file_of_another(folder: Path, victim: Path) -> None:
    (folder / "password").write_text("known")
    os.chown(folder / "password", 65534, 65534)


def folder_of_another(folder: Path, victim: Path) -> None:
    os.chown(folder, 65534, 65534)


def folder_for_everybody(folder: Path, victim: Path) -> None:
    folder.chmod(0o1777)


def folder_above_of_another(folder: Path, victim: Path) -> None:
    os.chown(folder.parent, 65534, 65534)


def folder_is_a_link(folder: Path, victim: Path) -> None:
    folder.rmdir()
    folder.symlink_to(victim.parent)


@pytest.mark.parametrize(
    "plant",
    [
        link,
        link_to_what_is_not_there,
        link_of_a_reader,
        hard_link,
        file_of_another,
        folder_of_another,
        folder_for_everybody,
        folder_above_of_another,
        folder_is_a_link,
    ],
)
def test_planted(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    folder = tmp_path / "above" / "own"
    folder.mkdir(parents=True)
    victim = tmp_path / "elsewhere" / "victim"
    victim.parent.mkdir()
    victim.write_text("precious")
    victim.chmod(0o644)
    plant(folder, victim)
    before = sorted(tmp_path.glob("above/**")) + sorted(tmp_path.glob("elsewhere/*"))
    done = have_secret(tmp_path, folder / "password")
    assert done.returncode == 2
    assert "not of root alone" in " ".join(done.stdout.split())
    assert (victim.read_text(), oct(victim.stat().st_mode & 0o777)) == ("precious", "0o644")
    assert sorted(tmp_path.glob("above/**")) + sorted(tmp_path.glob("elsewhere/*")) == before


def test_made_once(tmp_path: Path) -> None:
    secret = tmp_path / "own" / "password"
    assert have_secret(tmp_path, secret).returncode == 0
    made = {path.name: path.read_text() for path in secret.parent.iterdir()}
    assert {name: len(text) for name, text in made.items()} == {"password": 41, "password.alice": 41}
    assert {oct(path.stat().st_mode & 0o777) for path in secret.parent.iterdir()} == {"0o600"}
    again = have_secret(tmp_path, secret)
    assert "changed=0" in again.stdout
    assert {path.name: path.read_text() for path in secret.parent.iterdir()} == made
