"""What a copy leaves that is killed in the middle of a file, and who takes that away."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from butler_replica.errors import RefusedError
from butler_replica.repository.making import ensure_repository
from kit.importers import killed_at_end, run_import, start_import, wait_until
from kit.repositories import Repository

LARGE = 3 << 30
"""Bytes of a file with nothing in it, which is not copied in a moment."""


def kill_copy(repository: Repository, exported: Path) -> Path:
    """Kill an import while it copies an artifact; return what is left of that."""
    artifact = next(exported.rglob("bias_Cam_D00*.yaml"))  # the first one
    content = artifact.read_bytes()
    os.truncate(artifact, LARGE)
    with killed_at_end(start_import(repository, exported, "--transfer", "copy")) as process:
        wait_until(lambda: process.poll() is not None or left_in(repository.root), "a copy has begun")
        process.send_signal(signal.SIGKILL)
        process.wait()
    artifact.write_bytes(content)
    (left,) = left_in(repository.root)
    assert left.stat().st_size < LARGE
    # The tests need not have the room; what it is called and whose it is stays.
    os.truncate(left, 1)
    return left


def left_in(root: Path) -> list[Path]:
    return list(root.rglob(".*.partial"))


def plant(place: Path, name: str) -> Path:
    other = place.with_name(name)
    other.write_text("mine")
    return other


def link(place: Path) -> Path:
    other = place.with_name(f".{'a' * 32}.partial")
    other.symlink_to("somewhere")
    return other


def folder(place: Path) -> Path:
    other = place.with_name(f".{'b' * 32}.partial")
    other.mkdir()
    return other


def file_of_another_user(place: Path) -> Path:
    other = plant(place, f".{'c' * 32}.partial")
    os.chown(other, 4001, 4001)
    return other


FILES_OF_OTHERS: dict[str, Callable[[Path], Path]] = {
    "another pattern": lambda place: plant(place, ".notes.partial"),
    "capital letters": lambda place: plant(place, f".{'AB' * 16}.partial"),
    "longer": lambda place: plant(place, f".{'ab' * 17}.partial"),
    **({"of another user": file_of_another_user} if os.geteuid() == 0 else {}),
}
OTHERS = {**FILES_OF_OTHERS, "link": link, "folder": folder}


def test_the_next_import_takes_it_away(make_repository: Callable[..., Repository], exported: Path) -> None:
    """That, and nothing else."""
    repository = make_repository()
    left = kill_copy(repository, exported)
    others = {make(left) for make in OTHERS.values()}
    run_import(repository, exported, "--transfer", "copy")
    assert set(left_in(repository.root)) == others
    assert repository.sql("SELECT count(*) FROM file_datastore_records") == [(8,)]


SQLITE = {"datastore": {"root": "<butlerRoot>"}, "registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}}


@pytest.fixture
def replica(tmp_path: Path) -> Repository:
    """One that may be destroyed; the guard's look at its folder is the same for all databases."""
    root = tmp_path / "replica"
    ensure_repository(root, config=SQLITE)
    return Repository.on_sqlite(root)


def test_the_guard_does_not_stop_at_it(replica: Repository, exported: Path) -> None:
    left = kill_copy(replica, exported)
    ensure_repository(replica.root, config=SQLITE, confirm_destroy="replica")
    assert not left.exists()
    assert (replica.root / "butler.yaml").exists()


@pytest.mark.parametrize("kind", FILES_OF_OTHERS)
def test_the_guard_stops_at_others(replica: Repository, kind: str) -> None:
    left = plant(replica.root / "butler.yaml", f".{'d' * 32}.partial")
    other = FILES_OF_OTHERS[kind](left)
    with pytest.raises(RefusedError, match=f"holds 1 file.*{re.escape(other.name)}"):
        ensure_repository(replica.root, config=SQLITE, confirm_destroy="replica")
    assert other.read_text() == "mine"
    assert left.exists()
