"""What befalls an import: killed, cut off, out of room, not alone. Afterwards a rerun completes it.

Real processes, servers and file systems throughout; the end is compared with a clean run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Config

from butler_replica.lock import LOCK_NAME
from conftest import Repository
from exports_for_tests import write_raws
from faults import (
    TIMEOUT,
    assert_like,
    failure,
    folder,
    imported,
    killed_at_end,
    make_on,
    run_import,
    sessions,
    start_import,
    wait_for_writing,
    wait_until,
)
from kill_importer import kill_at_random
from postgres_server import QUICK_SETTINGS, PostgresServer, server_user, temporary_server
from registry_tables import registry_tables

pytestmark = pytest.mark.slow

RAWS = 5000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of 5,000 raws."""
    return write_raws(tmp_path_factory.mktemp("raws"), exposures=RAWS // 100)


@pytest.fixture(scope="module")
def few_raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of 200 raws of the same instrument."""
    return write_raws(tmp_path_factory.mktemp("few"), exposures=2, first=5000, run="Cam/raw/few")


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop and start."""
    with temporary_server() as server:
        yield server


def set_database(repository: Repository, url: str) -> None:
    """Say in ``butler.yaml`` where the registry is."""
    path = str(repository.root / "butler.yaml")
    config = Config(path)
    config["registry", "db"] = url
    config.dumpToUri(path)


@pytest.fixture
def small_disk() -> Iterator[Callable[[], Path]]:
    """Make file systems of 64 MB, which every user may write to."""
    made = []

    def make() -> Path:
        # Not below pytest's own temporary folder: that one is closed to other users.
        made.append(Path(tempfile.mkdtemp(prefix="butler-replica-disk-")))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "none", made[-1]], check=True)
        return made[-1]

    yield make
    for disk in made:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()


def fill(disk: Path, leave: int) -> Path:
    """Fill a file system, but for some bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(disk).free - leave)
    return ballast


@pytest.mark.parametrize(("backend", "transfer"), [("postgresql", "symlink"), ("sqlite", "copy")])
def test_killed_at_random_moments(
    make_repository: Callable[..., Repository], backend: str, transfer: str, raws: Path, few_raws: Path
) -> None:
    kill_at_random(lambda: make_repository(backend), [raws, few_raws], transfer, 5, secrets.randbelow(10**6))


def test_server_stopped(
    make_repository: Callable[..., Repository],
    own_server: PostgresServer,
    db_auth: Callable[..., Path],
    raws: Path,
    tmp_path: Path,
) -> None:
    clean = make_repository("postgresql")
    run_import(clean, raws)
    stopped = make_on(own_server, tmp_path / "stopped", db_auth)
    for mode in ("fast", "immediate"):
        with killed_at_end(start_import(stopped, raws)) as process:
            wait_for_writing(process, stopped)
            own_server.stop(mode)
            assert "The server was stopped or the connection cut. Run this again: it continues." in failure(
                process
            )
        with killed_at_end(start_import(stopped, raws)) as process:
            assert "Is the PostgreSQL server running there" in failure(process)
        own_server.start()
        assert imported(stopped) == 0
    run_import(stopped, raws)
    assert_like(clean, stopped)


class Proxy(threading.Thread):
    """A network between importer and server, which can be cut and can stall."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(daemon=True)
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._other: dict[socket.socket, socket.socket] = {}
        self._wake, self._woken = socket.socketpair()
        self.stalled = False
        self._stopped = False
        self.start()

    def cut(self) -> None:
        """Cut every connection."""
        for end in list(self._other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Cut every connection and take no more."""
        self._stopped = True
        self._wake.send(b"x")
        self.join()
        for end in (*self._other, self._listener, self._wake, self._woken):
            end.close()

    def run(self) -> None:
        while not self._stopped:
            ends = [] if self.stalled else [self._listener, *self._other]
            ready, _, _ = select.select([self._woken, *ends], [], [], 0.05)
            for end in ready:
                if end is self._listener:
                    client, _ = self._listener.accept()
                    server = socket.create_connection(self._server)
                    self._other |= {client: server, server: client}
                elif end in self._other:
                    self._forward(end)

    def _forward(self, end: socket.socket) -> None:
        try:
            if data := end.recv(1 << 16):
                self._other[end].sendall(data)
                return
        except OSError:
            pass
        other = self._other.pop(end)
        del self._other[other]
        end.close()
        other.close()


@pytest.fixture
def behind_proxy(
    make_repository: Callable[..., Repository], postgres_server: PostgresServer, db_auth: Callable[..., Path]
) -> Iterator[tuple[Repository, Proxy]]:
    """A repository whose registry is reached through a network of the test's own."""
    repository = make_repository("postgresql")
    proxy = Proxy(postgres_server.host, postgres_server.port)
    url = f"postgresql://127.0.0.1:{proxy.port}/{repository.name}"
    db_auth(url, postgres_server.role, postgres_server.password)
    set_database(repository, url)
    yield repository, proxy
    proxy.stop()


def test_connection_cut(
    make_repository: Callable[..., Repository], behind_proxy: tuple[Repository, Proxy], raws: Path
) -> None:
    clean = make_repository("postgresql")
    run_import(clean, raws)
    repository, proxy = behind_proxy

    def terminate() -> None:
        repository.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    for cut in (terminate, proxy.cut):
        with killed_at_end(start_import(repository, raws)) as process:
            wait_for_writing(process, repository)
            cut()
            assert "connection cut. Run this again: it continues." in failure(process)
        wait_until(lambda: not sessions(repository), "the server has noticed")
        assert imported(repository) == 0
    run_import(repository, raws)
    assert_like(clean, repository)


def keepalive_seconds(port: int) -> float:
    """When the kernel asks whether the other end of a connection to a local port is still there."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, _, timer, *_ = line.split()
        active, _, ticks = timer.partition(":")
        if int(remote.partition(":")[2], 16) == port and state == "01" and active == "02":
            return int(ticks, 16) / os.sysconf("SC_CLK_TCK")
    return float("inf")


def test_connection_stalled(
    make_repository: Callable[..., Repository],
    behind_proxy: tuple[Repository, Proxy],
    raws: Path,
    few_raws: Path,
) -> None:
    """A vanished server is looked for within a minute; meanwhile others are told who holds the lock."""
    clean = make_repository("postgresql")
    run_import(clean, raws)
    run_import(clean, few_raws)
    repository, proxy = behind_proxy
    with killed_at_end(start_import(repository, raws)) as process:
        wait_for_writing(process, repository)
        proxy.stalled = True
        wait_until(lambda: keepalive_seconds(proxy.port) <= 60, "the connection is watched")
        set_database(repository, repository.url)
        with killed_at_end(start_import(repository, few_raws)) as other:
            assert other.stderr is not None
            assert f"process {process.pid} " in other.stderr.readline()
            assert (process.poll(), other.poll()) == (None, None)
            proxy.cut()
            assert "connection cut. Run this again: it continues." in failure(process)
            assert other.wait(TIMEOUT) == 0
    run_import(repository, raws)
    assert_like(clean, repository)


@needs_root
def test_disk_of_the_repository_full(
    make_repository: Callable[..., Repository], small_disk: Callable[[], Path], raws: Path
) -> None:
    """The artifacts are of a few bytes but take a page each, so that it seems beforehand that they fit."""
    clean = make_repository("postgresql")
    run_import(clean, raws, "--transfer", "copy")
    disk = small_disk()
    repository = make_repository("postgresql", disk / "repository")
    before, rows = folder(repository.root), registry_tables(repository)
    ballast = fill(disk, 4_000_000)
    with killed_at_end(start_import(repository, raws, "--transfer", "copy")) as process:
        message = failure(process)
    assert f"{repository.root}/Cam/raw/all/" in message
    assert "No space left on device" in message
    assert folder(repository.root) == {**before, LOCK_NAME: 0}
    assert registry_tables(repository) == rows
    ballast.unlink()
    run_import(repository, raws, "--transfer", "copy")
    assert_like(clean, repository)


@needs_root
def test_disk_of_sqlite_full(
    make_repository: Callable[..., Repository], small_disk: Callable[[], Path], raws: Path
) -> None:
    clean = make_repository("sqlite")
    run_import(clean, raws)
    disk = small_disk()
    repository = make_repository("sqlite", disk / "repository")
    ballast = fill(disk, 1_000_000)
    with killed_at_end(start_import(repository, raws)) as process:
        assert "The disk of the database is full." in failure(process)
    assert imported(repository) == 0
    ballast.unlink()
    run_import(repository, raws)
    assert_like(clean, repository)


@needs_root
def test_disk_of_postgresql_full(
    make_repository: Callable[..., Repository],
    small_disk: Callable[[], Path],
    db_auth: Callable[..., Path],
    raws: Path,
    tmp_path: Path,
) -> None:
    """First that of the tables, then that of the write-ahead log, without which a server ends."""
    clean = make_repository("postgresql")
    run_import(clean, raws)
    tables, log = small_disk(), small_disk()
    with temporary_server(
        {**QUICK_SETTINGS, "restart_after_crash": "off"}, "-X", str(log / "wal"), "--wal-segsize=1"
    ) as server:
        shutil.chown(tables, server_user().pw_name)  # type: ignore[union-attr]
        server.sql(f"CREATE TABLESPACE small LOCATION '{tables}'")
        repository = make_on(server, tmp_path / "on_small_disks", db_auth, "TABLESPACE small")
        ballast = fill(tables, 500_000)
        with killed_at_end(start_import(repository, raws)) as process:
            assert "The disk of the database is full." in failure(process)
        assert imported(repository) == 0
        ballast.unlink()
        ballast = fill(log, 100_000)
        with killed_at_end(start_import(repository, raws)) as process:
            assert "The server was stopped or the connection cut." in failure(process)
        wait_until(lambda: not (server.folder / "data" / "postmaster.pid").exists(), "the server has ended")
        ballast.unlink()
        server.start()
        assert imported(repository) == 0
        run_import(repository, raws)
        assert_like(clean, repository)


@pytest.mark.parametrize("second", ["the same", "another"])
def test_two_importers_at_once(
    make_repository: Callable[..., Repository], backend: str, raws: Path, few_raws: Path, second: str
) -> None:
    exports = [raws, raws if second == "the same" else few_raws]
    clean, shared = make_repository(backend), make_repository(backend)
    for export in dict.fromkeys(exports):
        run_import(clean, export)
    both = [start_import(shared, export, "--json") for export in exports]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    inserted = [json.loads(out)["datasets"]["inserted"] for out, _ in outputs]
    assert sorted(inserted) == ([0, RAWS] if second == "the same" else [200, RAWS])
    assert_like(clean, shared)
