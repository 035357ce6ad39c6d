"""Progress of the command line: a bar on a terminal, lines elsewhere, neither on standard output."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from kit.exports import write_raws

pytestmark = pytest.mark.slow


@pytest.fixture
def command(make_repository, tmp_path):
    """Import of three exports with 40 raws each into an empty repository."""
    for first in (1000, 2000, 3000):
        write_raws(tmp_path / "exports", exposures=4, detectors=10, first=first, run=f"Cam/raw/{first}")
    return [
        *(sys.executable, "-m", "butler_replica", "import", "--json"),
        *(str(make_repository("sqlite")), str(tmp_path / "exports")),
    ]


def inserted(output: str) -> int:
    """Number of new datasets, of an output that is JSON and nothing else."""
    return json.loads(output)["datasets"]["inserted"]


def test_bar_on_a_terminal(command):
    terminal, end = pty.openpty()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140"},
    ) as process:
        os.close(end)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        finally:
            os.close(terminal)
        assert inserted(process.stdout.read()) == 120
    assert process.returncode == 0
    assert "━" in shown.decode()
    assert "of 3 files" in shown.decode()
    assert b"\x1b[" in shown


def test_lines_elsewhere(command):
    def run(seconds):
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "BUTLER_REPLICA_PROGRESS_SECONDS": seconds},
        )

    done = run("0")
    assert inserted(done.stdout) == 120
    lines = done.stderr.splitlines()
    assert len(lines) > 1
    assert "of 3 files" in lines[0]
    assert lines[-1].startswith("import: 3 of 3 files, 120 datasets, ")
    assert "\x1b" not in done.stderr
    again = run("3600")
    assert inserted(again.stdout) == 0
    assert again.stderr == ""
