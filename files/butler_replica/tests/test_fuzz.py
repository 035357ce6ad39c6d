"""Mutated and truncated exports: refused in words with nothing changed, or imported right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_mutated_exports(tmp_path: Path) -> None:
    """A part of what ``fuzz_exports.py`` does, always the same; without the real exports, so that it is quick."""
    script = Path(__file__).with_name("fuzz_exports.py")
    done = subprocess.run(
        [sys.executable, script, "--count", "45", "--seed", "1", "--keep", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "45 cases" in done.stdout
    assert "imported" in done.stdout
