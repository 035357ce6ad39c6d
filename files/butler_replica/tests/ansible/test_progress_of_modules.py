"""Modules of long work under ansible-playbook: shown while they run, stopped, killed, run again."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.repositories import tree
from kit.sameness import assert_same

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[4]
EXPORTS, DATASETS = 12, 240


class Play:
    """A playbook that imports a folder of exports, and the module that runs in the background for it."""

    def __init__(self, folder: Path, repo: Path, exports: Path) -> None:
        sets = [{"name": name, "exports": str(exports)} for name in ("raw", "again")]
        task = {"name": "Import", "butler_import": {"repo": str(repo), "sets": sets}}
        playbook = folder / "playbook.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        self.jobs = folder / "jobs"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ansible", "playbook", str(playbook), "-i", "localhost,"),
                *("-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
            ],
            cwd=PROJECT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_HOME": str(folder / "home"),
                "ANSIBLE_ASYNC_DIR": str(self.jobs),
                "BUTLER_REPLICA_PROGRESS_SECONDS": "0",
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.shown = ""

    def wait_for_job(self, *, line: bool = False) -> int:
        """Wait for the process group of the module (and its first line of progress)."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.finish()
            for path in self.jobs.glob("*.progress"):
                with suppress(FileNotFoundError, IndexError):
                    content = path.read_text().splitlines()
                    if content[1] or not line:
                        return int(content[0])
            time.sleep(0.005)
        pytest.fail("the module did not start")

    def read_until(self, text: str) -> None:
        """Read what the playbook shows up to a line with a text."""
        for line in self.process.stdout:
            self.shown += line
            if text in line:
                return
        pytest.fail(f"not shown: {text}\n{self.shown}")

    def finish(self) -> str:
        """Wait for the end and return all that was shown."""
        self.shown += self.process.communicate(timeout=120)[0]
        return self.shown


@pytest.fixture
def exports(tmp_path):
    for number in range(EXPORTS):
        write_raws(
            tmp_path / "exports", exposures=2, detectors=10, first=10 * number, run=f"Cam/raw/{number:02d}"
        )
    return tmp_path / "exports"


@pytest.fixture
def play(tmp_path, exports):
    """Start the playbook on a repository."""
    plays = []

    def start(repository):
        plays.append(Play(tmp_path, repository.root, exports))
        return plays[-1]

    yield start
    for one in plays:
        one.process.kill()
        one.process.wait()


def count(repository):
    """Number of datasets, or 0 while the database is written to."""
    with suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(f"file:{repository.root}/gen3.sqlite3?mode=ro", uri=True, timeout=0)
        try:
            return connection.execute("SELECT count(*) FROM dataset").fetchone()[0]
        finally:
            connection.close()
    return 0


def stop_at_first_datasets(running, group, repository):
    """Let a module go on in slices shorter than a file takes; return the number of datasets it stopped at."""
    while True:
        os.killpg(group, signal.SIGSTOP)
        if number := count(repository):
            return number
        assert running.process.poll() is None, running.finish()
        os.killpg(group, signal.SIGCONT)
        time.sleep(0.005)


def assert_gone(group):
    # Whoever inherits a dead process may let it wait a moment.
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process group {group} goes on")


def leave_jobs(folder):
    """Leave what runs that were cut leave behind; return what must stay, and a lock."""

    def leave(number, age, *suffixes):
        paths = [folder / f"butler_replica.{number:016x}{suffix}" for suffix in suffixes]
        for path in paths:
            path.write_text("{}")
            os.utime(path, (time.time() - age,) * 2)
        return paths

    leave(1, 3600, "", ".progress", ".errors")
    leave(2, 3600, ".progress")
    asked_for = leave(3, 10, "", ".progress")
    running = leave(4, 3600, "", ".progress", ".errors")
    of_ansible = folder / "j123456789.42"
    of_ansible.touch()
    lock = running[0].open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return sorted([*asked_for, *running, of_ansible]), lock


def test_shown_while_it_runs(play, make_repository):
    repository = make_repository()
    running = play(repository)
    job = running.wait_for_job(line=True)
    os.killpg(job, signal.SIGSTOP)
    running.read_until("progress:")
    assert count(repository) < DATASETS
    os.killpg(job, signal.SIGCONT)
    shown = running.finish()
    assert running.process.returncode == 0, shown
    lines = [line for line in shown.splitlines() if line.startswith(("progress:", "changed:"))]
    assert f"[localhost] => import set raw: 0 of {EXPORTS} files" in lines[0]
    assert f"import set again: {EXPORTS} of {EXPORTS} files, {DATASETS} datasets" in lines[-2]
    assert lines[-1] == "changed: [localhost]"
    assert count(repository) == DATASETS
    assert list(running.jobs.iterdir()) == []


def test_interrupted_killed_and_run_again(play, make_repository, exports):
    repository, clean = make_repository(), make_repository()
    import_exports(clean, [exports])

    interrupted = play(repository)
    job = interrupted.wait_for_job()
    before = stop_at_first_datasets(interrupted, job, repository)
    interrupted.process.send_signal(signal.SIGINT)
    shown = interrupted.finish()
    assert interrupted.process.returncode == 99, shown
    assert "User interrupted execution" in shown
    assert_gone(job)
    assert before <= count(repository) < DATASETS
    assert list(interrupted.jobs.iterdir()) == []

    killed = play(repository)
    job = killed.wait_for_job(line=True)
    os.killpg(job, signal.SIGSTOP)
    (errors,) = killed.jobs.glob("*.errors")
    errors.write_bytes(b"last words of \x1b[2J x[/nope]y \xff \xc2\x9b31m\r\n")
    os.killpg(job, signal.SIGKILL)
    shown = killed.finish()
    assert killed.process.returncode == 2, shown
    assert "x[/nope]y" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[\d;]*m", "", shown))
    assert "ended without a result: it was killed" in shown
    assert count(repository) < DATASETS
    assert list(killed.jobs.iterdir()) == []

    kept, locked = leave_jobs(killed.jobs)
    again = play(repository)
    shown = again.finish()
    assert again.process.returncode == 0, shown
    assert sorted(again.jobs.iterdir()) == kept
    locked.close()
    assert_same(repository, clean)
    assert tree(repository.root) == tree(clean.root)
