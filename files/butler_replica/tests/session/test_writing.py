"""One way to open a repository: lock, waiting, signals and words of the database are the same for every verb."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler

from butler_replica.cli import main
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.errors import RepositoryError
from butler_replica.holdings.prune import prune
from butler_replica.repository import ensure_repository
from butler_replica.session.lock import LOCK_NAME, repository_lock
from kit.exports import write_raws
from kit.importers import TIMEOUT, killed_at_end, make_on, wait_until
from kit.observations import RAW, add_raws, exposure_record
from kit.processes import Command
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.servers import temporary_server

WRITERS = {
    "import": "{repo} {export}",
    "instrument": "{repo} --name LSSTComCam",
    "skymap": "{repo} --tracts 3828",
    "visits": "{repo} --collection " + RAW,
    "chain": "{repo} all none",
    "chain, described": "{repo} --collections {described}",
    "prune": "{repo} --keep raw",
    "repository": "{repo} --config {config}",
}
"""Commands that change a repository, each with something to do."""

READERS = {"verify": "{repo}", "compare": "{repo} {repo}", "export": "{repo} {out}"}

WITHOUT_REPOSITORY = {"credentials", "index", "sample"}
"""They change files of a user's own, or a new folder."""

ENDINGS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 1}


def name_of(verb: str) -> str:
    return verb.partition(",")[0]


def arguments(verb: str, repository: Repository, folder: Path) -> list[str]:
    folder = folder / f"of-{repository.name}"
    files = {name: folder / f"{name}.yaml" for name in ("export", "described", "config")}
    if not files["config"].exists():
        write_raws(folder, exposures=2, detectors=1).rename(files["export"])
        children = {"name": "one", "type": "CHAINED", "children": ["none"]}
        files["described"].write_text(yaml.safe_dump({"dc2_collections": [children]}))
        database = yaml.safe_load((repository.root / "butler.yaml").read_text())["registry"]["db"]
        files["config"].write_text(yaml.safe_dump({"registry": {"db": database}, "note": "new"}))
    line = {**WRITERS, **READERS}[verb]
    return [
        name_of(verb),
        *(part.format(repo=repository, out=folder / "out", **files) for part in line.split()),
    ]


def start(verb: str, repository: Repository, folder: Path, *options: str) -> Command:
    return Command(*arguments(verb, repository, folder), *options)


@pytest.fixture
def filled(make_repository: Callable[..., Repository], tmp_path: Path) -> Repository:
    """An SQLite repository with raws of one exposure."""
    repository = make_repository("sqlite")
    register_instrument(str(repository))
    add_raws(str(repository), [exposure_record(Butler.from_config(repository.root).dimensions, 1)])
    (repository.root / LOCK_NAME).unlink()
    return repository


def test_every_command_is_in_a_table() -> None:
    assert {*map(name_of, WRITERS), *READERS, *WITHOUT_REPOSITORY} == set(
        main.list_commands(click.Context(main))
    )


def test_every_writer_waits_and_then_does_its_work(filled: Repository, tmp_path: Path) -> None:
    before = registry_tables(filled)
    with ExitStack() as stack:
        with repository_lock(filled.root):
            started = {
                verb: stack.enter_context(killed_at_end(start(verb, filled, tmp_path))) for verb in WRITERS
            }
            for verb, process in started.items():
                line = process.stderr.readline()
                assert f"{filled.root}: waiting for another writer, process {os.getpid()} on " in line, verb
            assert registry_tables(filled) == before
        for verb, process in started.items():
            out, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, (verb, out, err)
    assert registry_tables(filled) != before


def test_every_writer_can_be_ended_while_it_waits(filled: Repository, tmp_path: Path) -> None:
    before = registry_tables(filled)
    with ExitStack() as stack:
        stack.enter_context(repository_lock(filled.root))
        started = {
            verb: stack.enter_context(killed_at_end(start(verb, filled, tmp_path))) for verb in WRITERS
        }
        for number, (verb, process) in enumerate(started.items()):
            assert "waiting for another writer, process" in process.stderr.readline(), verb
            end(process, list(ENDINGS)[number % len(ENDINGS)], verb)
    assert registry_tables(filled) == before


def end(process: Command, number: signal.Signals, verb: str) -> None:
    """Ask a verb to end; it obeys without a traceback, although what it waits for never comes."""
    process.send_signal(number)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == ENDINGS[number], (verb, number, process.returncode, err)
    assert "Traceback" not in err, (verb, err)


@pytest.mark.parametrize("locked", [True, False])
def test_a_dry_run_neither_locks_nor_waits(filled: Repository, tmp_path: Path, locked: bool) -> None:
    before = registry_tables(filled)
    with ExitStack() as stack:
        if locked:
            stack.enter_context(repository_lock(filled.root))
        started = {
            **{
                verb: stack.enter_context(killed_at_end(start(verb, filled, tmp_path, "--dry-run")))
                for verb in WRITERS
            },
            **{verb: stack.enter_context(killed_at_end(start(verb, filled, tmp_path))) for verb in READERS},
        }
        for verb, process in started.items():
            out, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, (verb, out, err)
            assert "waiting" not in err, verb
    assert registry_tables(filled) == before
    assert (filled.root / LOCK_NAME).exists() == locked


# What the database says

TABLES = "instrument, skymap, collection, dataset_type, dataset"


@contextmanager
def at_a_statement(
    repositories: dict[str, Repository], folder: Path
) -> Iterator[dict[str, tuple[Command, sqlalchemy.Connection]]]:
    """Start every verb on a repository of its own, and hold each up in the middle of a statement."""
    waiting = sqlalchemy.text(
        "SELECT pid FROM pg_locks WHERE NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ExitStack() as stack:
        started = {}
        for verb, repository in repositories.items():
            engine = sqlalchemy.create_engine(repository.url, poolclass=sqlalchemy.NullPool)
            connection = stack.enter_context(engine.connect())
            tables = "butler_attributes" if verb == "repository" else TABLES
            connection.execute(sqlalchemy.text(f"LOCK TABLE {tables}"))
            process = stack.enter_context(killed_at_end(start(verb, repository, folder)))
            started[verb] = process, connection
        for verb, (process, connection) in started.items():
            wait_until(lambda p=process, c=connection: p.poll() is not None or c.execute(waiting).all(), verb)
            assert process.poll() is None, (verb, process.communicate())
        yield started


@pytest.mark.postgres
@pytest.mark.slow
def test_every_verb_can_be_ended_and_cut_off_in_the_middle_of_a_statement(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    # All before the first starts: they share a file of credentials.
    repositories = {verb: make_repository("postgresql") for verb in (*WRITERS, *READERS)}
    with at_a_statement(repositories, tmp_path) as started:
        for number, (verb, (process, _)) in enumerate(started.items()):
            end(process, list(ENDINGS)[number % len(ENDINGS)], verb)
    cut = sqlalchemy.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with at_a_statement(repositories, tmp_path) as started:
        for _, connection in started.values():
            connection.execute(cut)
        for verb, (process, _) in started.items():
            _, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 1, (verb, err)
            words = "(?m)^Error: .*the database says: .*Run this again: it continues"
            assert re.search(words, err), (verb, err)
            assert "Traceback" not in err, (verb, err)


def test_a_server_that_is_away_is_told_in_words_by_every_verb(
    make_repository: Callable[..., Repository], tmp_path: Path, db_auth: Callable[..., Path]
) -> None:
    repository = make_repository("sqlite")
    path = repository.root / "butler.yaml"
    config = yaml.safe_load(path.read_text())
    config["registry"]["db"] = "postgresql://127.0.0.1:1/dc2"
    path.write_text(yaml.safe_dump(config))
    db_auth("postgresql://127.0.0.1:1/dc2", "me", "secret")
    with ExitStack() as stack:
        started = {
            verb: stack.enter_context(killed_at_end(start(verb, repository, tmp_path)))
            for verb in (*WRITERS, *READERS)
        }
        for verb, process in started.items():
            _, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 1, (verb, err)
            assert re.search(
                "(?m)^Error: .*[Cc]onnection refused.*Is the PostgreSQL server running there", err
            ), err
            assert "Traceback" not in err, (verb, err)


@pytest.mark.parametrize("content", ["", "7", "- ", "- 7", "url: x", "["])
def test_credentials_that_are_none_are_told_in_words(
    make_repository: Callable[..., Repository], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    repository = make_repository("sqlite")
    config = {"registry": {"db": "postgresql://127.0.0.1:1/dc2"}}
    path = repository.root / "butler.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **config}))
    credentials = tmp_path / "auth.yaml"
    credentials.touch(mode=0o600)
    credentials.write_text(content)
    monkeypatch.setenv("LSST_DB_AUTH", str(credentials))
    words = r"no database credentials: .*LSST_DB_AUTH names"
    with pytest.raises(RepositoryError, match=words):
        prune(str(repository))
    with pytest.raises(RepositoryError, match=words):
        ensure_repository(tmp_path / "new", config=config)


@pytest.mark.postgres
@pytest.mark.slow
def test_another_encoding_is_named(tmp_path: Path, db_auth: Callable[..., Path]) -> None:
    with temporary_server() as server:
        repository = make_on(server, tmp_path / "repo", db_auth, "ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(RepositoryError, match="encoding LATIN1.*ENCODING 'UTF8'"):
            prune(str(repository))


# Files of a user's own


def test_two_who_change_the_same_index_lose_nothing(tmp_path: Path) -> None:
    index = tmp_path / "index.yaml"
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ExitStack() as stack:
        started = [
            stack.enter_context(killed_at_end(Command("index", index, label, tmp_path / label)))
            for label in ("one", "two", "three")
        ]
        for process in started:
            wait_until(lambda p=process: str(tmp_path) in opened_by(p), "it waits for the folder")
        assert not index.exists()
        os.close(descriptor)
        for process in started:
            _, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, err
    assert yaml.safe_load(index.read_text()) == {
        label: f"{tmp_path}/{label}" for label in ("one", "two", "three")
    }


def opened_by(process: Command) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            found.add(str(descriptor.readlink()))
    return found


def test_the_sample_can_be_ended(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with killed_at_end(Command("sample", tmp_path / "sample", TMPDIR=str(temporary))) as process:
        wait_until(lambda: process.poll() is not None or list(temporary.iterdir()), "it has begun")
        end(process, signal.SIGTERM, "sample")
    assert not list(temporary.iterdir())
