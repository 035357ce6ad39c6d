"""Reading every table of a repository; see the package for what is private here."""

from __future__ import annotations

__all__ = ["RegistryTable", "registry_tables"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from lsst.daf.butler import Butler, Timespan
from sqlalchemy.dialects.postgresql import INT8RANGE
from sqlalchemy.sql.elements import ColumnElement

from .datasets import file_datastore

_ROWS = 5_000

# How the database is built, not what it holds: keys of dimension groups, names of tables made when needed.
_SKIPPED = {"butler_attributes", "opaque_meta", "dimension_graph_key", "dimension_graph_definition"}

# Generated keys, and the time of an import. The dimensions of a dataset type show in its tags table.
_DROPPED = {
    ("collection", "collection_id"),
    ("dataset", "ingest_date"),
    ("dataset_calibs", "id"),
    ("dataset_type", "id"),
    ("dataset_type", "dimensions_key"),
}
_NATURAL_KEYS = {"collection": ("name",), "dataset_type": ("name",)}

# Table and key that have the name, by what a foreign key refers to.
_REFERRED = {
    ("collection", "collection_id"): ("collection", "collection_id"),
    ("run", "collection_id"): ("collection", "collection_id"),
    ("dataset_type", "id"): ("dataset_type", "id"),
}
_NO_DIMENSIONS = {
    *("id", "dataset_type_id", "dataset_id", "collection_id"),
    *("timespan", "timespan_begin", "timespan_end"),
}


@dataclass(frozen=True)
class _Column:
    value: ColumnElement[Any]
    order: ColumnElement[Any]
    """Sorts alike in every database, and like the value in Python."""


@dataclass(frozen=True)
class RegistryTable:
    """A table whose rows read alike in every repository that holds the same."""

    name: str
    """Without namespace; with dimensions instead of a number."""

    columns: tuple[str, ...]
    """The key first."""

    key: tuple[str, ...]
    """Columns that identify a row, and by which rows are sorted."""

    _connection: sqlalchemy.Connection
    _columns: Mapping[str, _Column]
    _source: sqlalchemy.FromClause

    def rows(self, columns: tuple[str, ...] | None = None) -> Iterator[tuple[Any, ...]]:
        """Stream the rows, sorted by key.

        Parameters
        ----------
        columns : `tuple` [ `str` ], optional
            The columns to read; all by default.

        Yields
        ------
        row : `tuple`
            Values of the columns.
        """
        query = (
            sqlalchemy.select(*(self._columns[name].value.label(name) for name in columns or self.columns))
            .select_from(self._source)
            .order_by(*(self._columns[name].order for name in self.key))
            .execution_options(yield_per=_ROWS)
        )
        with self._connection.execute(query) as result:
            for rows in result.partitions(_ROWS):
                yield from map(tuple, rows)


@contextmanager
def registry_tables(butler: Butler) -> Iterator[dict[str, RegistryTable]]:
    """Read the tables of registry and datastore; PostgreSQL shows them all as they are at one time.

    Generated keys read as the names that they stand for, positions in a chain
    as 1, 2, 3, validity ranges as nanoseconds, dataset ids as 32 hexadecimal
    digits, and artifacts below the repository's root as relative to it.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Yields
    ------
    tables : `dict` [ `str`, `RegistryTable` ]
        Tables by name.
    """
    database = butler._registry._db  # type: ignore[attr-defined]
    with database._engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield _Reader(connection, database.namespace, file_datastore(butler).root.geturl()).tables()


class _Reader:
    """Makes the queries."""

    def __init__(self, connection: sqlalchemy.Connection, schema: str | None, root: str) -> None:
        inspector = sqlalchemy.inspect(connection)
        self._connection = connection
        self._schema = schema
        self._root = root
        self._is_postgres = connection.dialect.name == "postgresql"
        self._types = {
            name: {column["name"]: column["type"] for column in columns}
            for (_, name), columns in inspector.get_multi_columns(schema=schema).items()
        }
        self._primary = {
            name: key["constrained_columns"]
            for (_, name), key in inspector.get_multi_pk_constraint(schema=schema).items()
        }
        self._foreign = {
            (name, key["constrained_columns"][0]): (key["referred_table"], key["referred_columns"][0])
            for (_, name), keys in inspector.get_multi_foreign_keys(schema=schema).items()
            for key in keys
            if len(key["constrained_columns"]) == 1
        }
        self._names = {name: self._readable_name(name) for name in sorted(self._types.keys() - _SKIPPED)}

    def tables(self) -> dict[str, RegistryTable]:
        return {readable: self._table(name) for name, readable in self._names.items()}

    def _readable_name(self, name: str) -> str:
        """Name the dimensions of a table instead of their generated number."""
        kind = _kind(name)
        if kind == name:
            return name
        dimensions = [column for column in self._types[name] if column not in _NO_DIMENSIONS]
        return f"{kind} ({', '.join(sorted(dimensions)) or 'no dimensions'})"

    def _table(self, name: str) -> RegistryTable:
        kind = _kind(name)
        table = self._clause(name)
        source: sqlalchemy.FromClause = table
        columns: dict[str, _Column] = {}
        for column in table.columns:
            referred = _REFERRED.get(self._foreign.get((name, column.name), ("", "")))
            if (kind, column.name) in _DROPPED:
                continue
            if referred:
                named = self._clause(referred[0]).alias()
                source = source.join(named, named.columns[referred[1]] == column, isouter=True)
                columns[column.name] = self._column(named.columns["name"])
            elif isinstance(column.type, INT8RANGE):
                columns |= self._timespan(column)
            else:
                columns[column.name] = self._column(self._normalized(table, column))
        # A validity range is identified by all that it says.
        natural = tuple(columns) if kind == "dataset_calibs" else _NATURAL_KEYS.get(name)
        key = natural or tuple(self._primary[name])
        rest = tuple(sorted(columns.keys() - set(key)))
        return RegistryTable(self._names[name], key + rest, key, self._connection, columns, source)

    def _clause(self, name: str) -> sqlalchemy.TableClause:
        columns = (sqlalchemy.column(column, kind) for column, kind in self._types[name].items())
        return sqlalchemy.table(name, *columns, schema=self._schema)

    def _column(self, value: ColumnElement[Any]) -> _Column:
        if not self._is_postgres:
            return _Column(value, value)
        if isinstance(value.type, sqlalchemy.Uuid):
            text = sqlalchemy.cast(value, sqlalchemy.Text)
            return _Column(sqlalchemy.func.replace(text, "-", "", type_=sqlalchemy.Text), value)
        if isinstance(value.type, sqlalchemy.String):
            return _Column(value, sqlalchemy.collate(value, "C"))
        return _Column(value, value)

    def _normalized(self, table: sqlalchemy.TableClause, column: ColumnElement[Any]) -> ColumnElement[Any]:
        function = sqlalchemy.func
        if column.name in ("tag_association_table", "calibration_association_table"):
            return sqlalchemy.case(self._names, value=column)
        if (table.name, column.name) == ("collection_chain", "position"):
            chain = table.columns["parent"]
            return sqlalchemy.over(function.row_number(), partition_by=chain, order_by=column)
        if column.name == "path":
            return function.replace(column, self._root, "<root>/", type_=sqlalchemy.Text)
        if self._is_postgres and isinstance(column.type, sqlalchemy.Float):
            # SQLite stores NaN as NULL.
            return function.nullif(column, sqlalchemy.literal_column("'NaN'"), type_=column.type)
        return column

    def _timespan(self, column: ColumnElement[Any]) -> dict[str, _Column]:
        """Read a range as the two columns that SQLite has instead."""
        function, integer = sqlalchemy.func, sqlalchemy.BigInteger()
        bounds = zip(
            ("begin", "end"),
            (function.lower, function.upper),
            Timespan(None, None).nsec,
            Timespan.makeEmpty().nsec,
            strict=True,
        )
        columns = {}
        for name, bound, unbounded, empty in bounds:
            value = sqlalchemy.case(
                (column.is_(None), sqlalchemy.null()),
                (function.isempty(column), empty),
                else_=function.coalesce(bound(column, type_=integer), unbounded, type_=integer),
            )
            columns[f"{column.name}_{name}"] = _Column(value, value)
        return columns


def _kind(name: str) -> str:
    """Return the name of a table without the number of its dimensions."""
    kind, _, number = name.rpartition("_")
    return kind if kind in ("dataset_tags", "dataset_calibs") and number.isdigit() else name
