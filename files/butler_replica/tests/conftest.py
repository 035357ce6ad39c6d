"""Fixtures: a temporary PostgreSQL server, fresh repositories on both backends, real export files."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from lsst.daf.butler import Butler, CollectionType, Config

pytest.register_assert_rewrite("kit")

from kit import PROJECT
from kit.repositories import Repository, add_datasets, certify
from kit.servers import PostgresServer, temporary_server
from kit.surroundings import pytest_collection_modifyitems, pytest_configure, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_configure", "pytest_terminal_summary"]

# How long an example takes says how busy the machine is; every run tries the same ones.
hypothesis_settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("tests")

EMPTY_DATABASE = "empty_repository"
"""Database of an empty repository."""

# The butler and SQLAlchemy make so many objects that looking for garbage takes a third of the time.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_finish() -> None:
    """Leave what was imported out of every search for garbage, of which making a repository asks several."""
    gc.collect()
    gc.freeze()


# As with SQLite below.
os.environ["BUTLER_REPLICA_NO_SYNC"] = "1"


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def do_not_wait_for_the_disk(connection: Any, _: Any) -> None:
    """Let SQLite leave its files to the kernel: nobody cuts the power."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server in a temporary folder for the session.

    Fails where there are no server binaries, unless ``BUTLER_REPLICA_NO_POSTGRES=1`` says that the tests
    that need them are to be skipped.
    """
    if os.environ.get("BUTLER_REPLICA_NO_POSTGRES") == "1":
        pytest.skip("BUTLER_REPLICA_NO_POSTGRES=1")
    with temporary_server() as server:
        yield server


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
            return Repository.on_sqlite(root)
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
    folder = Path(given) if given else PROJECT.parent / "shared" / "exports"
    if not folder.is_dir():
        pytest.skip(f"No real export files in {folder}; DC2_SHARED can name their folder.")
    return folder


@pytest.fixture(scope="session")
def exported_once(empty_repository: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    source = shutil.copytree(empty_repository("sqlite"), folder / "source")
    bias = add_datasets(source, folder / "files", count=4)
    flat = add_datasets(source, folder / "files", kind="flat", run="run/flat", count=4)
    certify(source, bias)
    butler = Butler.from_config(source, writeable=True)
    butler.collections.register("best", CollectionType.TAGGED, doc="The best ones.")
    butler.registry.associate("best", flat[:2])
    butler.collections.register("all", CollectionType.CHAINED)
    butler.collections.redefine_chain("all", ["best", "calib", "run/bias", "run/flat"])
    (folder / "export").mkdir()
    export_file = folder / "export" / "export.yaml"
    with butler.export(
        directory=str(folder / "export"), filename=str(export_file), transfer="copy"
    ) as export:
        export.saveDatasets([*bias, *flat])
        for name in ("best", "calib", "run/bias", "run/flat", "all"):
            export.saveCollection(name)
    return folder / "export"


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    """An export of the butler's own with eight datasets, their artifacts beside it."""
    return shutil.copytree(exported_once, tmp_path / "exported")
