"""Sessions of tests in other surroundings than a terminal's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import PACKAGE

pytestmark = pytest.mark.slow

TESTS = PACKAGE / "tests"
SAYS_WHICH_SIGNALS = """\
import subprocess, sys
import pytest

def test_signals_of_a_child():
    code = "import signal as s; print([s.getsignal(n) is s.SIG_IGN for n in (1, 2, 3, 15)], s.pthread_sigmask(0, []))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[False, False, False, False] set()\\n"

@pytest.mark.parametrize("number", range(3))
def test_that_is_skipped(number):
    pytest.skip("There is no such thing.")
"""


def ignore_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


@pytest.mark.parametrize("before", [ignore_signals, block_signals])
@pytest.mark.parametrize("processes", [(), ("-n", "1")])
def test_started_in_the_background(
    tmp_path: Path, before: Callable[[], None], processes: tuple[str, ...]
) -> None:
    """What is skipped is said at the end, and written down."""
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(TESTS)!r})\nfrom kit.surroundings import *\n"
    )
    (tmp_path / "test_it.py").write_text(SAYS_WHICH_SIGNALS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "BUTLER_REPLICA_SKIPPED": str(tmp_path / "skipped")},
        preexec_fn=before,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = "3 tests were skipped: There is no such thing."
    assert said in done.stdout.splitlines()[-3:]
    assert (tmp_path / "skipped").read_text() == f"{said}\n"
