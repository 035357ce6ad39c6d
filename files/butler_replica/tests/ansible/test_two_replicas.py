"""Two replicas on one machine: what they share on it is the same for both, whichever of them is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kit import PROJECT
from kit.playbooks import inventory, play, said

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow

# Where systemd runs, a test does not make it read its settings again.
WITH_SYSTEMD = Path("/run/systemd/system").exists()
PLACES = ["profile", "environment", *([] if WITH_SYSTEMD else ["systemd"])]


def test_the_second_replica_finds_the_environment_as_the_first_left_it(tmp_path: Path) -> None:
    places = {place: str(tmp_path / f"{place}.d" / "file") for place in ("profile", "environment", "systemd")}
    for file in places.values():
        Path(file).parent.mkdir()
    role = {"name": "butler_repo", "tasks_from": "environment"}
    plays = [{"hosts": "butler", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}]
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(yaml.safe_dump(plays))
    index = str(tmp_path / "index.yaml")
    shared = {
        "butler_repo_index": index,
        "butler_repo_index_environment": PLACES,
        "__butler_repo_places": places,
    }

    def point_to_index(label: str) -> str:
        extra = tmp_path / "extra.yml"
        extra.write_text(yaml.safe_dump({**shared, "butler_repo_label": label}))
        arguments = ("--diff", "-i", inventory(tmp_path), "-e", f"@{extra}", playbook)
        done = play(tmp_path, *arguments, ANSIBLE_ROLES_PATH=str(PROJECT / "roles"))
        assert done.returncode == 0, said(done)
        return done.stdout

    assert f" changed={len(PLACES)} " in point_to_index("first")
    assert all(index in Path(places[place]).read_text() for place in PLACES)
    assert " changed=0 " in (shown := point_to_index("second")), shown
