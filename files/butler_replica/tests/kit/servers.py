"""A temporary PostgreSQL server, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy

LOGIN_ROLE = "dc2"
"""Role that owns the databases: it may create databases and is no superuser."""

# Durability is of no use for a server that lives as long as the tests.
QUICK_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

ROOM_FOR_A_SERVER = 2 << 30
"""Bytes that must be free in memory; one needs a few hundred million."""


def postgres_bin() -> Path | None:
    """Folder of the newest PostgreSQL server binaries on this machine."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name)
    )
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def server_user() -> pwd.struct_passwd | None:
    """User that runs the server where this is root; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root and there is no user 'postgres' or 'nobody'.")


PORTS = range(10_000, 32_000)
"""Below those that the kernel gives to clients: a server that is stopped finds its port free again."""


def free_port() -> int:
    """Port that nobody listens on now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class PostgresServer:
    """A temporary PostgreSQL server that asks for scram passwords."""

    folder: Path
    """Belongs to the user who runs the server; holds its data folder and its log."""

    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    admin_password: str = field(default_factory=lambda: secrets.token_hex(8))
    role: str = LOGIN_ROLE
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def make(self, settings: Mapping[str, str], *options: str) -> None:
        """Make the data folder, with options of ``initdb``."""
        password_file = self.folder / "password"
        password_file.write_text(self.admin_password)
        if (user := server_user()) is not None:
            for path in (self.folder, password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run(
            *("initdb", "-D", "data", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"),
            *("--auth=scram-sha-256", "--pwfile=password", *options),
        )
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": str(self.folder),
            "max_connections": "50",
            "shared_buffers": "64MB",
            **settings,
        }
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-t", "300", "-o", f"-p {self.port}", "start")

    def start_somewhere(self) -> None:
        """Start the server; where somebody was quicker to take the port, on another one."""
        log = self.folder / "log"
        while True:
            try:
                self.start()
                break
            except RuntimeError:
                if "could not bind" not in log.read_text():
                    raise
            log.unlink()
            self.port = free_port()

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server."""
        self._run("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def _run(self, command: str, *arguments: str) -> None:
        binaries, user = postgres_bin(), server_user()
        if binaries is None:
            raise RuntimeError(
                "No PostgreSQL server binaries (initdb) in /usr/lib/postgresql/*/bin or PATH. "
                "Install the package 'postgresql'."
            )
        identity: dict[str, Any] = (
            {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        )
        done = subprocess.run(
            [binaries / command, *arguments],
            **identity,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: exit status {done.returncode}\n{done.stdout}")

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Connection URL, with credentials only if a user is given."""
        login = f"{user}:{quote(password or '', safe='')}@" if user else ""
        return f"postgresql://{login}{self.host}:{self.port}/{database}"

    def sql(
        self, statement: str, *, database: str = "postgres", admin: bool = True, **values: Any
    ) -> list[tuple[Any, ...]]:
        """Run one statement as superuser, or as the login role."""
        if admin and database == "postgres":
            engine = self._administration
        else:
            user, password = ("postgres", self.admin_password) if admin else (self.role, self.password)
            engine = sqlalchemy.create_engine(
                self.url(database, user, password),
                isolation_level="AUTOCOMMIT",
                poolclass=sqlalchemy.NullPool,
            )
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    @functools.cached_property
    def _administration(self) -> sqlalchemy.Engine:
        """One connection that stays open: making it takes as long as many statements."""
        url = self.url("postgres", "postgres", self.admin_password)
        return sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def databases(self) -> set[str]:
        """Names of the databases that are not part of the server itself."""
        return {row[0] for row in self.sql("SELECT datname FROM pg_database WHERE NOT datistemplate")}

    def create_database(self, name: str, options: str = "") -> None:
        """Create a database of the login role, with ``btree_gist``."""
        self.sql(f'CREATE DATABASE "{name}" OWNER "{self.role}" {options}')
        self.sql("CREATE EXTENSION btree_gist", database=name, admin=False)

    def copy_database(self, name: str, copy: str, options: str = "") -> None:
        """Copy a database of the login role; connections that were left open to it are closed."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
        self.sql(f'CREATE DATABASE "{copy}" OWNER "{self.role}" TEMPLATE "{name}" {options}')

    def drop_database(self, name: str) -> None:
        """Drop a database, together with connections that were left open."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def memory_folder() -> str | None:
    """Folder in memory where a server fits: copying and dropping a database takes a fifth of the time there."""
    memory = Path("/dev/shm")
    with contextlib.suppress(OSError):
        if os.path.ismount(memory) and shutil.disk_usage(memory).free > ROOM_FOR_A_SERVER:
            return str(memory)
    return None


@contextlib.contextmanager
def temporary_server(settings: Mapping[str, str] = QUICK_SETTINGS, *options: str) -> Iterator[PostgresServer]:
    """Run a server in a temporary folder, with options of ``initdb``."""
    # Not below pytest's own temporary folder: that one is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="butler-replica-postgres-", dir=memory_folder()))
    server = PostgresServer(folder)
    try:
        server.make(settings, *options)
        server.start_somewhere()
        try:
            server.sql(f"CREATE ROLE \"{server.role}\" LOGIN CREATEDB PASSWORD '{server.password}'")
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder)
