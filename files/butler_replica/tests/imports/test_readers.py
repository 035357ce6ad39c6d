"""Who reads goes on reading while an import writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from lsst.daf.butler import Butler

from kit.exports import write_raws
from kit.importers import TIMEOUT, held_up, killed_at_end, run_import, sessions, start_import, wait_until
from kit.repositories import Repository

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

RAWS = 2500
"""So many that foreign keys are taken away where nobody else is there."""

KEYS = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'"


@pytest.fixture
def replica(make_repository: Callable[..., Repository], tmp_path: Path) -> Repository:
    repository = make_repository("postgresql")
    run_import(repository, write_raws(tmp_path / "few", exposures=2, first=5000, run="Cam/raw/few"))
    return repository


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_raws(tmp_path / "many", exposures=RAWS // 100)


def read(repository: Repository) -> None:
    """Read all that there is, as the stock butler does."""
    butler = Butler.from_config(str(repository), writeable=False)
    assert "Cam/raw/few" in butler.collections.query("*")
    assert len(butler.query_dimension_records("detector", instrument="Cam")) == 100
    refs = butler.query_datasets("raw", collections="Cam/raw/few", limit=None)
    assert len(refs) == 200
    assert butler.getURI(refs[0]).exists()


def test_in_the_middle_of_the_transaction_of_an_import(replica: Repository, many: Path) -> None:
    """Somebody else is connected: the one who holds it up."""
    with held_up(replica, many) as process:
        blocked = replica.sql(
            "SELECT relation::regclass::text FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted "
            "AND relation IN (SELECT oid FROM pg_class WHERE relpersistence = 'p') "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert blocked == []
        read(replica)
        assert process.poll() is None
    assert len(replica.sql("SELECT 1 FROM dataset")) == 200


def test_who_wants_the_tables_for_himself_waits_without_holding_up_others(
    replica: Repository, many: Path
) -> None:
    keys = sorted(replica.sql(KEYS))
    engine = sqlalchemy.create_engine(replica.url, poolclass=sqlalchemy.NullPool)
    with (
        engine.connect() as user,
        killed_at_end(start_import(replica, many, "--exclusive")) as process,
    ):
        user.execute(sqlalchemy.text("SELECT count(*) FROM dataset"))
        assert process.stderr is not None
        assert "Waiting for other sessions to let go of the tables" in process.stderr.readline()
        for _ in range(3):
            # A lock that is waited for holds up all who come later: not until the user lets go.
            replica.sql("SET statement_timeout = '60s'; SELECT count(*) FROM dataset")
            assert process.poll() is None
        user.rollback()
        assert process.wait(TIMEOUT) == 0
    assert sorted(set(keys) - set(replica.sql(KEYS))) == []
    assert len(replica.sql("SELECT 1 FROM dataset")) == 200 + RAWS


def test_keys_go_where_nobody_else_is_there(replica: Repository, many: Path) -> None:
    """The server is asked what an import does that is not held up."""
    keys = sorted(replica.sql(KEYS))
    replica.sql("CREATE TABLE dropped (constraint_name text)")
    replica.sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO dropped "
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'dataset'::regclass; "
        "RETURN NULL; END $$"
    )
    replica.sql("CREATE TRIGGER note AFTER INSERT ON dataset EXECUTE FUNCTION note()")
    wait_until(lambda: not sessions(replica), "nobody is connected")
    run_import(replica, many)
    assert {row[0] for row in replica.sql("SELECT constraint_name FROM dropped")} == {"0"}
    assert set(replica.sql(KEYS)) >= set(keys)
