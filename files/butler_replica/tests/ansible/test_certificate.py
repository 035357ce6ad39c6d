"""A certificate that is given to the role butler_db is tried before the server gets it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kit import PROJECT
from kit.playbooks import play, said

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="No openssl here."),
    pytest.mark.skipif(os.getuid() != 0, reason="Becoming the server's user takes root."),
]

# Certificate, key, its mode, and what the refusal says; empty: it will do.
GIVEN = {
    "a pair": ("one.crt", "one.key", 0o600, ""),
    "root's key for a group": ("one.crt", "one.key", 0o640, ""),
    "a key for everybody": ("one.crt", "one.key", 0o644, "the key is open to others"),
    "of two pairs": ("one.crt", "two.key", 0o600, "they do not belong together"),
    "no certificate": ("", "one.key", 0o600, "Give both"),
    "no such certificate": ("none.crt", "one.key", 0o600, "none.crt"),
}


def test_a_certificate_is_tried(tmp_path: Path) -> None:
    for name in ("one", "two"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
        subprocess.run(
            [*command, "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"],
            check=True,
            capture_output=True,
        )
    cases = []
    for number, (certificate, key, mode, _) in enumerate(GIVEN.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("one.crt", "one.key", "two.key"):
            shutil.copy(tmp_path / name, folder)
        if key:
            (folder / key).chmod(mode)
        given = [str(folder / name) if name else "" for name in (certificate, key)]
        cases.append({"number": number, "certificate": given[0], "key": given[1]})
    (tmp_path / "attempt.yml").write_text(
        yaml.safe_dump(
            [
                {
                    "block": [
                        {"include_tasks": str(PROJECT / "roles/butler_db/tasks/certificate.yml")},
                        {"debug": {"msg": "<{{ case.number }}> taken."}},
                    ],
                    "rescue": [
                        {"debug": {"msg": "<{{ case.number }}> {{ ansible_failed_result.msg }}"}},
                    ],
                }
            ]
        )
    )
    variables = {
        "ansible_become_method": "ansible.builtin.su",
        "ansible_python_interpreter": sys.executable,
        "butler_db_certificate": "{{ case.certificate }}",
        "butler_db_certificate_key": "{{ case.key }}",
        "__butler_db_makes_certificate": "{{ case.certificate | length == 0 }}",
        "__butler_db_cluster": {"owner": "root"},
        "__butler_db_certificates": str(tmp_path / "made"),
        "cases": cases,
    }
    loop = {"loop": "{{ cases }}", "loop_control": {"loop_var": "case"}}
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "localhost",
                    "connection": "local",
                    "gather_facts": False,
                    "vars": variables,
                    "tasks": [{"include_tasks": "attempt.yml", **loop}],
                }
            ]
        )
    )
    words = said(play(tmp_path, "-i", "localhost,", "play.yml"))
    told = dict(re.findall(r"<(\d+)> (.*?)(?= TASK | PLAY )", words))
    assert len(told) == len(GIVEN), words
    for number, (name, (*_, says)) in enumerate(GIVEN.items()):
        assert ("taken." in told[str(number)]) == (not says), f"{name}: {told[str(number)]}"
        assert says in told[str(number)], f"{name}: {told[str(number)]}"
