"""Making, continuing and rebuilding a repository; what must be refused, and what a refusal leaves behind.

Looked at with SQL, the file system and the stock ``butler`` command, not with the code under test.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, Config

from butler_replica.errors import RefusedError, ReplicaError, RepositoryError
from butler_replica.repository import ensure_repository
from butler_replica.repository import making as repository_module
from butler_replica.repository.destruction import Destruction
from butler_replica.repository.postgres import PostgresDatabase
from butler_replica.repository.sqlite import SqliteDatabase
from butler_replica.repository.target import DOOMED_NAME
from butler_replica.session.lock import LOCK_NAME, repository_lock
from kit.replicas import Replica


@pytest.fixture
def replica(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, db_auth: Callable[..., Path]
) -> Iterator[Replica]:
    root = tmp_path / "repo" / "dc2"
    if backend == "sqlite":
        config = {
            "datastore": {"root": "<butlerRoot>"},
            "registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"},
        }
        yield Replica(root, "dc2", config, f"sqlite:///{root}/gen3.sqlite3")
        return
    server = request.getfixturevalue("postgres_server")
    name = f"replica-{secrets.token_hex(4)}"  # a name that has to be quoted in SQL
    db_auth(server.url(name), server.role, server.password)
    config = {"datastore": {"root": "<butlerRoot>"}, "registry": {"db": server.url(name)}}
    yield Replica(root, name, config, server.url(name, server.role, server.password), server)
    server.drop_database(name)


@pytest.fixture
def made(replica: Replica) -> Replica:
    replica.ensure()
    return replica


def test_create(replica: Replica) -> None:
    result = replica.ensure()
    assert result.changed
    assert result.created
    assert not result.destroyed
    assert replica.collections() == set()
    written = yaml.safe_load((replica.root / "butler.yaml").read_text())
    assert written["registry"]["db"] == replica.config["registry"]["db"]
    assert written["datastore"]["root"] == "<butlerRoot>"
    replica.stock("register-dataset-type", str(replica.root), "thing", "StructuredDataDict", "instrument")
    assert "thing" in replica.stock("query-dataset-types", str(replica.root))
    if replica.server:
        assert replica.sql("SELECT extname FROM pg_extension WHERE extname = 'btree_gist'")
        (comment,) = replica.server.sql(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = :n", n=replica.name
        )[0]
        assert json.loads(comment)["root"] == str(replica.root)
    else:
        assert (replica.root / "gen3.sqlite3").read_bytes()[68:72] == b"dc2r"


def test_dry_run_creates_nothing(replica: Replica) -> None:
    result = replica.ensure(dry_run=True)
    assert result.changed
    assert any("create the repository" in action for action in result.actions)
    assert not replica.root.exists()
    assert not replica.database_exists()
    assert {change["before_header"] for change in result.diff()} == {
        "actions",
        "folder",
        "database",
        "butler.yaml",
    }


def test_rerun_changes_nothing(made: Replica) -> None:
    before = made.fingerprint()
    for dry_run in (True, False):
        result = made.ensure(dry_run=dry_run)
        assert not result.changed
        assert result.diff() == []
    assert made.fingerprint() == before


def test_unset_continues_a_filled_repository(made: Replica, tmp_path: Path) -> None:
    made.fill(tmp_path / "source", {"copied": "copy", "linked": "symlink"})
    before = made.fingerprint()
    for unset in ("", None):
        assert not made.ensure(unset).changed
    assert made.fingerprint() == before


def test_rebuild(made: Replica, tmp_path: Path) -> None:
    source = tmp_path / "source"
    made.fill(source, {"copied": "copy", "linked": "symlink", "direct": "direct"})
    (made.root / "more").mkdir()
    (made.root / "more" / "folder").symlink_to(source)
    inputs = {path: path.read_bytes() for path in source.iterdir()}
    assert "a/run" in made.collections()
    before = made.fingerprint()

    foretold = made.ensure(made.name, dry_run=True)
    assert foretold.destroyed
    assert foretold.removed_files == 3
    assert made.fingerprint() == before

    result = made.ensure(made.name)
    assert result.destroyed
    assert result.created
    assert result.actions == foretold.actions
    assert made.collections() == set()
    left = {path.name for path in made.root.iterdir()}
    assert left == {"butler.yaml", LOCK_NAME} | (set() if made.server else {"gen3.sqlite3"})
    assert {path: path.read_bytes() for path in source.iterdir()} == inputs
    assert not made.ensure().changed


def test_anything_but_the_name_is_refused(made: Replica) -> None:
    before = made.fingerprint()
    for word in (
        "true",
        "yes",
        "True",
        True,
        False,
        "false",
        made.name.upper(),
        f"{made.name} ",
        1,
        [made.name],
    ):
        for dry_run in (True, False):
            with pytest.raises(RefusedError, match=f"type confirm_destroy={made.name}"):
                made.ensure(word, dry_run=dry_run)
    assert made.fingerprint() == before


def test_wrong_name_makes_nothing_either(replica: Replica) -> None:
    with pytest.raises(RefusedError):
        replica.ensure("yes")
    assert not replica.root.exists()
    assert not replica.database_exists()


def refused(replica: Replica, match: str, **options: Any) -> str:
    """Ask for destruction, check that it is refused and that nothing whatever was changed."""
    before = replica.fingerprint()
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match=match) as caught:
            replica.ensure(replica.name, dry_run=dry_run, **options)
    assert replica.fingerprint() == before
    return str(caught.value)


def test_foreign_file_is_refused(made: Replica, tmp_path: Path) -> None:
    made.fill(tmp_path / "source", {"copied": "copy"})
    (made.root / "a" / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refused(made, "no record of")


def test_file_that_was_only_referred_to_is_refused(made: Replica) -> None:
    made.fill(made.root / "mine", {"direct": "direct"})
    assert "mine/direct.yaml" in refused(made, "no record of")


def test_files_without_database_are_refused(made: Replica, tmp_path: Path) -> None:
    made.fill(tmp_path / "source", {"copied": "copy"})
    if made.server:
        made.server.drop_database(made.name)
    else:
        (made.root / "gen3.sqlite3").unlink()
    refused(made, "no record of")
    before = made.fingerprint()
    with pytest.raises(RepositoryError, match=f"half of a repository.*confirm_destroy={made.name}"):
        made.ensure()
    assert made.fingerprint() == before


def test_data_folders_are_refused(made: Replica, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(made.root)
    (made.root / "way").symlink_to(outside)
    (made.root / "exports").mkdir()
    for data, reason in {
        made.root / "exports": "above",
        made.root.parent: "inside",
        made.root: "is the data folder",
        made.root / "exp*": "above",
        tmp_path / "link" / "exports": "above",
        made.root / "way": "above",
    }.items():
        refused(made, reason, sets=[{"name": "data", "exports": data}])
        refused(made, reason, sets=[{"name": "data", "exports": "/absent", "artifacts": data}])
    free = [outside, tmp_path / "absent", tmp_path / "*" / "none"]
    made.ensure(made.name, sets=[{"name": "data", "exports": free}])


PREFIXES = {
    "repo/dc2": "is the data folder",
    "repo/dc2/way": "above",
    "repo/dc2/absent": "above",
    "link/absent": "above",
    "link-to-way": "above",
    "outside/../repo/dc2/way": "above",
    "repo": "",
    "": "",
    "outside": "",
    "repo/dc2-of-another": "",
}
"""Folders that artifacts may come from, and how the repository lies to them if it is not to be removed."""


@pytest.mark.parametrize("way", ["rewrite", "URI", "relative", "roots"])
def test_prefixes_within_the_repository_are_refused(made: Replica, tmp_path: Path, way: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(made.root)
    (made.root / "way").mkdir()
    (tmp_path / "link-to-way").symlink_to(made.root / "way")
    for prefix, reason in PREFIXES.items():
        place = tmp_path / prefix
        rule = {
            "rewrite": str(place),
            "URI": f"file://{place}",
            "relative": os.path.relpath(place, tmp_path / "outside"),
        }
        key, value = (
            ("roots", [place]) if way == "roots" else ("rewrite", [{"old": "/old", "new": rule[way]}])
        )
        sets = [{"name": "data", "exports": tmp_path / "outside" / "x.yaml", key: value}]
        if reason:
            refused(made, reason, sets=sets)
        else:
            assert made.ensure(made.name, sets=sets, dry_run=True).destroyed


def test_what_is_replicated_is_understood_before_anything_is_removed(made: Replica) -> None:
    before = made.fingerprint()
    with pytest.raises(ReplicaError, match="import set 'data': unknown key 'export'"):
        made.ensure(made.name, sets=[{"name": "data", "export": "/x"}])
    assert made.fingerprint() == before


def test_homes_roots_and_mounts_are_refused(replica: Replica) -> None:
    for place, reason in {
        "/": "root of the file system",
        "/root": "home of user",
        "/usr": "home of user",
        "/proc": "mount point",
    }.items():
        with pytest.raises(RefusedError, match=reason):
            ensure_repository(
                place,
                config=replica.config,
                label="x",
                confirm_destroy=replica.name if replica.server else "x",
            )


def test_mount_inside_is_refused(made: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made.root / "a b").mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 98:0 / {made.root}/a\\040b rw,noatime - ext3 /dev/root rw\n")
    monkeypatch.setattr("butler_replica.repository.folder._MOUNT_TABLE", table)
    assert f"{made.root}/a b" in refused(made, "contains a mount point")


def test_repository_not_made_here_is_refused(make_repository: Callable[..., Any], backend: str) -> None:
    stock = make_repository(backend)
    config = Config(str(stock.root / "butler.yaml"))
    asked = {
        "datastore": {"root": "<butlerRoot>"},
        "registry": {"db": config["registry", "db"]},
    }
    with pytest.raises(RefusedError, match="not made by this project"):
        ensure_repository(stock.root, config=asked, confirm_destroy=stock.name)
    assert not ensure_repository(stock.root, config=asked).changed
    assert stock.sql("SELECT count(*) FROM collection") == [(0,)]


def test_folder_of_somebody(replica: Replica) -> None:
    replica.root.mkdir(parents=True)
    (replica.root / "notes.txt").write_text("mine")
    before = replica.fingerprint()
    for dry_run in (True, False):
        with pytest.raises(RepositoryError, match=r"no Butler repository \(notes.txt\)"):
            replica.ensure(dry_run=dry_run)
    refused(replica, "notes.txt")
    assert replica.fingerprint() == before
    assert not replica.database_exists()


def test_links_of_somebody_are_refused(replica: Replica, tmp_path: Path) -> None:
    replica.root.mkdir(parents=True)
    (replica.root / "data").symlink_to(tmp_path)
    refused(replica, "no repository of this project")


def test_another_database_is_an_error(made: Replica, tmp_path: Path) -> None:
    before = made.fingerprint()
    other = made.config["registry"]["db"] + "x" if made.server else "sqlite:///<butlerRoot>/other.sqlite3"
    config = {**made.config, "registry": {"db": other}}
    with pytest.raises(RepositoryError, match=r"registry\.db is .*gen3|registry\.db is .*replica-") as caught:
        made.ensure(config=config)
    assert other.replace("<butlerRoot>", str(made.root)) in str(caught.value)
    with pytest.raises(RepositoryError, match=r"datastore\.root"):
        made.ensure(config={**made.config, "datastore": {"root": "<butlerRoot>/sub"}})
    with pytest.raises(RefusedError, match=r"datastore\.root"):
        made.ensure(made.name, config={**made.config, "datastore": {"root": "<butlerRoot>/sub"}})
    assert made.fingerprint() == before


def test_credentials_and_places_in_the_configuration(replica: Replica, tmp_path: Path) -> None:
    for config, match in (
        ({"registry": {"db": "postgresql://me:secret@localhost/dc2"}}, "credentials"),
        ({"registry": {"db": f"sqlite:///{tmp_path}/elsewhere.sqlite3"}}, "not in the repository folder"),
        ({**replica.config, "datastore": {"root": "/tmp"}}, "outside the repository folder"),
        ({"registry": {"db": "mysql://localhost/dc2"}}, "'sqlite' or 'postgresql'"),
        ({"datastore": {"root": "<butlerRoot>"}}, "no registry.db"),
    ):
        with pytest.raises(RepositoryError, match=match) as caught:
            replica.ensure(config=config)
        assert "secret" not in str(caught.value)


def test_butler_yaml_is_updated_in_place(made: Replica, tmp_path: Path) -> None:
    made.fill(tmp_path / "source", {"copied": "copy"})
    old = (made.root / "butler.yaml").read_text()
    config = {**made.config, "datastore": {"root": "<butlerRoot>", "checksum": True}}
    foretold = made.ensure(config=config, dry_run=True)
    assert (made.root / "butler.yaml").read_text() == old
    result = made.ensure(config=config)
    assert result.changed
    assert not result.created
    assert result.diff() == foretold.diff()
    assert [change["before_header"] for change in result.diff()] == ["actions", "butler.yaml"]
    written = yaml.safe_load((made.root / "butler.yaml").read_text())
    assert written["datastore"]["checksum"] is True
    assert written["registry"]["managers"] == yaml.safe_load(old)["registry"]["managers"]
    assert "copied" in made.stock("query-datasets", str(made.root))
    assert not made.ensure(config=config).changed


def test_lost_butler_yaml_is_half_a_repository(made: Replica) -> None:
    (made.root / "butler.yaml").unlink()
    before = made.fingerprint()
    with pytest.raises(RepositoryError, match=f"half of a repository.*confirm_destroy={made.name}"):
        made.ensure()
    assert made.fingerprint() == before
    assert made.ensure(made.name).destroyed
    assert not made.ensure().changed


@pytest.mark.parametrize(
    "step", ["retire", "retired", "empty_folder", "drop", "unlink", "create", "make_repo"]
)
def test_interrupted_destruction_continues(made: Replica, tmp_path: Path, step: str) -> None:
    """The process is killed at one step; the next run says so, and the same request finishes the work."""
    source = tmp_path / "source"
    made.fill(source, {"copied": "copy", "linked": "symlink"})
    # Which tables a registry has is asked of one that is made aside: once in a process, and not to be killed here.
    assert made.ensure(made.name, dry_run=True).destroyed
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            _die_at(step)
            made.ensure(made.name)
        finally:
            os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 9
    if step in ("create", "make_repo"):
        # Everything was removed: what is missing is made, nothing is lost.
        assert made.ensure().created
    else:
        assert (made.root / DOOMED_NAME).exists()
        before = made.fingerprint()
        with pytest.raises(RepositoryError, match=f"interrupted.*confirm_destroy={made.name}"):
            made.ensure()
        with pytest.raises(Exception, match=r"butler\.yaml"):
            Butler.from_config(str(made.root))
        assert made.fingerprint() == before
        assert made.ensure(made.name).created
    assert made.collections() == set()
    assert sorted(path.name for path in source.iterdir()) == ["copied.yaml", "linked.yaml"]
    assert not (made.root / DOOMED_NAME).exists()
    assert not made.ensure().changed


def _die_at(step: str) -> None:
    """Kill this process, without any clean-up, when it comes to a step of the destruction."""

    def die(*args: object, **kwargs: object) -> None:
        os._exit(9)

    if step == "empty_folder":
        # In the middle: after one of the two artifacts.
        unlink, calls = os.unlink, []

        def once(*args: Any, **kwargs: Any) -> None:
            if calls:
                die()
            calls.append(args)
            unlink(*args, **kwargs)

        os.unlink = once  # type: ignore[assignment]
    elif step in ("retire", "retired", "drop", "unlink"):
        method, after = (
            ("drop", step == "unlink") if step in ("drop", "unlink") else ("retire", step == "retired")
        )
        for cls in (PostgresDatabase, SqliteDatabase):
            work = getattr(cls, method) if after else die
            setattr(cls, method, lambda *args, work=work: (work(*args), die()))
    elif step == "create":
        repository_module.create_repository = die  # type: ignore[assignment]
    else:
        Butler._make_repo_registry = die  # type: ignore[assignment, attr-defined]
        Butler.makeRepo = die  # type: ignore[assignment, method-assign]


def test_file_that_appears_during_destruction_stays(
    made: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.fill(tmp_path / "source", {"copied": "copy"})
    carry_out = Destruction.carry_out

    def late(destruction: Destruction) -> None:
        (made.root / "late.txt").write_text("new")
        carry_out(destruction)

    with monkeypatch.context() as patch, pytest.raises(RefusedError, match=r"late\.txt"):
        patch.setattr(Destruction, "carry_out", late)
        made.ensure(made.name)
    assert (made.root / "late.txt").read_text() == "new"
    if made.server:
        assert any(name.startswith("dc2_replica_doomed_") for name in made.server.databases())
    else:
        assert made.database_exists()
    (made.root / "late.txt").unlink()
    assert made.ensure(made.name).created


def test_lock_is_respected_and_names_its_holder(made: Replica) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from butler_replica.session.lock import repository_lock\n"
            "with repository_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()",
            str(made.root),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        before = made.fingerprint()
        with pytest.raises(RepositoryError, match=f"process {holder.pid} "):
            made.ensure(made.name)
        assert made.fingerprint() == before
        assert not made.ensure().changed  # to look takes no lock
    finally:
        holder.kill()
        holder.communicate()
    with repository_lock(made.root):
        assert made.ensure(made.name).created


def test_namespace(replica: Replica) -> None:
    if not replica.server:
        pytest.skip("SQLite has no schemas")
    replica.config["registry"]["namespace"] = "sky"
    replica.ensure()
    assert replica.sql("SELECT count(*) FROM sky.collection") == [(0,)]
    replica.sql("CREATE TABLE public.mine (x int)")
    assert "table public.mine" in refused(replica, "not this registry's")
    replica.sql("DROP TABLE public.mine")
    assert replica.ensure(replica.name).created


@pytest.fixture
def postgres_replica(tmp_path: Path, postgres_server: Any, db_auth: Callable[..., Path]) -> Iterator[Replica]:
    name = f"replica_{secrets.token_hex(4)}"
    db_auth(postgres_server.url(name), postgres_server.role, postgres_server.password)
    config = {"datastore": {"root": "<butlerRoot>"}, "registry": {"db": postgres_server.url(name)}}
    url = postgres_server.url(name, postgres_server.role, postgres_server.password)
    yield Replica(tmp_path / "repo", name, config, url, postgres_server)
    postgres_server.drop_database(name)


def test_database_of_another_repository_is_refused(postgres_replica: Replica, tmp_path: Path) -> None:
    postgres_replica.ensure()
    other = Replica(
        tmp_path / "other", **{k: getattr(postgres_replica, k) for k in ("name", "config", "url", "server")}
    )
    assert str(postgres_replica.root) in refused(other, "belongs to the repository")
    assert not other.root.exists()


def test_database_of_another_host_is_refused(
    postgres_replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    postgres_replica.ensure()
    monkeypatch.undo()
    monkeypatch.setenv("LSST_DB_AUTH", str(postgres_replica.root.parent / "db-auth.yaml"))
    config = postgres_replica.root / "butler.yaml"
    config.rename(postgres_replica.root.parent / "saved.yaml")
    message = refused(postgres_replica, "of host elsewhere")
    # The remedy that the message gives is one that works.
    postgres_replica.server.sql(message.split("in the database: ")[1])
    assert postgres_replica.ensure(postgres_replica.name).created


def test_how_the_server_is_connected_to_is_updated(postgres_replica: Replica) -> None:
    def there() -> str:
        return str(yaml.safe_load((postgres_replica.root / "butler.yaml").read_text())["registry"]["db"])

    plain = postgres_replica.config["registry"]["db"]
    postgres_replica.ensure()
    for url in (f"{plain}?sslmode=allow", f"{plain}?sslmode=prefer&connect_timeout=7", plain):
        config = {**postgres_replica.config, "registry": {"db": url}}
        assert postgres_replica.ensure(config=config).changed
        assert there() == url
        assert not postgres_replica.ensure(config=config).changed
        postgres_replica.stock("query-collections", str(postgres_replica.root))
    other = plain.replace("localhost", "127.0.0.1") if "localhost" in plain else plain + "x"
    with pytest.raises(RepositoryError, match=r"registry\.db"):
        postgres_replica.ensure(
            config={**postgres_replica.config, "registry": {"db": f"{other}?sslmode=allow"}}
        )


def test_open_sessions_are_refused(postgres_replica: Replica) -> None:
    postgres_replica.ensure()
    engine = sqlalchemy.create_engine(postgres_replica.url, connect_args={"application_name": "notebook"})
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        refused(postgres_replica, r"1 other session.*notebook")
    engine.dispose()
    assert postgres_replica.ensure(postgres_replica.name).created


def test_sqlite_in_use_is_refused(tmp_path: Path) -> None:
    config = {"registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}}
    replica = Replica(tmp_path / "dc2", "dc2", config, f"sqlite:///{tmp_path}/dc2/gen3.sqlite3")
    replica.ensure()
    with sqlalchemy.create_engine(replica.url).connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        refused(replica, "in use")


def test_foreign_tables_need_a_namespace(postgres_replica: Replica) -> None:
    server = postgres_replica.server
    server.create_database(postgres_replica.name)
    server.sql("CREATE TABLE public.accounts (x int)", database=postgres_replica.name)
    before = postgres_replica.fingerprint()
    with pytest.raises(RepositoryError, match=r"accounts.*registry\.namespace"):
        postgres_replica.ensure()
    assert postgres_replica.fingerprint() == before
    postgres_replica.config["registry"]["namespace"] = "dc2"
    assert postgres_replica.ensure().created
    refused(postgres_replica, "not made by this project")


def test_database_of_an_administrator_is_used_and_never_dropped(postgres_replica: Replica) -> None:
    postgres_replica.server.create_database(postgres_replica.name)
    assert postgres_replica.ensure().created
    refused(postgres_replica, "not made by this project")


def test_server_problems(postgres_replica: Replica, db_auth: Callable[..., Path]) -> None:
    server, name = postgres_replica.server, postgres_replica.name
    weak = f"weak_{name}"
    server.sql(f"CREATE ROLE {weak} LOGIN PASSWORD 'weak'")
    auth = Path(os.environ["LSST_DB_AUTH"])

    def login(user: str, password: str) -> None:
        auth.write_text(yaml.safe_dump([{"url": server.url(name), "username": user, "password": password}]))

    def fails(match: str, **options: Any) -> None:
        with pytest.raises(RepositoryError, match=match):
            postgres_replica.ensure(**options)
        assert not postgres_replica.root.exists() or not list(postgres_replica.root.glob("butler.yaml*"))

    login(server.role, "wrong")
    fails("password authentication failed.*Check user and password")
    login(weak, "weak")
    fails("permission denied to create database.*CREATEDB")
    server.sql(f'CREATE DATABASE "{name}"')
    fails("permission denied to create extension.*CREATE EXTENSION btree_gist")
    auth.chmod(0o644)
    fails("incorrect permissions")
    auth.chmod(0o600)
    fails("refused.*running", config={"registry": {"db": f"postgresql://127.0.0.1:1/{name}"}})
    server.drop_database(name)
    server.sql(f"DROP ROLE {weak}")


def test_incomplete_registry(made: Replica) -> None:
    made.sql("DELETE FROM butler_attributes WHERE name = 'config:dimensions.json'")
    with pytest.raises(RepositoryError, match=f"interrupted.*confirm_destroy={made.name}"):
        made.ensure()
    assert made.ensure(made.name).created
