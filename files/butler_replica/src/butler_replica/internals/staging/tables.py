"""Comparing and inserting very many datasets set by set; see the package for what is private here.

The datasets of an export go into temporary tables of the repository's
database. A handful of statements say which of them are there, which are in
the way of others, and insert the rest. What belongs to a collection and not
to a dataset (its summary) is left to the butler, which inserts the first
dataset of each run itself; the other rows are made after the pattern of
those.
"""

from __future__ import annotations

__all__ = ["StagedDataset", "StagedRow", "Staging", "State", "UnsupportedError", "staging"]

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler, DatasetRef, DimensionGroup
from lsst.daf.butler.datastore.stored_file_info import NULLSTR
from numpy.typing import NDArray
from typing_extensions import override

from ..datasets import file_datastore, insert_artifact_records, insert_datasets, supports_temporary_tables
from ..foreign_keys import foreign_keys_at_end

_CHECK_AT_END = 2_000
"""Number of new rows from which foreign keys are checked at the end."""

_TABLE_RATIO = 40
"""Checking at the end looks at the whole table: not worth it where it is so many times larger than what is new."""

_ROW_BYTES = 100
"""About the size of a row in the tables of datasets."""

_CHUNK = 1_000
"""Values in one SQL ``IN``."""

_LOADED = 10_000
"""Rows that are loaded at a time."""

_BLOCKS = "dc2_replica_blocks"
_CHANGES = "dc2_replica_changes"

_COLUMNS = {
    "dataset": {"id", "dataset_type_id", "run_id", "ingest_date"},
    "dataset_location": {"datastore_name", "dataset_id"},
    "records": {"dataset_id", "path", "formatter", "storage_class", "component", "checksum", "file_size"},
    "collection": {"collection_id", "name"},
    "dataset_type": {"id", "name", "tag_association_table"},
}
"""Columns that the statements here know; those of the first three have to be all that there are."""

_COMPLETE = ("dataset", "dataset_location", "records")


class State(IntEnum):
    """What is known of a staged dataset."""

    NEW = 0
    STORED = 1
    """In the registry, with a datastore record."""

    REGISTERED = 2
    """In the registry, without a datastore record, or with one that is to be made anew."""

    TAKEN = 3
    """Its ID is that of something else in the registry."""

    LEFT_OUT = 4
    """Not there and not wanted: its artifact is missing."""

    BARE = 5
    """New, and without artifact."""


_INSERTED = f"{State.NEW:d}, {State.BARE:d}"
"""States of datasets that are inserted."""


class StagedRow(NamedTuple):
    """A dataset on its way into a temporary table."""

    number: int
    """Position in the export."""

    block: int
    id: str
    """32 hexadecimal digits."""

    values: tuple[Any, ...]
    """Values of the required dimensions."""


class StagedDataset(NamedTuple):
    """A dataset in a temporary table."""

    number: int
    block: int
    id: uuid.UUID
    state: State
    values: tuple[Any, ...]
    other: uuid.UUID | None = None
    """The dataset that is in its way."""


class UnsupportedError(Exception):
    """The release of lsst-daf-butler, or the database, is not what the statements here know; the text says why."""


@contextmanager
def staging(butler: Butler) -> Iterator[Staging]:
    """Keep a connection on which datasets can be staged.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Yields
    ------
    staging : `Staging`
        Its temporary tables.

    Raises
    ------
    UnsupportedError
        Raised where the repository does not allow it.
    """
    try:
        database = butler._registry._db  # type: ignore[attr-defined]
        driver = f"{database.dialect.name}+{database.dialect.driver}"
        if driver not in _DRIVERS:
            raise UnsupportedError(f"the driver {driver} is not known")
        made = _DRIVERS[driver](butler, database)
    except AttributeError as error:
        raise UnsupportedError(f"this release of lsst-daf-butler is another: {error}") from error
    try:
        yield made
    finally:
        made.end()


class Staging:
    """Temporary tables of datasets, beside the tables of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    database : `lsst.daf.butler.registry.interfaces.Database`
        Its database.
    """

    def __init__(self, butler: Butler, database: Any) -> None:
        self._butler = butler
        self._database = database
        managers = butler._registry._managers  # type: ignore[attr-defined]
        if managers.obscore is not None:
            raise UnsupportedError("the repository keeps an ObsCore table")
        if getattr(managers.datasets, "_renames", None):
            raise UnsupportedError("butler.yaml renames dataset types")
        if not supports_temporary_tables(butler):
            raise UnsupportedError("butler.yaml, or the login of the database, allows no temporary tables")
        if database._session_connection is not None:
            raise UnsupportedError("a session is open already")
        self._quote = database.dialect.identifier_preparer.quote
        static = managers.datasets._static
        self._schema = static.dataset.schema
        records = getattr(file_datastore(butler), "_table", None)
        self._tables = {
            "dataset": static.dataset.name,
            "dataset_type": static.dataset_type.name,
            "dataset_location": "dataset_location",
            "collection": "collection",
            **({} if records is None else {"records": records._table.name}),
        }
        self._staged: dict[DimensionGroup, str] = {}
        self._blocks: list[tuple[str, str]] = []
        self._tags: dict[DimensionGroup, str] = {}
        self._own: sqlalchemy.Connection = database._engine.connect()
        try:
            self._check()
        except BaseException:
            self.end()
            raise

    def _check(self) -> None:
        """Raise `UnsupportedError` if the database is not what the statements here know."""
        for table, name in self._tables.items():
            found = self._columns(name)
            if not found >= _COLUMNS[table] or (table in _COMPLETE and found != _COLUMNS[table]):
                raise UnsupportedError(f"table {name} has other columns than those that are known")
        try:
            self._make_blocks()
        except sqlalchemy.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            raise UnsupportedError(f"the database says: {str(error.orig).strip()}") from error

    def _columns(self, table: str) -> set[str]:
        with self._connection() as connection:
            try:
                columns = sqlalchemy.inspect(connection).get_columns(table, schema=self._schema)
            except sqlalchemy.exc.NoSuchTableError:
                return set()
        return {column["name"] for column in columns}

    # For each driver

    uuid_type: str

    def _load(self, connection: sqlalchemy.Connection, table: str, columns: str, rows: Any) -> None:
        """Insert rows, tuples of the columns, into a table."""
        raise NotImplementedError

    def _analyze(self, connection: sqlalchemy.Connection, table: str) -> None:
        """Let the server know what a temporary table holds."""

    @contextmanager
    def inserting(self, n_new: int, n_records: int, *, exclusive: bool) -> Iterator[None]:
        """Be about to insert datasets and datastore records, in the transaction that has just begun.

        Parameters
        ----------
        n_new, n_records : `int`
            About how many there are.
        exclusive : `bool`
            Other sessions may wait for the tables.
        """
        yield

    # Names

    def _table(self, table: str) -> str:
        return self._qualified(self._tables.get(table, table))

    def _qualified(self, name: str) -> str:
        quoted: str = self._quote(name)
        return quoted if self._schema is None else f"{self._quote(self._schema)}.{quoted}"

    def _names(self, dimensions: DimensionGroup, prefix: str = "") -> str:
        return "".join(f", {prefix}{self._quote(name)}" for name in dimensions.required)

    def _same(self, dimensions: DimensionGroup) -> str:
        """Condition that the data IDs of ``s`` and ``t`` are the same."""
        return "".join(f" AND t.{self._quote(n)} = s.{self._quote(n)}" for n in dimensions.required)

    @contextmanager
    def _connection(self) -> Iterator[sqlalchemy.Connection]:
        if self._own.in_transaction():
            yield self._own
        else:
            with self._own.begin():
                yield self._own

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Let transactions of the butler have the connection with the temporary tables."""
        self._database._session_connection = self._own
        try:
            yield
        finally:
            self._database._session_connection = None

    def _rows(self, sql: str, **values: Any) -> list[Any]:
        with self._connection() as connection:
            return list(connection.execute(sqlalchemy.text(sql), values).all())

    # Staging

    def begin(self, blocks: Sequence[tuple[str, str]]) -> None:
        """Begin with another export.

        Parameters
        ----------
        blocks : `~collections.abc.Sequence` [ `tuple` [ `str`, `str` ] ]
            Dataset type and run of each block, which are different.
        """
        self.close()
        self._blocks = list(blocks)

    def close(self) -> None:
        """Drop the temporary tables."""
        if self._own.invalidated:
            # They are gone, and a new connection would be of no use.
            return
        try:
            with self._connection() as connection:
                for table in (*self._staged.values(), _BLOCKS):
                    connection.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS {table}"))
        except sqlalchemy.exc.SQLAlchemyError:
            # The connection is gone, and they with it.
            pass
        self._staged.clear()

    def end(self) -> None:
        """Give up the connection."""
        # Not back into the pool, where the temporary tables would stay.
        self._own.invalidate()
        self._own.close()

    def add(self, dimensions: DimensionGroup, rows: Sequence[StagedRow]) -> None:
        """Stage datasets.

        Parameters
        ----------
        dimensions : `lsst.daf.butler.DimensionGroup`
            Dimensions of their dataset types.
        rows : `~collections.abc.Sequence` [ `StagedRow` ]
            The datasets.
        """
        with self._connection() as connection:
            if dimensions not in self._staged:
                table = self._staged[dimensions] = f"dc2_replica_staged_{len(self._staged)}"
                types = {
                    name: dimensions.universe.dimensions[name].primaryKey.getPythonType()
                    for name in dimensions.required
                }
                columns = "".join(
                    f", {self._quote(name)} {'BIGINT' if kind is int else 'TEXT'} NOT NULL"
                    for name, kind in types.items()
                )
                connection.execute(
                    sqlalchemy.text(
                        f"CREATE TEMPORARY TABLE {table} (_n BIGINT NOT NULL, _block INTEGER NOT NULL, "
                        f"_id {self.uuid_type} NOT NULL, _state SMALLINT DEFAULT {State.NEW:d}, "
                        f"_first SMALLINT DEFAULT 0{columns})"
                    )
                )
            columns = f"_n, _block, _id{self._names(dimensions)}"
            self._load(connection, self._staged[dimensions], columns, (row[:-1] + row[-1] for row in rows))

    def refresh(self, *, analyze: bool = True) -> None:
        """Look up dataset types and runs, which may have been registered meanwhile."""
        with self._connection() as connection:
            self._make_blocks()
            types = self._lookup(
                "dataset_type", "name, id, tag_association_table", {t for t, _ in self._blocks}
            )
            runs = self._lookup("collection", "name, collection_id", {run for _, run in self._blocks})
            rows = [
                (number, types[dataset_type][0], runs[run][0])
                for number, (dataset_type, run) in enumerate(self._blocks)
                if dataset_type in types and run in runs
            ]
            self._load(connection, _BLOCKS, "block, type_id, run_id", rows)
            self._tags = {}
            for name, (_, tags) in types.items():
                dimensions = self._butler.get_dataset_type(name).dimensions
                expected = {"dataset_type_id", "dataset_id", "collection_id", *dimensions.required}
                if dimensions not in self._tags:
                    if self._columns(tags) != expected:
                        raise UnsupportedError(f"table {tags} has other columns than those that are known")
                    self._tags[dimensions] = self._qualified(tags)
            if analyze:
                for table in self._staged.values():
                    self._analyze(connection, table)

    def _make_blocks(self) -> None:
        with self._connection() as connection:
            connection.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS {_BLOCKS}"))
            connection.execute(
                sqlalchemy.text(
                    f"CREATE TEMPORARY TABLE {_BLOCKS} "
                    "(block INTEGER PRIMARY KEY, type_id BIGINT NOT NULL, run_id BIGINT NOT NULL)"
                )
            )

    def _lookup(self, table: str, columns: str, names: Iterable[str]) -> dict[str, Sequence[Any]]:
        found: dict[str, Sequence[Any]] = {}
        for chunk in _chunks(sorted(names)):
            sql = sqlalchemy.text(
                f"SELECT {columns} FROM {self._table(table)} WHERE name IN :names"
            ).bindparams(sqlalchemy.bindparam("names", expanding=True))
            with self._connection() as connection:
                found.update((row[0], row[1:]) for row in connection.execute(sql, {"names": chunk}))
        return found

    # Comparing

    def _datasets(self, dimensions: DimensionGroup, sql: str, **values: Any) -> list[StagedDataset]:
        n = len(dimensions.required)
        return [
            StagedDataset(
                row[0],
                row[1],
                _as_uuid(row[2]),
                State(row[3]),
                tuple(row[4 : 4 + n]),
                _as_uuid(row[4 + n]) if len(row) > 4 + n else None,
            )
            for row in self._rows(sql, **values)
        ]

    def _each(self, sql: str, **values: Any) -> Iterator[StagedDataset]:
        """Run a query that selects from ``s`` (staged) on each table: ``{fields}`` are those of a dataset."""
        for dimensions, table in self._staged.items():
            fields = f"s._n, s._block, s._id, s._state{self._names(dimensions, 's.')}"
            tags = self._tags.get(dimensions)
            if tags is None and "{tags}" in sql:
                continue
            filled = sql.format(
                fields=fields,
                staged=table,
                tags=tags,
                same=self._same(dimensions),
                names=self._names(dimensions),
                dataset=self._table("dataset"),
                blocks=_BLOCKS,
            )
            yield from self._datasets(dimensions, filled, **values)

    def contradiction(self) -> tuple[StagedDataset, StagedDataset] | None:
        """Return two datasets of the export that cannot both be: with the same data ID, type and run, or the same ID.

        What the export merely repeats is dropped.
        """
        if not self._has_repeated():
            return None
        same_data_id = self._each(
            "SELECT {fields} FROM {staged} s JOIN (SELECT _block{names} FROM {staged} "
            "GROUP BY _block{names} HAVING count(DISTINCT _id) > 1 LIMIT 1) t ON t._block = s._block{same} ORDER BY 1"
        )
        if found := sorted(same_data_id):
            one = found[0]
            same = (other for other in found if (other.block, other.values) == (one.block, one.values))
            return one, next(other for other in same if other.id != one.id)
        ids = []
        for dimensions, table in self._staged.items():
            differ = "".join(
                f" OR min({self._quote(n)}) <> max({self._quote(n)})" for n in dimensions.required
            )
            ids += self._rows(
                f"SELECT _id FROM {table} GROUP BY _id HAVING min(_block) <> max(_block){differ} LIMIT 1"
            )
        union = " UNION ALL ".join(f"SELECT DISTINCT _id FROM {table}" for table in self._staged.values())
        ids += self._rows(f"SELECT _id FROM ({union}) u GROUP BY _id HAVING count(*) > 1 LIMIT 1")
        if ids:
            found = sorted(self.datasets([_as_uuid(ids[0][0])]))
            return found[0], found[-1]
        for table in self._staged.values():
            self._rows_changed(
                f"DELETE FROM {table} WHERE _n NOT IN (SELECT min(_n) FROM {table} GROUP BY _id)"
            )
        return None

    def _has_repeated(self) -> bool:
        for dimensions, table in self._staged.items():
            keys = f"_block{self._names(dimensions)}"
            if self._rows(f"SELECT 1 FROM {table} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"):
                return True
        union = " UNION ALL ".join(f"SELECT _id FROM {table}" for table in self._staged.values())
        return bool(
            union and self._rows(f"SELECT 1 FROM ({union}) u GROUP BY _id HAVING count(*) > 1 LIMIT 1")
        )

    def _rows_changed(self, sql: str, **values: Any) -> int:
        with self._connection() as connection:
            return int(connection.execute(sqlalchemy.text(sql), values).rowcount)

    def conflicts(self) -> list[StagedDataset]:
        """Return datasets whose data ID has another dataset in the repository (some of each type)."""
        return list(
            self._each(
                "SELECT {fields}, t.dataset_id FROM {staged} s JOIN {blocks} b ON b.block = s._block "
                "JOIN {tags} t ON t.dataset_type_id = b.type_id AND t.collection_id = b.run_id{same} "
                "WHERE t.dataset_id <> s._id LIMIT 5"
            )
        )

    def taken(self) -> list[StagedDataset]:
        """Return datasets whose ID is that of something else in the repository (some of each type)."""
        return list(
            self._each(f"SELECT {{fields}} FROM {{staged}} s WHERE s._state = {State.TAKEN:d} LIMIT 5")
        )

    def compare(self) -> dict[tuple[int, State], int]:
        """Find out what is there.

        Returns
        -------
        counts : `dict` [ `tuple` [ `int`, `State` ], `int` ]
            Number of datasets by block and state.
        """
        counts: dict[tuple[int, State], int] = {}
        for dimensions, table in self._staged.items():
            joins, state = self._state_of(dimensions)
            found = {
                (block, State(value)): count
                for block, value, count in self._rows(
                    f"SELECT s._block, {state}, count(*) FROM {table} s {joins} GROUP BY 1, 2"
                )
            }
            counts.update(found)
            if {value for _, value in found} - {State.NEW}:
                self._rows_changed(
                    f"UPDATE {table} SET _state = x.state FROM "
                    f"(SELECT s._n, {state} AS state FROM {table} s {joins}) x WHERE x._n = {table}._n"
                    if len({value for _, value in found}) > 1
                    else f"UPDATE {table} SET _state = {next(iter(found))[1]:d}"
                )
        return counts

    def _state_of(self, dimensions: DimensionGroup) -> tuple[str, str]:
        """Return what has to be joined to ``s``, and the expression of its state."""
        tags = self._tags.get(dimensions)
        joins = (
            f"LEFT JOIN {_BLOCKS} b ON b.block = s._block "
            f"LEFT JOIN {self._table('dataset')} d ON d.id = s._id"
        )
        same = "b.block IS NOT NULL AND d.dataset_type_id = b.type_id AND d.run_id = b.run_id"
        if tags is None:
            same = "FALSE"
        else:
            joins += (
                f" LEFT JOIN {tags} t ON t.dataset_id = s._id AND t.collection_id = b.run_id"
                f"{self._same(dimensions)}"
            )
            same += " AND t.dataset_id IS NOT NULL"
        stored = "FALSE"
        if "records" in self._tables:
            stored = f"EXISTS (SELECT 1 FROM {self._table('records')} r WHERE r.dataset_id = s._id)"
        return joins, (
            f"CASE WHEN d.id IS NULL THEN {State.NEW:d} WHEN NOT ({same}) THEN {State.TAKEN:d} "
            f"WHEN {stored} THEN {State.STORED:d} ELSE {State.REGISTERED:d} END"
        )

    def recorded(self) -> Iterator[Sequence[tuple[int, str]]]:
        """Yield position and recorded path of the datasets that are stored, some thousand at a time."""
        records = self._tables.get("records")
        for table in self._staged.values() if records else ():
            with self._connection() as connection:
                result = connection.execute(
                    sqlalchemy.text(
                        f"SELECT s._n, r.path FROM {table} s JOIN {self._table('records')} r ON r.dataset_id = s._id "
                        f"WHERE s._state = {State.STORED:d} AND r.component = '{NULLSTR}' ORDER BY s._n"
                    ),
                    execution_options={"stream_results": True},
                )
                for rows in result.partitions(_LOADED):
                    yield [(row[0], row[1]) for row in rows]

    def forget_records(self) -> None:
        """Remove what the datastore has of datasets that are `State.REGISTERED`, complete or not."""
        for table in ("records", "dataset_location"):
            for staged in self._staged.values():
                self._rows_changed(
                    f"DELETE FROM {self._table(table)} WHERE dataset_id IN "
                    f"(SELECT _id FROM {staged} WHERE _state = {State.REGISTERED:d})"
                )

    def set_states(self, numbers: Mapping[State, Sequence[int]]) -> None:
        """Change the state of some datasets.

        Parameters
        ----------
        numbers : `~collections.abc.Mapping` [ `State`, `~collections.abc.Sequence` [ `int` ] ]
            Positions in the export by new state.
        """
        if not any(numbers.values()):
            return
        with self._connection() as connection:
            connection.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS {_CHANGES}"))
            connection.execute(
                sqlalchemy.text(f"CREATE TEMPORARY TABLE {_CHANGES} (n BIGINT PRIMARY KEY, state SMALLINT)")
            )
            for state, listed in numbers.items():
                for begin in range(0, len(listed), _LOADED):
                    rows = [(n, int(state)) for n in listed[begin : begin + _LOADED]]
                    self._load(connection, _CHANGES, "n, state", rows)
            for table in self._staged.values():
                self._rows_changed(
                    f"UPDATE {table} SET _state = c.state FROM {_CHANGES} c WHERE c.n = {table}._n"
                )
            connection.execute(sqlalchemy.text(f"DROP TABLE {_CHANGES}"))

    def states(self, n: int) -> NDArray[np.uint8]:
        """Return the state of each dataset of the export by its position.

        Parameters
        ----------
        n : `int`
            Number of datasets.

        Returns
        -------
        states : `numpy.ndarray`, (n,)
            Values of `State`; ``LEFT_OUT`` for those that are not staged.
        """
        states = np.full(n, State.LEFT_OUT, dtype=np.uint8)
        for table in self._staged.values():
            with self._connection() as connection:
                result = connection.execute(
                    sqlalchemy.text(f"SELECT _n, _state FROM {table}"),
                    execution_options={"stream_results": True},
                )
                for rows in result.partitions(10_000):
                    pairs = np.array([tuple(row) for row in rows], dtype=np.int64)
                    states[pairs[:, 0]] = pairs[:, 1]
        return states

    def datasets(self, ids: Sequence[uuid.UUID]) -> list[StagedDataset]:
        """Return those of some datasets that are staged."""
        found: list[StagedDataset] = []
        for chunk in _chunks(ids):
            listed = ", ".join(f"'{one.hex}'" for one in chunk)
            found += self._each(f"SELECT {{fields}} FROM {{staged}} s WHERE s._id IN ({listed})")
        return found

    # Inserting

    def first_datasets(self) -> list[StagedDataset]:
        """Return a new dataset of each block and its governor dimensions: those that the butler is to insert."""
        found: list[StagedDataset] = []
        for dimensions, table in self._staged.items():
            governors = "".join(
                f", {self._quote(n)}" for n in dimensions.governors if n in dimensions.required
            )
            found += self._datasets(
                dimensions,
                f"SELECT _n, _block, _id, _state{self._names(dimensions)} FROM {table} WHERE _n IN "
                f"(SELECT min(_n) FROM {table} WHERE _state IN ({_INSERTED}) GROUP BY _block{governors})",
            )
        return sorted(found)

    def insert(self, firsts: Mapping[int, Sequence[DatasetRef]]) -> None:
        """Insert the new datasets.

        Parameters
        ----------
        firsts : `~collections.abc.Mapping` [ `int`, `~collections.abc.Sequence` ]
            Those of `first_datasets`, by block.
        """
        if not firsts:
            return
        for refs in firsts.values():
            insert_datasets(self._butler, refs)
        ids = [ref.id for refs in firsts.values() for ref in refs]
        for table in self._staged.values():
            for chunk in _chunks(ids):
                listed = ", ".join(f"'{one.hex}'" for one in chunk)
                self._rows_changed(f"UPDATE {table} SET _first = 1 WHERE _id IN ({listed})")
        dataset = self._table("dataset")
        with self._connection():
            for table in self._staged.values():
                self._rows_changed(
                    f"INSERT INTO {dataset} (id, dataset_type_id, run_id, ingest_date) "
                    f"SELECT s._id, b.type_id, b.run_id, "
                    f"(SELECT ingest_date FROM {dataset} WHERE id = '{ids[0].hex}') "
                    f"FROM {table} s JOIN {_BLOCKS} b ON b.block = s._block "
                    f"WHERE s._first = 0 AND s._state IN ({_INSERTED})"
                )
            for dimensions, table in self._staged.items():
                tags = self._tags[dimensions]
                self._rows_changed(
                    f"INSERT INTO {tags} (dataset_type_id, dataset_id, collection_id{self._names(dimensions)}) "
                    f"SELECT b.type_id, s._id, b.run_id{self._names(dimensions, 's.')} "
                    f"FROM {table} s JOIN {_BLOCKS} b ON b.block = s._block "
                    f"WHERE s._first = 0 AND s._state IN ({_INSERTED})"
                )

    def insert_records(self, records: Iterable[Sequence[tuple[str, str, str, str, int]]]) -> None:
        """Tell the datastore of the artifacts of datasets that it does not know.

        Parameters
        ----------
        records : `~collections.abc.Iterable`
            In chunks: dataset ID, path, formatter, storage class, and size in
            bytes, of every dataset that is new or registered and has an
            artifact.
        """
        pattern: tuple[str, Any, Any, Any] | None = None
        table = self._table("records")
        columns = "dataset_id, path, formatter, storage_class, file_size, component, checksum"
        with self._connection() as connection:
            for chunk in records:
                rows = chunk
                if pattern is None:
                    (first, *facts), rows = chunk[0], chunk[1:]
                    insert_artifact_records(self._butler, {uuid.UUID(first): tuple(facts)})  # type: ignore[dict-item]
                    component, checksum = self._rows(
                        f"SELECT component, checksum FROM {table} WHERE dataset_id = '{first}'"
                    )[0]
                    (datastore,) = self._rows(
                        f"SELECT datastore_name FROM {self._table('dataset_location')} "
                        f"WHERE dataset_id = '{first}'"
                    )[0]
                    pattern = first, datastore, component, checksum
                ends = pattern[2:]
                self._load(connection, table, columns, (row + ends for row in rows))
            if pattern is None:
                return
            location = self._table("dataset_location")
            for staged in self._staged.values():
                self._rows_changed(
                    f"INSERT INTO {location} (datastore_name, dataset_id) SELECT :datastore, _id "
                    f"FROM {staged} WHERE _id <> '{pattern[0]}' "
                    f"AND _state IN ({State.NEW:d}, {State.REGISTERED:d}) AND EXISTS "
                    f"(SELECT 1 FROM {table} r WHERE r.dataset_id = {staged}._id)",
                    datastore=pattern[1],
                )


def _as_uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


class _PostgresStaging(Staging):
    uuid_type = "UUID"

    def _load(self, connection: sqlalchemy.Connection, table: str, columns: str, rows: Any) -> None:
        text = io.StringIO("".join(["\t".join(map(_copy_text, row)) + "\n" for row in rows]))
        cursor = connection.connection.cursor()
        statement = f"COPY {table} ({columns}) FROM STDIN"
        try:
            cursor.copy_expert(statement, text)
        except connection.dialect.loaded_dbapi.Error as error:
            # As SQLAlchemy raises it, for those who say what to do about it.
            raise sqlalchemy.exc.DBAPIError(statement, None, error) from error

    def _analyze(self, connection: sqlalchemy.Connection, table: str) -> None:
        connection.execute(sqlalchemy.text(f"ANALYZE {table}"))

    @override
    @contextmanager
    def inserting(self, n_new: int, n_records: int, *, exclusive: bool) -> Iterator[None]:
        types = self._lookup(
            "dataset_type", "name, tag_association_table", {name for name, _ in self._blocks}
        )
        of_datasets = ["dataset", *sorted({tags for (tags,) in types.values()})]
        counts = dict.fromkeys(of_datasets, n_new) | dict.fromkeys(("records", "dataset_location"), n_records)
        tables = [self._table(name) for name, count in counts.items() if self._is_much(name, count)]
        if not tables:
            yield
            return
        with (
            self._connection() as connection,
            foreign_keys_at_end(connection, tables, exclusive=exclusive),
        ):
            yield

    def _is_much(self, table: str, n_new: int) -> bool:
        """Whether that many rows are many beside those that a table has."""
        if n_new < _CHECK_AT_END:
            return False
        size = self._rows("SELECT pg_relation_size(CAST(:name AS regclass))", name=self._table(table))
        return int(size[0][0]) <= n_new * _TABLE_RATIO * _ROW_BYTES


class _SqliteStaging(Staging):
    uuid_type = "CHAR(32)"

    def _load(self, connection: sqlalchemy.Connection, table: str, columns: str, rows: Any) -> None:
        places = ", ".join("?" * (columns.count(",") + 1))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"
        try:
            connection.connection.cursor().executemany(statement, rows)
        except connection.dialect.loaded_dbapi.Error as error:
            raise sqlalchemy.exc.DBAPIError(statement, None, error) from error


_DRIVERS: dict[str, type[Staging]] = {
    "postgresql+psycopg2": _PostgresStaging,
    "sqlite+pysqlite": _SqliteStaging,
}

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _copy_text(value: Any) -> str:
    """Write a value as PostgreSQL's COPY reads it."""
    if value is None:
        return r"\N"
    if type(value) is str:
        return value.translate(_ESCAPES) if _needs_escape(value) else value
    return str(value)


def _needs_escape(value: str) -> bool:
    return "\\" in value or "\t" in value or "\n" in value or "\r" in value
