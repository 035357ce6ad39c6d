"""Settings of the project's cluster are written where one differs, not for a comment: that restarts the server."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from kit.playbooks import PROJECT, play

pytest.importorskip("ansible")

ROLE = PROJECT / "roles/butler_db"
SETTINGS = "port = '5432'\nwork_mem = '8MB'\n"
OLDER = (
    "# Ansible managed (role postgres of dc2-replica)\n"
    "# This file is the project's own and is written again; set postgres_settings instead of editing it.\n"
)

# What is there, and whether it stays.
THERE = {
    "of an older version": (OLDER + SETTINGS, True),
    "of an older version, another value": (OLDER + SETTINGS.replace("8MB", "9MB"), False),
    "of an older version, one more": (OLDER + SETTINGS + "ssl = 'on'\n", False),
    "the mark alone": ("# role postgres of dc2-replica\n", False),
    "nothing": ("", False),
}


def test_other_comments_are_no_other_settings(tmp_path: Path) -> None:
    (tmp_path / "templates").symlink_to(ROLE / "templates")
    write = {
        "ansible.builtin.copy": {
            "content": "{{ __butler_db_settings_text }}",
            "dest": f"{tmp_path}/{{{{ case.name }}}}",
            "mode": "0644",
        },
        "loop": [
            {"name": name, "content": base64.b64encode(text.encode()).decode()}
            for name, (text, _) in THERE.items()
        ],
        "loop_control": {"loop_var": "case"},
    }
    files = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(ROLE / "vars/main.yml")]}
    (tmp_path / "write.yml").write_text(yaml.safe_dump([{**files, "tasks": [write]}]))
    given = {
        "__butler_db_all_settings": {"port": 5432, "work_mem": "8MB"},
        "__butler_db_settings_read": {"content": "{{ case.content }}"},
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    done = play(tmp_path, "write.yml", "-e", "@given.json")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, (text, stays) in THERE.items():
        written = (tmp_path / name).read_text()
        assert (written == text) == stays, name
        assert "".join(line for line in written.splitlines(keepends=True) if line[0] != "#") == SETTINGS, name
        assert "role postgres of dc2-replica" in written, name
