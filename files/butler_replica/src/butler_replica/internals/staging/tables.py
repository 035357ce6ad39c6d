"""Temporary tables with the datasets of an export, beside the tables of a repository."""

from __future__ import annotations

__all__ = ["BLOCKS_TABLE", "StagedTables", "as_uuid"]

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import sqlalchemy.exc
from lsst.daf.butler import Butler, DimensionGroup
from lsst.utils.iteration import chunk_iterable
from numpy.typing import NDArray

from .model import StagedDataset, StagedRow, State, UnsupportedError
from .repository import MAX_IN, RepositoryTables

BLOCKS_TABLE = "dc2_replica_blocks"
"""Temporary table with the dataset type and run of each block that are registered."""

_CHANGES_TABLE = "dc2_replica_changes"

_LOAD_BATCH = 10_000
"""Rows that are loaded at a time."""


class StagedTables:
    """Temporary tables with the datasets of one export after the other.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    repository : `RepositoryTables`
        Its tables.

    Raises
    ------
    UnsupportedError
        Raised where the database makes no temporary table.
    """

    def __init__(self, butler: Butler, repository: RepositoryTables) -> None:
        self._butler = butler
        self.repository = repository
        self.groups: list[tuple[str, str]] = []
        """Dataset type and run of each block."""

        self.tables: dict[DimensionGroup, str] = {}
        """The temporary table of each group of dimensions."""

        self.tags: dict[DimensionGroup, str] = {}
        """The table of the repository with the data IDs of a group; none before a dataset type is registered."""

        try:
            self._make_blocks()
        except sqlalchemy.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            raise UnsupportedError(f"the database says: {str(error.orig).strip()}") from error

    def begin(self, groups: Sequence[tuple[str, str]]) -> None:
        """Begin with another export.

        Parameters
        ----------
        groups : `~collections.abc.Sequence` [ `tuple` [ `str`, `str` ] ]
            Dataset type and run of each block, which are different.
        """
        self.close()
        self.groups = list(groups)

    def close(self) -> None:
        """Drop the temporary tables."""
        if self.repository.is_lost:
            # They are gone, and a new connection would be of no use.
            return
        # Where the connection is gone, they are.
        with suppress(sqlalchemy.exc.SQLAlchemyError), self.repository.connection():
            for table in (*self.tables.values(), BLOCKS_TABLE):
                self.repository.change(f"DROP TABLE IF EXISTS {table}")
        self.tables.clear()

    def add(self, dimensions: DimensionGroup, rows: Sequence[StagedRow]) -> None:
        """Stage datasets.

        Parameters
        ----------
        dimensions : `lsst.daf.butler.DimensionGroup`
            Dimensions of their dataset types.
        rows : `~collections.abc.Sequence` [ `StagedRow` ]
            The datasets.
        """
        with self.repository.connection():
            if dimensions not in self.tables:
                self._make_table(dimensions)
            columns = ["_n", "_block", "_id", *dimensions.required]
            self.repository.load(self.tables[dimensions], columns, (row[:-1] + row[-1] for row in rows))

    def _make_table(self, dimensions: DimensionGroup) -> None:
        table = self.tables[dimensions] = f"dc2_replica_staged_{len(self.tables)}"
        columns = "".join(
            f", {self.repository.quote(name)} {'BIGINT' if _is_integer(dimensions, name) else 'TEXT'} NOT NULL"
            for name in dimensions.required
        )
        self.repository.change(
            f"CREATE TEMPORARY TABLE {table} (_n BIGINT NOT NULL, _block INTEGER NOT NULL, "
            f"_id {self.repository.driver.uuid_type} NOT NULL, _state SMALLINT DEFAULT {State.NEW:d}, "
            f"_first SMALLINT DEFAULT 0{columns})"
        )

    def refresh(self, *, analyze: bool = True) -> None:
        """Look up dataset types and runs, which may have been registered meanwhile."""
        with self.repository.connection() as connection:
            self._make_blocks()
            types = self.repository.lookup(
                "dataset_type", "id, tag_association_table", {name for name, _ in self.groups}
            )
            runs = self.repository.lookup("collection", "collection_id", {run for _, run in self.groups})
            rows = [
                (number, types[dataset_type][0], runs[run][0])
                for number, (dataset_type, run) in enumerate(self.groups)
                if dataset_type in types and run in runs
            ]
            self.repository.load(BLOCKS_TABLE, ["block", "type_id", "run_id"], rows)
            self._find_tags({name: tags for name, (_, tags) in types.items()})
            for table in self.tables.values() if analyze else ():
                self.repository.driver.analyze(connection, table)

    def _make_blocks(self) -> None:
        with self.repository.connection():
            self.repository.change(f"DROP TABLE IF EXISTS {BLOCKS_TABLE}")
            self.repository.change(
                f"CREATE TEMPORARY TABLE {BLOCKS_TABLE} "
                "(block INTEGER PRIMARY KEY, type_id BIGINT NOT NULL, run_id BIGINT NOT NULL)"
            )

    def _find_tags(self, tags_of_types: Mapping[str, str]) -> None:
        self.tags = {}
        for name, tags in tags_of_types.items():
            dimensions = self._butler.get_dataset_type(name).dimensions
            expected = {"dataset_type_id", "dataset_id", "collection_id", *dimensions.required}
            if dimensions not in self.tags:
                if self.repository.columns(tags) != expected:
                    raise UnsupportedError(f"table {tags} has other columns than those that are known")
                self.tags[dimensions] = self.repository.named(tags)

    # What is staged

    def listed(self, dimensions: DimensionGroup, prefix: str = "") -> str:
        """Return the required dimensions as the end of a list of columns."""
        return "".join(f", {prefix}{self.repository.quote(name)}" for name in dimensions.required)

    def same_data_id(self, dimensions: DimensionGroup) -> str:
        """Return the condition that the data IDs of ``s`` and ``t`` are the same, as the end of others."""
        quoted = map(self.repository.quote, dimensions.required)
        return "".join(f" AND t.{name} = s.{name}" for name in quoted)

    def select(self, sql: str) -> list[StagedDataset]:
        """Return the datasets that a query finds in each of the temporary tables.

        Parameters
        ----------
        sql : `str`
            Selects ``{fields}`` from ``{staged} s``, and maybe the dataset
            that is in the way; ``{blocks}`` and ``{tags}`` are the other
            tables, ``{names}``, ``{same}`` and ``{governors}`` speak of the
            dimensions. Where it names ``{tags}``, tables of dimensions of
            which no dataset type is registered are passed over.

        Returns
        -------
        datasets : `list` [ `StagedDataset` ]
            What it finds, table by table.
        """
        found: list[StagedDataset] = []
        for dimensions, table in self.tables.items():
            tags = self.tags.get(dimensions)
            if tags is None and "{tags}" in sql:
                continue
            governors = (name for name in dimensions.governors if name in dimensions.required)
            filled = sql.format(
                fields=f"s._n, s._block, s._id, s._state{self.listed(dimensions, 's.')}",
                staged=table,
                blocks=BLOCKS_TABLE,
                tags=tags,
                names=self.listed(dimensions),
                same=self.same_data_id(dimensions),
                governors="".join(f", {self.repository.quote(name)}" for name in governors),
            )
            n = len(dimensions.required)
            found += [_dataset(row, n) for row in self.repository.rows(filled)]
        return found

    def datasets(self, ids: Iterable[uuid.UUID]) -> list[StagedDataset]:
        """Return those of some datasets that are staged."""
        found: list[StagedDataset] = []
        for chunk in chunk_iterable(ids, MAX_IN):
            listed = ", ".join(f"'{one.hex}'" for one in chunk)
            found += self.select(f"SELECT {{fields}} FROM {{staged}} s WHERE s._id IN ({listed})")
        return found

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
        for table in self.tables.values():
            for rows in self.repository.stream(f"SELECT _n, _state FROM {table}"):
                pairs = np.array([tuple(row) for row in rows], dtype=np.int64)
                states[pairs[:, 0]] = pairs[:, 1]
        return states

    def set_states(self, numbers: Mapping[State, Sequence[int]]) -> None:
        """Change the state of some datasets.

        Parameters
        ----------
        numbers : `~collections.abc.Mapping` [ `State`, `~collections.abc.Sequence` [ `int` ] ]
            Positions in the export by new state.
        """
        if not any(numbers.values()):
            return
        with self.repository.connection():
            self.repository.change(f"DROP TABLE IF EXISTS {_CHANGES_TABLE}")
            self.repository.change(
                f"CREATE TEMPORARY TABLE {_CHANGES_TABLE} (n BIGINT PRIMARY KEY, state SMALLINT)"
            )
            for state, changed in numbers.items():
                for chunk in chunk_iterable(changed, _LOAD_BATCH):
                    self.repository.load(_CHANGES_TABLE, ["n", "state"], [(n, int(state)) for n in chunk])
            for table in self.tables.values():
                self.repository.change(
                    f"UPDATE {table} SET _state = c.state FROM {_CHANGES_TABLE} c WHERE c.n = {table}._n"
                )
            self.repository.change(f"DROP TABLE {_CHANGES_TABLE}")


def as_uuid(value: Any) -> uuid.UUID:
    """Return a dataset ID as the databases give it."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))


def _is_integer(dimensions: DimensionGroup, name: str) -> bool:
    return dimensions.universe.dimensions[name].primaryKey.getPythonType() is int


def _dataset(row: Sequence[Any], n_values: int) -> StagedDataset:
    number, block, dataset_id, state, *rest = row
    other = as_uuid(rest[n_values]) if len(rest) > n_values else None
    return StagedDataset(number, block, as_uuid(dataset_id), State(state), tuple(rest[:n_values]), other)
