"""Every verb that writes waits for another writer, and ends when a signal asks it to."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy

from butler_replica.errors import RepositoryError
from butler_replica.holdings.prune import prune
from butler_replica.session.lock import repository_lock
from kit.exports import write_raws
from kit.importers import TIMEOUT, killed_at_end, make_on, wait_until
from kit.repositories import Repository
from kit.sameness import registry_tables
from kit.servers import temporary_server

VERBS: dict[str, list[str]] = {
    "import": ["-m", "butler_replica", "import", "{repo}", "{export}"],
    "instrument": ["-m", "butler_replica", "instrument", "{repo}"],
    "skymap": ["-m", "butler_replica", "skymap", "{repo}", "--tracts", "3828"],
    "visits": ["-m", "butler_replica", "visits", "{repo}", "--collection", "Cam/raw/all"],
    "chain": ["-m", "butler_replica", "chain", "{repo}", "all", "none"],
    "prune": ["-m", "butler_replica", "prune", "{repo}"],
    "collections": [
        "-c",
        "import sys; from butler_replica.collections.ensure import ensure_collections\n"
        "ensure_collections(sys.argv[1], [{{'name': 'one', 'type': 'CHAINED', 'children': ['none']}}])",
        "{repo}",
    ],
}

ENDINGS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 1}


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Where this runs in the background Ctrl-C is ignored, and children would inherit that."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def start(verb: str, repository: Repository, export: Path) -> subprocess.Popen[str]:
    arguments = [part.format(repo=repository, export=export) for part in VERBS[verb]]
    return subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], number: signal.Signals, verb: str) -> None:
    """Ask a verb to end; it obeys without a traceback, although what it waits for never comes."""
    process.send_signal(number)
    _, err = process.communicate(timeout=TIMEOUT)
    expected = {ENDINGS[number], -number} if verb == "collections" else {ENDINGS[number]}
    assert process.returncode in expected, (verb, process.returncode, err)
    assert verb == "collections" or "Traceback" not in err, err


def test_every_verb_waits_and_can_be_ended(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = make_repository("sqlite")
    export = write_raws(tmp_path / "raws", exposures=1)
    before = registry_tables(repository)
    with ExitStack() as stack:
        stack.enter_context(repository_lock(repository.root))
        processes = {
            verb: stack.enter_context(killed_at_end(start(verb, repository, export))) for verb in VERBS
        }
        for number, (verb, process) in enumerate(processes.items()):
            assert "waiting for another writer, process" in process.stderr.readline(), verb
            end(process, list(ENDINGS)[number % len(ENDINGS)], verb)
    assert registry_tables(repository) == before


@pytest.mark.postgres
@pytest.mark.slow
def test_every_verb_ends_in_the_middle_of_a_statement(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    export = write_raws(tmp_path / "raws", exposures=1)
    with ExitStack() as stack:
        processes = {}
        for verb in VERBS:
            repository = make_repository("postgresql")
            engine = sqlalchemy.create_engine(repository.url, poolclass=sqlalchemy.NullPool)
            connection = stack.enter_context(engine.connect())
            connection.execute(
                sqlalchemy.text("LOCK TABLE instrument, skymap, collection, dataset_type, dataset")
            )
            process = stack.enter_context(killed_at_end(start(verb, repository, export)))
            processes[verb] = process, connection
        waits = sqlalchemy.text(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        for number, (verb, (process, connection)) in enumerate(processes.items()):
            wait_until(lambda p=process, c=connection: p.poll() is not None or c.execute(waits).all(), verb)
            end(process, list(ENDINGS)[number % len(ENDINGS)], verb)


@pytest.mark.postgres
@pytest.mark.slow
def test_another_encoding_is_named(tmp_path: Path, db_auth: Callable[..., Path]) -> None:
    with temporary_server() as server:
        repository = make_on(server, tmp_path / "repo", db_auth, "ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(RepositoryError, match="encoding LATIN1.*ENCODING 'UTF8'"):
            prune(str(repository))
