"""Mutated and truncated exports: refused in words with nothing changed, or imported right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kit import PACKAGE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--by-ref", "--staged"])
def test_mutated_exports(tmp_path: Path, way: str) -> None:
    """A part of what ``fuzz_exports.py`` does, always the same; without the real exports, so that it is quick.

    ``python attacks/fuzz_exports.py --count 1000`` tries more.
    """
    script = PACKAGE / "attacks/fuzz_exports.py"
    done = subprocess.run(
        [sys.executable, script, "--count", "10", "--seed", "1", way, "--keep", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 cases" in done.stdout
    assert "imported" in done.stdout
