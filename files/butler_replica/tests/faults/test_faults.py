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
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Config

from butler_replica.session.lock import LOCK_NAME
from kit.exports import write_raws
from kit.importers import (
    TIMEOUT,
    Clean,
    assert_like,
    assert_whole,
    failure,
    folder,
    held_up,
    imported,
    kill_at_random,
    killed_at_end,
    make_on,
    run_import,
    sessions,
    start_import,
    wait_until,
)
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.servers import QUICK_SETTINGS, PostgresServer, server_user, temporary_server

pytestmark = pytest.mark.slow

RAWS = 1200
"""Enough to be compared and inserted set by set; a few are not."""

CONTINUES = "Run this again: it continues."

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of raws."""
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


@pytest.fixture(scope="module")
def known_clean() -> dict[tuple[Any, ...], Clean]:
    """Clean runs that were made."""
    return {}


@pytest.fixture
def clean(
    make_repository: Callable[..., Repository], known_clean: dict[tuple[Any, ...], Clean]
) -> Callable[..., Clean]:
    """What one clean run makes of a repository: ``clean(backend, *arguments)``."""

    def run(backend: str, *arguments: object) -> Clean:
        if (backend, *arguments) not in known_clean:
            repository = make_repository(backend)
            run_import(repository, *arguments)
            known_clean[(backend, *arguments)] = Clean.of(repository)
        return known_clean[(backend, *arguments)]

    return run


def set_database(repository: Repository, url: str) -> None:
    """Say in ``butler.yaml`` where the registry is."""
    path = str(repository.root / "butler.yaml")
    config = Config(path)
    config["registry", "db"] = url
    config.dumpToUri(path)


@pytest.fixture
def small_disk() -> Iterator[Callable[..., Path]]:
    """Make file systems of 64 MB, which every user may write to."""
    made: list[Path] = []

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
    """A few; ``python attacks/kill_importer.py 100`` kills more."""
    kill_at_random(lambda: make_repository(backend), [raws, few_raws], transfer, 3, secrets.randbelow(10**6))


@pytest.mark.parametrize("at", ["dataset_type", "collection", "dataset_location"])
def test_killed_when_artifacts_are_in_place(
    make_repository: Callable[..., Repository], clean: Callable[..., Clean], raws: Path, at: str
) -> None:
    """Before anything is registered, before the transaction, and in it: the next run takes the artifacts."""
    repository = make_repository("postgresql")
    with held_up(repository, raws, at=at) as process:
        links = [path for path in repository.root.rglob("*") if path.is_symlink()]
        assert len(links) == RAWS
        process.kill()
        process.wait()
    assert_whole(repository)
    assert imported(repository) == 0
    assert not repository.sql("SELECT 1 FROM collection")
    run_import(repository, raws)
    assert_like(clean("postgresql", raws), repository)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal(
    make_repository: Callable[..., Repository],
    clean: Callable[..., Clean],
    raws: Path,
    few_raws: Path,
    number: signal.Signals,
) -> None:
    """In the middle of a statement that would take forever."""
    repository = make_repository("postgresql")
    before = folder(repository.root)
    registered = [repository.sql(f"SELECT name FROM {table}") for table in ("dataset_type", "collection")]
    with held_up(repository, raws) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == (1 if number is signal.SIGINT else 128 + number)
    assert "Traceback" not in err
    assert folder(repository.root) == {**before, LOCK_NAME: 0}
    assert imported(repository) == 0
    assert registered == [
        repository.sql(f"SELECT name FROM {table}") for table in ("dataset_type", "collection")
    ]
    run_import(repository, raws)
    assert_like(clean("postgresql", raws), repository)


def test_server_stopped(
    clean: Callable[..., Clean],
    own_server: PostgresServer,
    db_auth: Callable[..., Path],
    raws: Path,
    tmp_path: Path,
) -> None:
    stopped = make_on(own_server, tmp_path / "stopped", db_auth)
    with held_up(stopped, raws) as process:
        own_server.stop("fast")
        assert CONTINUES in failure(process)
    with killed_at_end(start_import(stopped, raws)) as process:
        assert "Is the PostgreSQL server running there" in failure(process)
    own_server.start()
    assert imported(stopped) == 0
    with held_up(stopped, raws) as process:
        own_server.stop("immediate")
        assert CONTINUES in failure(process)
    own_server.start()
    run_import(stopped, raws)
    assert_like(clean("postgresql", raws), stopped)


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
        self.cut_at = b""
        """What a client says last."""

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
            data = end.recv(1 << 16)
            if data and not (self.cut_at and self.cut_at in data):
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


MOMENTS = (
    b"CREATE TABLE public.file_datastore_records",
    b"CREATE TABLE public.dataset_tags",
    b"INSERT INTO public.run ",
    b"COPY dc2_replica_staged",
    b"INSERT INTO public.dataset ",
)
"""Beginnings of statements. The butler believes in a table although it could not be made."""


def test_connection_cut(
    clean: Callable[..., Clean], behind_proxy: tuple[Repository, Proxy], raws: Path
) -> None:
    repository, proxy = behind_proxy
    for statement in MOMENTS:
        proxy.cut_at = statement
        with killed_at_end(start_import(repository, raws)) as process:
            assert CONTINUES in failure(process), statement
        wait_until(lambda: not sessions(repository), "the server has noticed")
        assert imported(repository) == 0, statement
    proxy.cut_at = b""
    run_import(repository, raws)
    assert_like(clean("postgresql", raws), repository)


def test_session_terminated(
    make_repository: Callable[..., Repository], clean: Callable[..., Clean], raws: Path
) -> None:
    repository = make_repository("postgresql")
    with held_up(repository, raws) as process:
        repository.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'importer'"
            "AND datname = current_database()"
        )
        assert CONTINUES in failure(process)
    assert imported(repository) == 0
    run_import(repository, raws)
    assert_like(clean("postgresql", raws), repository)


def keepalive_seconds(port: int) -> float:
    """When the kernel asks whether the other end of a connection to a local port is still there."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, _, timer, *_ = line.split()
        active, _, ticks = timer.partition(":")
        if int(remote.partition(":")[2], 16) == port and state == "01" and active == "02":
            return int(ticks, 16) / os.sysconf("SC_CLK_TCK")
    return float("inf")


def test_connection_stalled(
    clean: Callable[..., Clean], behind_proxy: tuple[Repository, Proxy], raws: Path, few_raws: Path
) -> None:
    """A vanished server is looked for within a minute; meanwhile others are told who holds the lock, and hold none."""
    repository, proxy = behind_proxy
    with contextlib.ExitStack() as stack:
        with held_up(repository, raws) as process:
            proxy.stalled = True
            wait_until(lambda: keepalive_seconds(proxy.port) <= 60, "the connection is watched")
            set_database(repository, repository.url)
            other = stack.enter_context(killed_at_end(start_import(repository, raws, few_raws, name="other")))
            assert other.stderr is not None
            assert f"process {process.pid} " in other.stderr.readline()
            assert not sessions(repository, "application_name = 'other' AND state <> 'idle'")
            assert (process.poll(), other.poll()) == (None, None)
            proxy.cut()
            assert CONTINUES in failure(process)
        assert other.wait(TIMEOUT) == 0
    assert_like(clean("postgresql", raws, few_raws), repository)


@needs_root
@pytest.mark.parametrize("transfer", ["symlink", "copy"])
def test_disk_of_the_repository_full(
    make_repository: Callable[..., Repository],
    clean: Callable[..., Clean],
    small_disk: Callable[[], Path],
    raws: Path,
    transfer: str,
) -> None:
    """It is seen beforehand where copies do not fit, and undone where the file system has other limits."""
    disk = small_disk()
    repository = make_repository("postgresql", disk / "repository")
    before, rows = folder(repository.root), registry_tables(repository)
    arguments = (raws, "--transfer", transfer)
    if transfer == "copy":
        ballast = fill(disk, 2_000_000)
        with killed_at_end(start_import(repository, *arguments)) as process:
            assert "4.9 MB of artifacts are to be copied and 2.0 MB are free" in failure(process)
        assert registry_tables(repository) == rows
        ballast.unlink()
    n_files = sum(1 for _ in disk.rglob("*"))
    subprocess.run(["mount", "-o", f"remount,nr_inodes={n_files + 500}", disk], check=True)
    with killed_at_end(start_import(repository, *arguments)) as process:
        message = failure(process)
    assert f"{repository.root}/Cam/raw/all/" in message
    assert "No space left on device" in message
    assert folder(repository.root) == {**before, LOCK_NAME: 0}
    assert imported(repository) == 0
    subprocess.run(["mount", "-o", "remount,nr_inodes=0", disk], check=True)
    run_import(repository, *arguments)
    assert_like(clean("postgresql", *arguments), repository)


@needs_root
def test_disk_of_sqlite_full(
    make_repository: Callable[..., Repository],
    clean: Callable[..., Clean],
    small_disk: Callable[[], Path],
    raws: Path,
) -> None:
    disk = small_disk()
    repository = make_repository("sqlite", disk / "repository")
    before = folder(repository.root)
    for leave in (0, 50_000, 500_000):
        ballast = fill(disk, leave)
        with killed_at_end(start_import(repository, raws, "--transfer", "direct")) as process:
            assert "The disk of the database is full." in failure(process)
        ballast.unlink()
        assert folder(repository.root) in (before, {**before, LOCK_NAME: 0})
        assert imported(repository) == 0
    run_import(repository, raws, "--transfer", "direct")
    assert_like(clean("sqlite", raws, "--transfer", "direct"), repository)


@needs_root
def test_disk_of_postgresql_full(
    clean: Callable[..., Clean],
    small_disk: Callable[[], Path],
    db_auth: Callable[..., Path],
    raws: Path,
    tmp_path: Path,
) -> None:
    """First that of the tables, then that of the write-ahead log, without which a server ends."""
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
            assert CONTINUES in failure(process)
        wait_until(lambda: not (server.folder / "data" / "postmaster.pid").exists(), "the server has ended")
        ballast.unlink()
        server.start()
        assert imported(repository) == 0
        run_import(repository, raws)
        assert_like(clean("postgresql", raws), repository)


@pytest.mark.parametrize("second", ["the same", "another"])
def test_two_importers_at_once(
    make_repository: Callable[..., Repository],
    clean: Callable[..., Clean],
    raws: Path,
    few_raws: Path,
    second: str,
) -> None:
    exports = [raws, raws if second == "the same" else few_raws]
    shared = make_repository("postgresql")
    both = [start_import(shared, export, "--json") for export in exports]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    inserted = [json.loads(out)["datasets"]["inserted"] for out, _ in outputs]
    assert sorted(inserted) == ([0, RAWS] if second == "the same" else [200, RAWS])
    assert_like(clean("postgresql", *dict.fromkeys(reversed(exports))), shared)
