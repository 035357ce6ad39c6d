"""What Ansible shows of the modules: no password, and no control character of a name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import PROJECT
from kit.exports import write_raws
from kit.repositories import Repository

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow

SECRET = "s3cr3t%2Fw0rd"


def shown(tmp_path: Path, module: str, *options: str, **arguments: Any) -> str:
    """Run a module on this machine as an operator does; return all that reaches the terminal."""
    variables = ["-e", f"ansible_python_interpreter={sys.executable}", *options]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "adhoc", "localhost", "-i", "localhost,", "-c", "local"),
            *("-m", module, "-a", json.dumps(arguments), *variables),
        ],
        cwd=PROJECT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_ASYNC_DIR": str(tmp_path / "jobs"),
            "ANSIBLE_LIBRARY": f"{PROJECT / 'plugins' / 'modules'}:{tmp_path}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:1/dc2",
        f"postgresql://me@127.0.0.1:1/dc2?connect_timeout=1&password={SECRET}",
    ],
)
@pytest.mark.parametrize("module", ["butler_credentials", "butler_repository"])
def test_passwords_in_urls(tmp_path: Path, module: str, url: str) -> None:
    arguments: dict[str, Any] = {
        "butler_credentials": {
            "path": str(tmp_path / "auth.yaml"),
            "url": url,
            "username": "me",
            "password": "other",
        },
        "butler_repository": {"root": str(tmp_path / "repo"), "config": {"registry": {"db": url}}},
    }[module]
    output = shown(tmp_path, module, "-vvv", "--diff", **arguments)
    assert "module_args" in output
    assert SECRET not in output
    assert "s3cr3t/w0rd" not in output


def test_hostile_names(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    run = "clear\x1b[2J \x9b31m \u202e x[/nope]y"
    export = write_raws(tmp_path / "raws", exposures=1, detectors=1)
    export.write_text(export.read_text().replace("Cam/raw/all", json.dumps(run)))
    import_set = {"name": "raws", "exports": str(export)}
    repository = make_repository()
    imported = shown(tmp_path, "butler_import", "--diff", repo=str(repository), sets=[import_set])
    assert "x[/nope]y" in imported
    for artifact in repository.root.rglob("*.fits"):
        artifact.unlink()
    failed = shown(tmp_path, "butler_verify", repo=str(repository), sets=[import_set])
    assert "x[/nope]y" in failed
    for output in (imported, failed):
        assert_letters(output)


SURPRISES = {
    "raised": "raise ValueError(TEXT)",
    "logged": "logging.getLogger('lsst').error(TEXT); sys.stderr.flush(); os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("surprise", SURPRISES)
def test_what_nobody_has_thought_of(tmp_path: Path, surprise: str) -> None:
    (tmp_path / "surprising.py").write_text(
        f"""#!/usr/bin/python
import logging, os, sys
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call
TEXT = "clear\\x1b[2J \\x9b31m \\u202e x[/nope]y"
def verb():
    {SURPRISES[surprise]}
call(AnsibleModule(argument_spec={{"x": {{}}}}), verb)
"""
    )
    output = shown(tmp_path, "surprising", x="")
    assert "x[/nope]y" in output
    assert_letters(output)


def assert_letters(output: str) -> None:
    # The colours are Ansible's own.
    plain = re.sub(r"\x1b\[[\d;]*m", "", output)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
