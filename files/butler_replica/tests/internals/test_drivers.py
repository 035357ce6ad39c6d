"""Rows that are loaded by the database's driver are those that went in, as SQL reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.dialects.postgresql import asyncpg, psycopg

from butler_replica.internals.drivers import driver_of
from kit.repositories import Repository, engine_of

TEXTS = (
    None,
    "",
    " ",
    "NULL",
    "null",
    r"\N",
    r"\.",
    "\\",
    r"\t",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\n",
    '"',
    '""',
    "it's",
    "a,b",
    ",",
    "%s",
    ":one",
    "?",
    "ü☃𝄞",
    "\x01\x7f",
)
"""Texts that a format of rows could take for something else."""

NUMBERS = (None, 0, -1, 1 << 31, -(1 << 63), (1 << 63) - 1)


@pytest.fixture
def connection(make_repository: Callable[..., Repository], backend: str) -> Any:
    with engine_of(make_repository(backend).url).connect() as connection:
        connection.execute(
            sqlalchemy.text('CREATE TEMPORARY TABLE odd (n BIGINT NOT NULL, "group" TEXT, number BIGINT)')
        )
        yield connection


def test_what_goes_in_comes_out(connection: sqlalchemy.Connection) -> None:
    driver = driver_of(connection.dialect)
    rows = list(enumerate([*((text, 1) for text in TEXTS), *(("x", number) for number in NUMBERS)]))
    load = driver.prepare("odd", ["n", "group", "number"], ((n, *values) for n, values in rows))
    driver.load(connection, load)
    driver.analyze(connection, "odd")
    found = connection.execute(sqlalchemy.text('SELECT n, "group", number FROM odd ORDER BY n'))
    assert [(n, (text, number)) for n, text, number in found] == rows


def test_nothing_is_a_load_too(connection: sqlalchemy.Connection) -> None:
    driver = driver_of(connection.dialect)
    driver.load(connection, driver.prepare("odd", ["n"], []))
    assert connection.execute(sqlalchemy.text("SELECT count(*) FROM odd")).scalar() == 0


@pytest.mark.parametrize("table", ["odd", "no_such_table"])
def test_errors_are_those_of_sqlalchemy(connection: sqlalchemy.Connection, table: str) -> None:
    driver = driver_of(connection.dialect)
    with pytest.raises(sqlalchemy.exc.DBAPIError, match=rf"(?i)null|no_such_table[\s\S]*{table}"):
        driver.load(connection, driver.prepare(table, ["n", "number"], [(None, 1)]))


@pytest.mark.parametrize("dialect", [psycopg, asyncpg, mysql])
def test_other_drivers_are_not_known(dialect: Any) -> None:
    assert driver_of(dialect.dialect()) is None
    assert driver_of(postgresql.dialect()) is not None
