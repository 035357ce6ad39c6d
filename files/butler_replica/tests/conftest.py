"""Fixtures: a temporary PostgreSQL server, fresh repositories on both backends, real export files."""

from __future__ import annotations

import dataclasses
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, Config

EMPTY_DATABASE = "empty_repository"
"""Database of an empty repository."""

LOGIN_ROLE = "dc2"
"""Role that owns the databases of the tests: it may create databases and is no superuser."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``postgres`` whatever starts the server."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


def _postgres_bin() -> Path | None:
    """Folder of the newest PostgreSQL server binaries on this machine."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name)
    )
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _unprivileged_user() -> pwd.struct_passwd | None:
    """User that runs the server when the tests run as root; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.fail("PostgreSQL does not run as root and there is no user 'postgres' or 'nobody' to run it as.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class PostgresServer:
    """A running temporary PostgreSQL server that asks for scram passwords."""

    host: str
    port: int
    admin_password: str
    role: str
    password: str

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Connection URL, with credentials only if a user is given."""
        login = f"{user}:{quote(password or '', safe='')}@" if user else ""
        return f"postgresql://{login}{self.host}:{self.port}/{database}"

    def sql(
        self, statement: str, *, database: str = "postgres", admin: bool = True, **values: Any
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a connection of its own, as superuser or as the login role."""
        user, password = ("postgres", self.admin_password) if admin else (self.role, self.password)
        engine = sqlalchemy.create_engine(
            self.url(database, user, password), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
        )
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def databases(self) -> set[str]:
        """Names of the databases that are not part of the server itself."""
        return {row[0] for row in self.sql("SELECT datname FROM pg_database WHERE NOT datistemplate")}

    def create_database(self, name: str) -> None:
        """Create a database of the login role, with ``btree_gist``."""
        self.sql(f'CREATE DATABASE "{name}" OWNER "{self.role}"')
        self.sql("CREATE EXTENSION btree_gist", database=name, admin=False)

    def copy_database(self, name: str, copy: str) -> None:
        """Copy a database of the login role; connections that were left open to it are closed."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
        self.sql(f'CREATE DATABASE "{copy}" OWNER "{self.role}" TEMPLATE "{name}"')

    def drop_database(self, name: str) -> None:
        """Drop a database, together with connections that a test left open."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server in a temporary folder for the session.

    Fails where there are no server binaries, unless ``BUTLER_REPLICA_NO_POSTGRES=1`` says that the tests
    that need them are to be skipped.
    """
    if os.environ.get("BUTLER_REPLICA_NO_POSTGRES") == "1":
        pytest.skip("BUTLER_REPLICA_NO_POSTGRES=1")
    binaries = _postgres_bin()
    if binaries is None:
        pytest.fail(
            "No PostgreSQL server binaries (initdb) in /usr/lib/postgresql/*/bin or PATH. Install "
            "the package 'postgresql', or set BUTLER_REPLICA_NO_POSTGRES=1 to skip the tests that need it."
        )
    user = _unprivileged_user()
    # Not below pytest's own temporary folder: that one is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="butler-replica-postgres-"))
    server = PostgresServer(
        "127.0.0.1", _free_port(), secrets.token_hex(8), LOGIN_ROLE, secrets.token_urlsafe(12)
    )
    password_file = folder / "password"
    password_file.write_text(server.admin_password)
    if user is not None:
        for path in (folder, password_file):
            os.chown(path, user.pw_uid, user.pw_gid)
    identity: dict[str, Any] = (
        {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    )

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            **identity,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{command[0]}: exit status {done.returncode}\n{done.stdout}")

    data = folder / "data"
    try:
        run(
            *(binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}"),
        )
        with (data / "postgresql.conf").open("a") as conf:
            # Durability is of no use for a server that lives as long as the tests.
            conf.write(
                f"listen_addresses = '{server.host}'\nport = {server.port}\n"
                f"unix_socket_directories = '{folder}'\nfsync = off\nfull_page_writes = off\n"
                "synchronous_commit = off\nmax_connections = 50\nshared_buffers = 64MB\n"
            )
        run(binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-t", "60", "start")
        try:
            server.sql(f"CREATE ROLE \"{server.role}\" LOGIN CREATEDB PASSWORD '{server.password}'")
            yield server
        finally:
            run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@dataclasses.dataclass
class Repository:
    """A repository made for a test, and a way to look into its registry that is not the butler."""

    root: Path
    backend: str
    name: str
    """Name of the database; on SQLite, of the folder."""

    url: str
    """URL of the database for SQLAlchemy, with credentials."""

    def sql(self, statement: str, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one SQL statement on the registry's database and return the rows."""
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            result = connection.execute(sqlalchemy.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def __fspath__(self) -> str:
        return str(self.root)

    def __str__(self) -> str:
        return str(self.root)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    """Run the test on an SQLite and on a PostgreSQL registry."""
    return str(request.param)


@pytest.fixture
def db_auth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Credentials file of this test (mode 0600, in ``LSST_DB_AUTH``); call it to add an entry."""
    path = tmp_path / "db-auth.yaml"
    entries: list[dict[str, str]] = []

    def add(url: str, username: str, password: str) -> Path:
        entries.append({"url": url, "username": username, "password": password})
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(entries))
        return path

    monkeypatch.setenv("LSST_DB_AUTH", str(path))
    return add


@pytest.fixture(scope="session")
def empty_repository(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Make an empty repository with the stock butler, once for each backend: copies of it are cheap."""
    made: dict[str, Path] = {}

    def make(backend: str) -> Path:
        if backend not in made:
            root = tmp_path_factory.mktemp("empty") / backend
            config = Config()
            if backend == "postgresql":
                server: PostgresServer = request.getfixturevalue("postgres_server")
                server.create_database(EMPTY_DATABASE)
                config["registry", "db"] = server.url(EMPTY_DATABASE, server.role, server.password)
            Butler.makeRepo(root, config=config)
            made[backend] = root
        return made[backend]

    return make


@pytest.fixture
def make_repository(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    db_auth: Callable[..., Path],
    empty_repository: Callable[[str], Path],
) -> Iterator[Callable[..., Repository]]:
    """Make fresh, empty repositories: ``make_repository(backend)`` or ``make_repository(backend, folder)``.

    On PostgreSQL each has a database of its own, whose credentials are in the file that ``LSST_DB_AUTH``
    names, as a user would have it; it is dropped after the test.
    """
    made: list[str] = []

    def make(backend: str = "sqlite", root: Path | None = None) -> Repository:
        root = root or tmp_path / f"repo{len(list(tmp_path.glob('repo*')))}"
        shutil.copytree(empty_repository(backend), root)
        if backend == "sqlite":
            return Repository(root, backend, root.name, f"sqlite:///{root / 'gen3.sqlite3'}")
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = f"test_{secrets.token_hex(6)}"
        server.copy_database(EMPTY_DATABASE, name)
        made.append(name)
        db_auth(server.url(name), server.role, server.password)
        config = Config(str(root / "butler.yaml"))
        config["registry", "db"] = server.url(name)
        config.dumpToUri(str(root / "butler.yaml"))
        return Repository(root, backend, name, server.url(name, server.role, server.password))

    yield make
    for name in made:
        request.getfixturevalue("postgres_server").drop_database(name)


@pytest.fixture
def repository(make_repository: Callable[..., Repository], backend: str) -> Repository:
    """One fresh, empty repository on each backend."""
    return make_repository(backend)


@pytest.fixture(scope="session")
def shared_exports() -> Path:
    """Folder with real export files: ``DC2_SHARED``, or ``../shared/exports`` beside the checkout."""
    given = os.environ.get("DC2_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "exports"
    if not folder.is_dir():
        pytest.skip(f"No real export files in {folder}; DC2_SHARED can name their folder.")
    return folder
