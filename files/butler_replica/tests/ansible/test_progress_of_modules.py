"""Modules of long work under ansible-playbook: shown while they run, stopped, killed, run again."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
import yaml

from butler_replica.imports.importer import import_exports
from kit import PROJECT
from kit.exports import write_raws
from kit.importers import TIMEOUT, folder, group, imported, sessions, wait_until
from kit.sameness import assert_same

pytest.importorskip("ansible")
pytestmark = [pytest.mark.slow, pytest.mark.postgres]

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

    def job(self) -> int:
        """Return the process group of the module."""
        (path,) = self.jobs.glob("*.progress")
        return int(path.read_text().splitlines()[0])

    def read_until(self, text: str) -> None:
        """Read what the playbook shows up to a line with a text."""
        for line in self.process.stdout:
            self.shown += line
            if text in line:
                return
        pytest.fail(f"not shown: {text}\n{self.shown}")

    def finish(self) -> str:
        """Wait for the end and return all that was shown."""
        self.shown += self.process.communicate(timeout=TIMEOUT)[0]
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


@contextmanager
def held_up(repository, start):
    """Start a playbook whose module waits where it would insert datasets; return it and the module's process group."""
    engine = sqlalchemy.create_engine(repository.url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("LOCK TABLE dataset IN SHARE MODE"))
        running = start(repository)
        waits = "pid IN (SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'dataset'::regclass)"
        wait_until(lambda: running.process.poll() is not None or sessions(repository, waits), "it inserts")
        assert running.process.poll() is None, running.finish()
        yield running, running.job()


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
    repository = make_repository("postgresql")
    with held_up(repository, play) as (running, _):
        running.read_until("progress:")
        assert imported(repository) == 0
    shown = running.finish()
    assert running.process.returncode == 0, shown
    lines = [line for line in shown.splitlines() if line.startswith(("progress:", "changed:"))]
    assert f"[localhost] => import set raw: 0 of {EXPORTS} files" in lines[0]
    assert f"import set again: {EXPORTS} of {EXPORTS} files, {DATASETS} datasets" in lines[-2]
    assert lines[-1] == "changed: [localhost]"
    assert imported(repository) == DATASETS
    assert list(running.jobs.iterdir()) == []


def test_interrupted_killed_and_run_again(play, make_repository, exports):
    repository, clean = make_repository("postgresql"), make_repository("postgresql")
    import_exports(clean, [exports])
    first = sorted(exports.glob("*.yaml"))[: EXPORTS // 2]
    import_exports(repository, first)
    before = imported(repository)
    assert 0 < before < DATASETS

    with held_up(repository, play) as (interrupted, job):
        interrupted.process.send_signal(signal.SIGINT)
        shown = interrupted.finish()
    assert interrupted.process.returncode == 99, shown
    assert "User interrupted execution" in shown
    wait_until(lambda: not group(job), "the module has ended")
    assert imported(repository) == before
    assert list(interrupted.jobs.iterdir()) == []

    with held_up(repository, play) as (killed, job):
        (errors,) = killed.jobs.glob("*.errors")
        errors.write_bytes(b"last words of \x1b[2J x[/nope]y \xff \xc2\x9b31m\r\n")
        os.killpg(job, signal.SIGKILL)
        shown = killed.finish()
    assert killed.process.returncode == 2, shown
    assert "x[/nope]y" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[\d;]*m", "", shown))
    assert "ended without a result: it was killed" in shown
    assert imported(repository) == before
    assert list(killed.jobs.iterdir()) == []

    kept, locked = leave_jobs(killed.jobs)
    again = play(repository)
    shown = again.finish()
    assert again.process.returncode == 0, shown
    assert sorted(again.jobs.iterdir()) == kept
    locked.close()
    assert_same(repository, clean)
    assert folder(repository.root) == folder(clean.root)
