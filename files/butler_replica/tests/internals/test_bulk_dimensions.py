"""Fast insertion writes the same rows as the public API, and what it uses of private API is there."""

from __future__ import annotations

import contextlib
import logging
import re

import pytest
import sqlalchemy.exc
from lsst.daf.butler import Butler
from sqlalchemy.dialects.postgresql import psycopg

from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.skymap_records import patch_records, skymap_record, tract_records
from butler_replica.dimensions.skymaps import skymap_named
from butler_replica.dimensions.visit_records import visit_records, visit_system_records
from butler_replica.errors import RepositoryError
from butler_replica.internals.bulk_dimensions import KEYS_AT_END_FROM, bulk_insertion, insert_records
from butler_replica.internals.connections import watching_new_engines
from butler_replica.session.opening import database_errors, open_butler
from kit.observations import add_raws, exposure_record
from kit.other_release import Other

DC2_SKYMAP = skymap_named("DC2")

TABLES = (
    "skymap",
    "tract",
    "patch",
    "visit",
    "visit_definition",
    "visit_system_membership",
    "visit_detector_region",
)
BULK = ["tract", "patch", "visit", "visit_detector_region"]
FOREIGN_KEYS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated "
    "FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"
)


def prepared_repository(make_repository, backend):
    repository = make_repository(backend)
    register_instrument(str(repository))
    butler = open_butler(str(repository), writeable=True)
    exposures = [exposure_record(butler.dimensions, number) for number in range(3)]
    add_raws(str(repository), exposures)
    butler.registry.insertDimensionData(
        "visit_system", *visit_system_records(butler.dimensions, "LSSTCam-imSim", "one-to-one")
    )
    tracts = [0, 3828, 3829, 18937]
    records = {
        "skymap": [skymap_record(DC2_SKYMAP, butler.dimensions)],
        "tract": tract_records(DC2_SKYMAP, butler.dimensions, tracts),
        "patch": list(patch_records(DC2_SKYMAP, butler.dimensions, tracts)),
        **visit_records(butler.dimensions, exposures),
    }
    return repository, butler, records


def content(repository):
    tables = [*TABLES, *(f"{name}_skypix_overlap" for name in BULK)]
    return {name: sorted(map(repr, repository.sql(f"SELECT * FROM {name}"))) for name in tables}


@pytest.mark.parametrize("n_records", [1, KEYS_AT_END_FROM])
def test_rows_equal_those_of_the_public_api(make_repository, backend, n_records):
    stock, butler, records = prepared_repository(make_repository, backend)
    with butler.transaction():
        insert_records(butler, records)
    expected = content(stock)
    assert len(expected["patch_skypix_overlap"]) > 196

    fast, butler, records = prepared_repository(make_repository, backend)
    keys = fast.sql(FOREIGN_KEYS) if backend == "postgresql" else []
    with bulk_insertion(butler, BULK, n_records) as insertion:
        insertion.write(insertion.prepare(records))
    assert content(fast) == expected
    if backend == "postgresql":
        assert fast.sql(FOREIGN_KEYS) == keys != []


def test_nothing_is_kept_of_a_failure(make_repository, backend):
    repository, butler, records = prepared_repository(make_repository, backend)
    keys = repository.sql(FOREIGN_KEYS) if backend == "postgresql" else []
    before = content(repository)
    del records["tract"]  # patches without their tracts
    with (
        pytest.raises(sqlalchemy.exc.DBAPIError, match=r"(?i)foreign key"),
        bulk_insertion(butler, BULK, KEYS_AT_END_FROM) as insertion,
    ):
        insertion.write(insertion.prepare(records))
    assert content(repository) == before
    if backend == "postgresql":
        assert repository.sql(FOREIGN_KEYS) == keys


def test_errors_of_the_driver_are_shown_with_the_repository(make_repository, backend):
    repository, butler, records = prepared_repository(make_repository, backend)
    with (
        pytest.raises(RepositoryError, match=r"(?i)the database says: .*(duplicate key|unique constraint)"),
        database_errors(str(repository)),
        bulk_insertion(butler, BULK, 1000) as insertion,
    ):
        insertion.write(insertion.prepare({"skymap": records["skymap"], "tract": records["tract"]}))
        insertion.write(insertion.prepare({"tract": records["tract"]}))
    assert content(repository)["tract"] == []


@pytest.mark.postgres
@pytest.mark.parametrize("ours", [False, True])
def test_foreign_keys_stay_where_another_session_uses_the_tables(make_repository, caplog, ours):
    """Of another program, which is seen beforehand, or of this one, which only its lock shows."""
    with watching_new_engines() if ours else contextlib.nullcontext():
        repository, butler, records = prepared_repository(make_repository, "postgresql")
        engine = sqlalchemy.create_engine(repository.url)
        reader = engine.connect()
    with reader, caplog.at_level(logging.INFO):
        reader.execute(sqlalchemy.text("SELECT count(*) FROM patch")).all()
        with bulk_insertion(butler, BULK, KEYS_AT_END_FROM) as insertion:
            insertion.write(insertion.prepare(records))
    engine.dispose()
    reason = "since the server says: .*lock" if ours else r"since \d+ other sessions use the database"
    assert re.search(f"checked row by row,.* {reason}", caplog.text)
    assert len(content(repository)["patch"]) == 196


@pytest.mark.postgres
@pytest.mark.parametrize("insert", ["public", "bulk"])
def test_an_empty_name_is_not_a_missing_one(make_repository, insert):
    """PostgreSQL has it either way; on SQLite the tables refuse it."""
    repository, butler, records = prepared_repository(make_repository, "postgresql")
    nameless = {
        element: [
            type(record)(**(record.toDict() | {"name" if element == "skymap" else "skymap": ""}))
            for record in records[element]
        ]
        for element in ("skymap", "tract")
    }
    if insert == "public":
        with butler.transaction():
            insert_records(butler, nameless)
    else:
        with bulk_insertion(butler, BULK, 1) as insertion:
            insertion.write(insertion.prepare(nameless))
    n_tracts = len(nameless["tract"])
    assert repository.sql("SELECT count(*) FROM tract WHERE skymap = ''") == [(n_tracts,)]
    assert repository.sql("SELECT count(DISTINCT tract) FROM tract_skypix_overlap WHERE skymap = ''") == [
        (n_tracts,)
    ]


def test_other_drivers_get_the_public_api(make_repository, caplog):
    repository, butler, records = prepared_repository(make_repository, "sqlite")
    other = Other(butler, "_registry._db.dialect", psycopg.dialect())
    with bulk_insertion(other, BULK, KEYS_AT_END_FROM) as insertion:
        prepared = insertion.prepare(records)
        assert prepared == records
        insertion.write(prepared)
    assert len(content(repository)["patch"]) == 196
    assert not caplog.records


MISSING = (
    "_registry",
    "_registry._db",
    "_registry._db._transaction",
    "_registry._db.dialect",
    "_registry._db.insert",
    "_registry._db.getTimespanRepresentation",
    "_registry._managers.dimensions",
    "_registry._managers.dimensions._tables",
    "_registry._managers.dimensions._overlap_tables",
)
"""Private names without which the public API is used."""


@pytest.mark.parametrize("name", MISSING)
def test_a_release_without_the_private_api_is_warned_of(make_repository, caplog, name):
    repository, butler, records = prepared_repository(make_repository, "sqlite")
    with (
        caplog.at_level(logging.WARNING),
        bulk_insertion(Other(butler, name), BULK, KEYS_AT_END_FROM) as insertion,
    ):
        insertion.write(insertion.prepare(records))
    assert re.search(f"{name.rpartition('.')[2]}.*inserted with the public API", caplog.text)
    assert len(content(repository)["patch"]) == 196


@pytest.mark.parametrize("elements", [BULK, ["tract"]])
def test_private_api_is_there(make_repository, backend, caplog, elements):
    butler = Butler.from_config(str(make_repository(backend)), writeable=True)
    with bulk_insertion(butler, elements, 1) as insertion:
        assert insertion.prepare({"tract": []}) != {"tract": []}
    assert not caplog.records
