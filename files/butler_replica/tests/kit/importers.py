"""Importers in processes of their own, and whether a repository is whole after what befell them."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
import yaml
from lsst.daf.butler import Butler, Config

from butler_replica.session.lock import LOCK_NAME
from kit.processes import Command
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.servers import PostgresServer

TIMEOUT = 300.0
"""Seconds after which something hangs: so long that a busy machine is not taken for that."""


def start_import(repository: Repository, *arguments: object, name: str = "importer") -> Command:
    """Start ``butler-replica import`` as the leader of a process group; ``name`` is what the server calls it."""
    return Command("import", repository, *arguments, PGAPPNAME=name)


def run_import(repository: Repository, *arguments: object) -> None:
    """Import, and insist that it succeeds."""
    with start_import(repository, *arguments) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out + err


def failure(process: Command) -> str:
    """Wait until an import fails, and return what its user reads."""
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, (process.returncode, err)
    assert "Traceback" not in err, err
    assert err.startswith("Error: ") or "\nError: " in err
    wait_until(lambda: not group(process.pid), "the importer's child processes have ended")
    return err


def wait_until(condition: Callable[[], Any], what: str, seconds: float = TIMEOUT) -> None:
    """Wait for something; fail after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def group(leader: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def sessions(repository: Repository, condition: str = "true") -> list[int]:
    """Server processes that work for clients of a repository's PostgreSQL database."""
    found = repository.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        f"AND {condition}"
    )
    return [row[0] for row in found]


@contextmanager
def held_up(repository: Repository, *arguments: object, at: str = "dataset_location") -> Iterator[Command]:
    """Start an import into a PostgreSQL repository, and hold it up where it writes into a table.

    That is in the middle of its transaction, if nothing else is said: its artifacts are in place then, and its
    datasets inserted. It is let go with the context, which also leaves no process behind.
    """
    engine = sqlalchemy.create_engine(repository.url, poolclass=sqlalchemy.NullPool)
    with killed_at_end(start_import(repository, *arguments)) as process:
        connection = engine.connect()
        connection.execute(sqlalchemy.text(f"LOCK TABLE {at} IN SHARE MODE"))
        try:
            waits = f"pid IN (SELECT pid FROM pg_locks WHERE NOT granted AND relation = '{at}'::regclass)"
            wait_until(lambda: process.poll() is not None or sessions(repository, waits), f"it is at {at}")
            assert process.poll() is None, process.communicate()[1]
            yield process
        finally:
            with suppress(sqlalchemy.exc.DBAPIError):
                connection.close()


def schema(repository: Repository) -> set[tuple[str, ...]]:
    """Tables, indexes and constraints of a registry.

    Temporary tables go with their session; those that a crashed server forgot it removes later.
    """
    if repository.backend == "sqlite":
        rows = repository.sql("SELECT type, name FROM sqlite_master")
    else:
        rows = repository.sql(
            "SELECT relkind::text, relname::text FROM pg_class "
            "WHERE relnamespace::regnamespace::text !~ '^(pg_catalog|pg_toast|pg_temp|information_schema)' "
            "UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname FROM pg_constraint "
            "WHERE connamespace::regnamespace::text !~ '^(pg_catalog|pg_toast|pg_temp|information_schema)'"
        )
    return {tuple(row) for row in rows}


def folder(root: Path) -> dict[str, str | int]:
    """Names, targets of links and sizes of what is in a repository folder; the size of a database says nothing."""
    found: dict[str, str | int] = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = str(path.readlink())
        elif path.is_dir():
            found[str(path.relative_to(root))] = "folder"
        else:
            is_database = path.name in ("gen3.sqlite3", "butler.yaml")
            found[str(path.relative_to(root))] = "" if is_database else path.stat().st_size
    return found


def assert_whole(repository: Repository) -> None:
    """Check that what is registered is there: every dataset with a record, every record with its artifact."""
    if repository.backend == "postgresql":
        wait_until(lambda: not sessions(repository), "the server has let go of the importer")
        assert not repository.sql("SELECT 1 FROM pg_prepared_xacts")
    tables = {name for _, name in schema(repository)}
    if "file_datastore_records" not in tables:
        assert repository.sql("SELECT count(*) FROM dataset") == [(0,)]
        return
    assert not repository.sql(
        "SELECT d.id FROM dataset d LEFT JOIN file_datastore_records r ON r.dataset_id = d.id "
        "WHERE r.path IS NULL"
    )
    assert not repository.sql(
        "SELECT r.path FROM file_datastore_records r LEFT JOIN dataset d ON r.dataset_id = d.id WHERE d.id IS NULL"
    )
    for path, size in repository.sql("SELECT path, file_size FROM file_datastore_records"):
        artifact = path.removeprefix("file://") if path.startswith("file:") else repository.root / path
        assert os.stat(artifact).st_size == size  # noqa: PTH116


class Clean(NamedTuple):
    """What one clean run makes of a repository."""

    tables: dict[str, Any]
    kinds: set[tuple[str, ...]]
    """Tables, indexes and constraints."""

    files: dict[str, str | int]
    n_datasets: int

    @staticmethod
    def of(repository: Repository) -> Clean:
        """Look at a repository."""
        assert_whole(repository)
        return Clean(
            registry_tables(repository), schema(repository), folder(repository.root), imported(repository)
        )


def assert_like(clean: Clean, repository: Repository) -> None:
    """Check that a repository is what one clean run made of another, and that nothing is left over."""
    found = Clean.of(repository)
    assert found.tables.keys() == clean.tables.keys()
    for table, rows in found.tables.items():
        assert rows - clean.tables[table] == clean.tables[table] - rows, table
    assert found.kinds == clean.kinds, found.kinds ^ clean.kinds
    assert found.files == clean.files, found.files.items() ^ clean.files.items()
    assert (repository.root / LOCK_NAME).stat().st_size == 0


def imported(repository: Repository) -> int:
    """Number of datasets."""
    return int(repository.sql("SELECT count(*) FROM dataset")[0][0])


def make_on(
    server: PostgresServer, root: Path, add_login: Callable[[str, str, str], object], options: str = ""
) -> Repository:
    """Make an empty repository whose registry is on a server of its own; ``options`` go with the database."""
    name = f"test_{secrets.token_hex(6)}"
    server.create_database(name, options)
    add_login(server.url(name), server.role, server.password)
    config = Config()
    config["registry", "db"] = server.url(name)
    Butler.makeRepo(root, config=config)
    return Repository(root, "postgresql", name, server.url(name, server.role, server.password))


def write_auth(path: Path, server: PostgresServer | None) -> Path:
    """Write credentials for all databases of a server."""
    path.touch(mode=0o600)
    entries = []
    if server is not None:
        login = {"username": server.role, "password": server.password}
        entries.append({"url": f"postgresql://{server.host}:{server.port}/*", **login})
    path.write_text(yaml.safe_dump(entries))
    return path


@contextmanager
def killed_at_end(process: Command) -> Any:
    """Leave no process behind, whatever happens."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_at_random(
    make: Callable[[], Repository], exports: Sequence[Path], transfer: str, count: int, seed: int
) -> None:
    """Kill an importer ``count`` times, at moments spread evenly over the duration of a clean run.

    Each import continues what the one before it left, until nothing is left to import; then a new
    repository takes its place.
    """
    print(f"seed {seed}")
    moments = random.Random(seed)
    arguments = (*exports, "--transfer", transfer)
    whole = make()
    began = time.monotonic()
    run_import(whole, *arguments)
    duration = time.monotonic() - began
    clean = Clean.of(whole)
    killed = make()
    for number in range(1, count + 1):
        moment = moments.uniform(0, duration)
        with start_import(killed, *arguments) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            # Not communicate(): a child that outlives its parent would keep the pipes open.
            process.wait()
            wait_until(lambda: not group(process.pid), "the importer's child processes have gone")
        assert_whole(killed)
        there = imported(killed)
        print(f"{number}: killed after {moment:.2f} of {duration:.2f} s, {there} datasets")
        if there == clean.n_datasets or number == count:
            run_import(killed, *arguments)
            assert_like(clean, killed)
            killed = make()
