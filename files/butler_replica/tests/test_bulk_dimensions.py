"""Fast insertion writes the same rows as the public API, and what it uses of private API is there."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import sqlalchemy.exc
from lsst.daf.butler import Butler

from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.skymap_records import patch_records, skymap_record, tract_records
from butler_replica.dimensions.skymaps import skymap_named
from butler_replica.dimensions.visit_records import visit_records, visit_system_records
from butler_replica.errors import RepositoryError
from butler_replica.internals import bulk_dimensions, foreign_keys
from butler_replica.internals.bulk_dimensions import bulk_insertion, insert_records
from butler_replica.session.opening import database_errors
from observations import add_raws, exposure_record

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
    butler = Butler.from_config(str(repository), writeable=True)
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


@pytest.mark.parametrize("check_at_end", [1, 10**9])
def test_rows_equal_those_of_the_public_api(make_repository, backend, monkeypatch, check_at_end):
    monkeypatch.setattr(bulk_dimensions, "CHECK_AT_END", check_at_end)
    stock, butler, records = prepared_repository(make_repository, backend)
    with butler.transaction():
        insert_records(butler, records)
    expected = content(stock)
    assert len(expected["patch_skypix_overlap"]) > 196

    fast, butler, records = prepared_repository(make_repository, backend)
    keys = fast.sql(FOREIGN_KEYS) if backend == "postgresql" else []
    with bulk_insertion(butler, BULK, 1000) as insertion:
        assert type(insertion) is not bulk_dimensions.BulkInsertion
        insertion.write(insertion.prepare(records))
    assert content(fast) == expected
    if backend == "postgresql":
        assert fast.sql(FOREIGN_KEYS) == keys != []


def test_nothing_is_kept_of_a_failure(make_repository, backend, monkeypatch):
    monkeypatch.setattr(bulk_dimensions, "CHECK_AT_END", 1)
    repository, butler, records = prepared_repository(make_repository, backend)
    keys = repository.sql(FOREIGN_KEYS) if backend == "postgresql" else []
    before = content(repository)
    del records["tract"]  # patches without their tracts
    with (
        pytest.raises(sqlalchemy.exc.DBAPIError, match=r"(?i)foreign key"),
        bulk_insertion(butler, BULK, 1000) as insertion,
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
def test_foreign_keys_stay_where_another_session_uses_the_tables(make_repository, monkeypatch, caplog):
    monkeypatch.setattr(bulk_dimensions, "CHECK_AT_END", 1)
    monkeypatch.setattr(foreign_keys, "_LOCK_TIMEOUT", "100ms")
    repository, butler, records = prepared_repository(make_repository, "postgresql")
    engine = sqlalchemy.create_engine(repository.url)
    with engine.connect() as reader, caplog.at_level(logging.WARNING):
        reader.execute(sqlalchemy.text("SELECT count(*) FROM patch")).all()
        with bulk_insertion(butler, BULK, 1000) as insertion:
            insertion.write(insertion.prepare(records))
    engine.dispose()
    assert "checked row by row" in caplog.text
    assert len(content(repository)["patch"]) == 196


def test_other_drivers_get_the_public_api(make_repository, monkeypatch):
    monkeypatch.setattr(bulk_dimensions, "_DRIVERS", {})
    repository, butler, records = prepared_repository(make_repository, "sqlite")
    with bulk_insertion(butler, BULK, 1000) as insertion:
        assert type(insertion) is bulk_dimensions.BulkInsertion
        insertion.write(insertion.prepare(records))
    assert len(content(repository)["patch"]) == 196


def test_a_release_without_the_private_api_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        assert bulk_dimensions._private_api(SimpleNamespace(), BULK) is None
    assert "inserted with the public API" in caplog.text


def test_private_api_is_there(make_repository, backend, caplog):
    butler = Butler.from_config(str(make_repository(backend)), writeable=True)
    found = bulk_dimensions._private_api(butler, BULK)
    assert found is not None, caplog.text
    assert {name: tables.overlaps.name for name, tables in found[1].items()} == {
        name: f"{name}_skypix_overlap" for name in BULK
    }
