"""What stands against dropping a database, and what being killed at any moment leaves: asked of a real server."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler

from butler_replica.errors import RefusedError, RepositoryError
from butler_replica.repository import postgres as postgres_module
from kit.replicas import Replica
from kit.servers import QUICK_SETTINGS, PostgresServer, temporary_server

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Start a server on which there can be prepared transactions and logical slots."""
    if os.environ.get("BUTLER_REPLICA_NO_POSTGRES") == "1":
        pytest.skip("BUTLER_REPLICA_NO_POSTGRES=1")
    with temporary_server(
        {**QUICK_SETTINGS, "max_prepared_transactions": "5", "wal_level": "logical"}
    ) as found:
        yield found


def new_replica(server: PostgresServer, folder: Path, name: str, **registry: str) -> Replica:
    config = {"datastore": {"root": "<butlerRoot>"}, "registry": {"db": server.url(name), **registry}}
    return Replica(folder, name, config, server.url(name, server.role, server.password), server)


@pytest.fixture(autouse=True)
def login(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("login") / "db-auth.yaml"
    path.touch(mode=0o600)
    entry = {
        "url": f"postgresql://{server.host}:{server.port}/*",
        "username": server.role,
        "password": server.password,
    }
    path.write_text(yaml.safe_dump([entry]))
    monkeypatch.setenv("LSST_DB_AUTH", str(path))


@pytest.fixture
def replica(server: PostgresServer, tmp_path: Path) -> Iterator[Replica]:
    one = new_replica(server, tmp_path / "dc2", f"dc2_{secrets.token_hex(4)}")
    yield one
    server.drop_database(one.name)


@pytest.fixture(scope="module")
def filled(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    """A replica with an artifact, which a refusal leaves as it is."""
    folder = tmp_path_factory.mktemp("filled")
    one = new_replica(server, folder / "dc2", "filled")
    auth = folder / "db-auth.yaml"
    auth.touch(mode=0o600)
    entry = {"url": server.url("filled"), "username": server.role, "password": server.password}
    auth.write_text(yaml.safe_dump([entry]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSST_DB_AUTH", str(auth))
        one.ensure()
        one.fill(folder / "source", {"copied": "copy"})
    return one


def use(replica: Replica) -> None:
    """Write into a repository with the stock butler."""
    butler = Butler.from_config(str(replica.root), writeable=True)
    butler.registry.insertDimensionData("instrument", {"name": "Cam"})
    close = getattr(butler, "close", None)
    if close is not None:
        close()
    del butler, close
    gc.collect()  # lsst-daf-butler 29 cannot close a butler


class Situation(NamedTuple):
    """Something of somebody's."""

    done: str
    """SQL of an administrator in the database."""

    undone: str
    says: str
    """Regular expression of the refusal."""


SITUATIONS = {
    "table": Situation("CREATE TABLE public.mine (x int)", "DROP TABLE public.mine", "table public.mine"),
    "name that has to be quoted": Situation(
        'CREATE TABLE public."My Table" (x int)', 'DROP TABLE public."My Table"', 'table public."My Table"'
    ),
    "table of another schema": Situation(
        "CREATE SCHEMA other CREATE TABLE mine (x int)", "DROP SCHEMA other CASCADE", "table other.mine"
    ),
    "name of the registry's in another schema": Situation(
        "CREATE SCHEMA other CREATE TABLE dataset (x int)", "DROP SCHEMA other CASCADE", "table other.dataset"
    ),
    "empty schema": Situation("CREATE SCHEMA empty", "DROP SCHEMA empty", "schema empty"),
    "view": Situation("CREATE VIEW mine AS SELECT * FROM dataset", "DROP VIEW mine", "view public.mine"),
    "materialized view": Situation(
        "CREATE MATERIALIZED VIEW mine AS SELECT 1",
        "DROP MATERIALIZED VIEW mine",
        "materialized view public.mine",
    ),
    "function": Situation(
        "CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION mine",
        r"function public.mine\(",
    ),
    "procedure": Situation(
        "CREATE PROCEDURE mine() LANGUAGE sql AS 'SELECT 1'",
        "DROP PROCEDURE mine",
        r"procedure public.mine\(",
    ),
    "sequence": Situation("CREATE SEQUENCE mine", "DROP SEQUENCE mine", "sequence public.mine"),
    "enumeration": Situation("CREATE TYPE mine AS ENUM ('a')", "DROP TYPE mine", "type public.mine"),
    "composite type": Situation("CREATE TYPE mine AS (a int)", "DROP TYPE mine", "type public.mine"),
    "domain": Situation("CREATE DOMAIN mine AS int", "DROP DOMAIN mine", "type public.mine"),
    "large object": Situation("SELECT lo_create(4711)", "SELECT lo_unlink(4711)", "large object 4711"),
    "extension": Situation("CREATE EXTENSION pg_trgm", "DROP EXTENSION pg_trgm", "extension pg_trgm"),
    "publication": Situation(
        "CREATE PUBLICATION mine FOR ALL TABLES", "DROP PUBLICATION mine", "publication mine"
    ),
    "foreign data wrapper": Situation(
        "CREATE FOREIGN DATA WRAPPER mine", "DROP FOREIGN DATA WRAPPER mine", "foreign-data wrapper mine"
    ),
    "trigger": Situation(
        "CREATE TRIGGER mine BEFORE UPDATE ON dataset FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP TRIGGER mine ON dataset",
        "trigger mine on public.dataset",
    ),
    "other owner": Situation(
        "ALTER DATABASE filled OWNER TO postgres",
        "ALTER DATABASE filled OWNER TO dc2",
        "belongs to the role postgres",
    ),
    "template": Situation(
        "ALTER DATABASE filled IS_TEMPLATE true", "ALTER DATABASE filled IS_TEMPLATE false", "is a template"
    ),
    "login role without CREATEDB": Situation(
        "ALTER ROLE dc2 NOCREATEDB", "ALTER ROLE dc2 CREATEDB", "may not create databases"
    ),
    "prepared transaction": Situation(
        "BEGIN; LOCK TABLE dataset IN ACCESS SHARE MODE; PREPARE TRANSACTION 'mine'",
        "ROLLBACK PREPARED 'mine'",
        r"prepared transactions \(mine\)",
    ),
    "logical replication slot": Situation(
        "SELECT pg_create_logical_replication_slot('mine', 'test_decoding')",
        "SELECT pg_drop_replication_slot('mine')",
        r"replication slots \(mine\)",
    ),
    "subscription": Situation(
        "CREATE SUBSCRIPTION mine CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false)",
        "ALTER SUBSCRIPTION mine SET (slot_name = NONE); DROP SUBSCRIPTION mine",
        r"subscriptions \(mine\)",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_nothing_is_touched(filled: Replica, situation: Situation) -> None:
    for statement in situation.done.split("; ") if "SUBSCRIPTION" in situation.done else [situation.done]:
        filled.server.sql(statement, database=filled.name)
    try:
        before = filled.fingerprint()
        for dry_run in (True, False):
            with pytest.raises(RefusedError, match=situation.says) as caught:
                filled.ensure(filled.name, dry_run=dry_run)
            assert "othing was touched" in str(caught.value)
        assert filled.fingerprint() == before
    finally:
        for statement in situation.undone.split("; "):
            filled.server.sql(statement, database=filled.name)


def test_a_filled_replica_holds_nothing_foreign(filled: Replica) -> None:
    filled.stock(
        "register-dataset-type",
        str(filled.root),
        "flat",
        "StructuredDataDict",
        "instrument",
        "--is-calibration",
    )
    assert filled.ensure(filled.name, dry_run=True).destroyed


LATE = {
    name: SITUATIONS[name]
    for name in ("template", "prepared transaction", "logical replication slot", "other owner")
}


@pytest.mark.parametrize("situation", LATE.values(), ids=LATE)
def test_nothing_is_touched_where_it_comes_after_the_plan(
    filled: Replica, situation: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked again in the step that takes the database out of use."""
    retire = postgres_module.PostgresDatabase.retire

    def late(*args: Any) -> None:
        filled.server.sql(situation.done, database=filled.name)
        retire(*args)

    monkeypatch.setattr(postgres_module.PostgresDatabase, "retire", late)
    before = filled.fingerprint()
    with pytest.raises(RefusedError, match="cannot be dropped"):
        filled.ensure(filled.name)
    filled.server.sql(situation.undone, database=filled.name)
    assert filled.fingerprint().keys() == before.keys() | {".dc2-replica.lock"}
    assert filled.collections() == {"a/run"}
    assert not filled.ensure().changed


def killed(replica: Replica, statement: int, *arguments: Any) -> None:
    """Ask for a replica in a process that is killed before a statement of its own on databases."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        execute, calls = sqlalchemy.Connection.exec_driver_sql, []

        def counted(self: sqlalchemy.Connection, sql: str, *args: Any, **kwargs: Any) -> Any:
            if " DATABASE " in sql:
                calls.append(sql)
                if len(calls) == statement:
                    os._exit(9)
            return execute(self, sql, *args, **kwargs)

        sqlalchemy.Connection.exec_driver_sql = counted  # type: ignore[method-assign]
        try:
            replica.ensure(*arguments)
        finally:
            os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.parametrize("statement", [2, 3])
def test_killed_while_the_database_is_created(replica: Replica, statement: int) -> None:
    killed(replica, statement)
    left = {name for name in replica.server.databases() if name.startswith("dc2_replica_making_")}
    assert len(left) == 1
    assert not replica.database_exists()
    assert replica.ensure().created
    assert replica.collections() == set()
    assert not left & replica.server.databases()
    assert replica.ensure(replica.name).destroyed


def test_what_only_looks_like_a_leftover_stays(replica: Replica) -> None:
    server = replica.server
    names = {
        what: f"dc2_replica_making_{secrets.token_hex(16)}" for what in ("filled", "theirs", "marked", "held")
    }
    for what, name in names.items():
        server.sql(f"CREATE DATABASE {name} OWNER {'postgres' if what == 'theirs' else server.role}")
    server.sql("CREATE TABLE mine (x int)", database=names["filled"])
    server.sql(f"COMMENT ON DATABASE {names['marked']} IS 'mine'")
    engine = sqlalchemy.create_engine(server.url("postgres", server.role, server.password))
    with engine.connect() as other:
        lock = sqlalchemy.text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")
        other.execute(lock, {"name": names["held"]})
        assert replica.ensure().created
        assert {what for what, name in names.items() if name not in server.databases()} == set()
    engine.dispose()
    for name in names.values():
        server.drop_database(name)


def test_two_makers_at_a_time(replica: Replica, tmp_path: Path) -> None:
    """The second finds the name taken, and leaves nothing of its own."""
    other = new_replica(replica.server, tmp_path / "other", replica.name)
    inspect = postgres_module.PostgresDatabase.create

    def late(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postgres_module.PostgresDatabase, "create", inspect)
            other.ensure()
        return inspect(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_module.PostgresDatabase, "create", late)
        with pytest.raises(RepositoryError, match="already exists"):
            replica.ensure()
    assert not any(name.startswith("dc2_replica_making_") for name in replica.server.databases())
    assert not other.ensure().changed


NAMES = [
    "has space",
    "sin'gle",
    'dou"ble',
    "per%cent",
    "per%41cent",
    "percent%s",
    "grüße",
    "-dash",
    "Capital",
    "select",
    "a" * 63,
    "semi;colon",
    "back\\slash",
    "dollar$1",
    "colon:x",
    "curly{x}",
]
BAD_NAMES = ["a" * 64, "ü" * 32, "template1", "dc2_replica_making_x", "new\nline", " space", "at@x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_databases_that_work(server: PostgresServer, tmp_path: Path, name: str) -> None:
    """As SQL shows, and as the stock butler opens it."""
    replica = new_replica(server, tmp_path / "dc2", name)
    try:
        assert replica.ensure().created
        assert name in server.databases()
        assert replica.collections() == set()
        use(replica)
        assert replica.ensure(name, dry_run=True).destroyed
    finally:
        server.sql(
            f'DROP DATABASE IF EXISTS "{name.replace(chr(34), chr(34) * 2)}" WITH (FORCE)'.replace(":", "\\:")
        )


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_databases_that_do_not(server: PostgresServer, tmp_path: Path, name: str) -> None:
    before = server.databases()
    replica = new_replica(server, tmp_path / "dc2", name)
    with pytest.raises(RepositoryError, match=r"registry\.db"):
        replica.ensure()
    assert not replica.root.exists()
    assert server.databases() == before


@pytest.mark.parametrize(
    "namespace",
    [
        "Main2021",
        "main-2021",
        "2021",
        "select",
        "user",
        "pg_mine",
        "ü",
        "a b",
        "a" * 64,
        "analyze",
        "information_schema",
    ],
)
def test_schemas_that_the_butler_cannot_work_with(replica: Replica, namespace: str) -> None:
    replica.config["registry"]["namespace"] = namespace
    with pytest.raises(RepositoryError, match=r"registry\.namespace.*small letters"):
        replica.ensure()
    assert not replica.root.exists()
    assert not replica.database_exists()


@pytest.mark.parametrize("namespace", ["main_2021", "_x", "public", "name", "a" * 63])
def test_schemas_that_work(replica: Replica, namespace: str) -> None:
    replica.config["registry"]["namespace"] = namespace
    replica.ensure()
    use(replica)
    assert replica.sql(f"SELECT name FROM {namespace}.instrument") == [("Cam",)]
    assert replica.ensure(replica.name).destroyed


def test_database_that_is_not_utf8(replica: Replica) -> None:
    replica.server.create_database(
        replica.name, "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    for dry_run in (True, False):
        with pytest.raises(RepositoryError, match="encoding LATIN1; a registry needs UTF8"):
            replica.ensure(dry_run=dry_run)
    assert not replica.root.exists()
    assert replica.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


LOGINS = [
    ("Capital Name", "pass word"),
    ("quo'te\"s", "pa'ss\"w:or@d/%41"),
    ("grüße", "schlüssel"),
    ("per%cent", "#?&"),
]


@pytest.mark.parametrize(("user", "password"), LOGINS)
def test_names_of_logins(replica: Replica, user: str, password: str) -> None:
    server = replica.server
    quoted = '"' + user.replace('"', '""') + '"'
    literal = password.replace("'", "''")
    server.sql(f"CREATE ROLE {quoted} LOGIN CREATEDB PASSWORD '{literal}'".replace(":", "\\:"))
    auth = Path(os.environ["LSST_DB_AUTH"])
    auth.write_text(yaml.safe_dump([{"url": server.url("*"), "username": user, "password": password}]))
    try:
        assert replica.ensure().created
        use(replica)
        owner = server.sql(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :n", n=replica.name
        )
        assert owner == [(user,)]
        assert replica.ensure(replica.name, dry_run=True).destroyed
    finally:
        server.drop_database(replica.name)
        server.sql(f"DROP ROLE {quoted}".replace(":", "\\:"))


@pytest.mark.slow
def test_cluster_of_another_locale(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that Debian made under LANG=en_US: its template has another encoding and locale."""
    if not shutil.which("localedef") or not Path("/usr/share/i18n/locales/en_US").exists():
        pytest.skip("localedef and the sources of locales are needed to make a Latin-1 locale")
    with temporary_server(QUICK_SETTINGS, "--no-locale", "-E", "LATIN1") as server:
        folder = tmp_path_factory.mktemp("latin")
        auth = folder / "db-auth.yaml"
        auth.touch(mode=0o600)
        entry = {"url": server.url("*"), "username": server.role, "password": server.password}
        auth.write_text(yaml.safe_dump([entry]))
        monkeypatch.setenv("LSST_DB_AUTH", str(auth))
        replica = new_replica(server, folder / "dc2", "dc2")
        assert replica.ensure().created
        assert replica.sql("SHOW server_encoding") == [("UTF8",)]
