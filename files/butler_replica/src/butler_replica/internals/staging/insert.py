"""Inserting staged datasets and their datastore records; see the package `internals` for what is private here."""

from __future__ import annotations

__all__ = ["StagedInsertion"]

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lsst.daf.butler import Butler, DatasetRef
from lsst.utils.iteration import chunk_iterable

from ..datasets import insert_artifact_records, insert_datasets
from ..foreign_keys import foreign_keys_at_end
from .model import INSERTED_STATES, StagedDataset, State
from .repository import MAX_IN
from .tables import BLOCKS_TABLE, StagedTables

KEYS_AT_END_FROM = 2_000
"""Number of new rows from which foreign keys are checked at the end."""

_MAX_TABLE_RATIO = 40
"""Checking at the end looks at the whole table: not worth it where it is so many times larger than what is new."""

_ROW_BYTES = 100
"""About the size of a row in the tables of datasets."""

_ArtifactRecord = tuple[str, str, str, str, int]
"""Dataset ID, path, formatter, storage class, and size in bytes."""


class _Pattern(NamedTuple):
    """What the butler's own datastore record of a dataset has, beside what is known of each."""

    dataset_id: str
    datastore: str
    component: str | None
    checksum: str | None


class StagedInsertion:
    """Inserts staged datasets in a transaction of the butler.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    staged : `StagedTables`
        The datasets.
    """

    def __init__(self, butler: Butler, staged: StagedTables) -> None:
        self._butler = butler
        self._staged = staged
        self._repository = staged.repository

    @contextmanager
    def inserting(self, n_new: int, n_records: int, *, exclusive: bool) -> Iterator[None]:
        """Prepare tables for datasets and datastore records, in the transaction that has just begun.

        Parameters
        ----------
        n_new, n_records : `int`
            About how many there are.
        exclusive : `bool`
            Other sessions may wait for the tables.
        """
        tables = self._tables_that_get_much(n_new, n_records)
        if not tables:
            yield
            return
        with (
            self._repository.connection() as connection,
            foreign_keys_at_end(connection, tables, exclusive=exclusive),
        ):
            yield

    def _tables_that_get_much(self, n_new: int, n_records: int) -> list[str]:
        """Return the tables whose foreign keys are better checked at the end."""
        if not self._repository.driver.has_removable_keys:
            return []
        names = {name for name, _ in self._staged.groups}
        tags = self._repository.lookup("dataset_type", "tag_association_table", names)
        counts = dict.fromkeys(["dataset", *sorted({table for (table,) in tags.values()})], n_new)
        counts |= dict.fromkeys(("records", "dataset_location"), n_records)
        tables = {self._repository.named(name): count for name, count in counts.items()}
        return [table for table, count in tables.items() if self._is_much(table, count)]

    def _is_much(self, table: str, n_new: int) -> bool:
        """Whether that many rows are many beside those that a table has."""
        if n_new < KEYS_AT_END_FROM:
            return False
        size = self._repository.rows("SELECT pg_relation_size(CAST(:name AS regclass))", name=table)
        return int(size[0][0]) <= n_new * _MAX_TABLE_RATIO * _ROW_BYTES

    def first_datasets(self) -> list[StagedDataset]:
        """Return a new dataset of each block and its governor dimensions: those that the butler is to insert."""
        return sorted(
            self._staged.select(
                "SELECT {fields} FROM {staged} s WHERE s._n IN (SELECT min(_n) FROM {staged} "
                f"WHERE _state IN ({INSERTED_STATES}) GROUP BY _block{{governors}})"
            )
        )

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
        self._mark_inserted(ids)
        with self._repository.connection():
            self._insert_others(ids[0])
            self._insert_tags()

    def _mark_inserted(self, ids: Iterable[uuid.UUID]) -> None:
        for chunk in chunk_iterable(ids, MAX_IN):
            listed = ", ".join(f"'{one.hex}'" for one in chunk)
            for table in self._staged.tables.values():
                self._repository.change(f"UPDATE {table} SET _first = 1 WHERE _id IN ({listed})")

    def _insert_others(self, pattern: uuid.UUID) -> None:
        """Insert what the butler has not, after the pattern of a dataset that it has."""
        dataset = self._repository.named("dataset")
        for table in self._staged.tables.values():
            self._repository.change(
                f"INSERT INTO {dataset} (id, dataset_type_id, run_id, ingest_date) "
                f"SELECT s._id, b.type_id, b.run_id, "
                f"(SELECT ingest_date FROM {dataset} WHERE id = '{pattern.hex}') "
                f"FROM {table} s JOIN {BLOCKS_TABLE} b ON b.block = s._block "
                f"WHERE s._first = 0 AND s._state IN ({INSERTED_STATES})"
            )

    def _insert_tags(self) -> None:
        for dimensions, table in self._staged.tables.items():
            columns = f"dataset_type_id, dataset_id, collection_id{self._staged.listed(dimensions)}"
            self._repository.change(
                f"INSERT INTO {self._staged.tags[dimensions]} ({columns}) "
                f"SELECT b.type_id, s._id, b.run_id{self._staged.listed(dimensions, 's.')} "
                f"FROM {table} s JOIN {BLOCKS_TABLE} b ON b.block = s._block "
                f"WHERE s._first = 0 AND s._state IN ({INSERTED_STATES})"
            )

    def forget_records(self) -> None:
        """Remove what the datastore has of datasets that are ``State.REGISTERED``, complete or not."""
        for table in ("records", "dataset_location"):
            for staged in self._staged.tables.values():
                self._repository.change(
                    f"DELETE FROM {self._repository.named(table)} WHERE dataset_id IN "
                    f"(SELECT _id FROM {staged} WHERE _state = {State.REGISTERED:d})"
                )

    def insert_records(self, records: Iterable[Sequence[_ArtifactRecord]]) -> None:
        """Register the artifacts of datasets with the datastore.

        Parameters
        ----------
        records : `~collections.abc.Iterable`
            In chunks: dataset ID, path, formatter, storage class, and size in
            bytes, of every dataset that is new or registered and has an
            artifact.
        """
        pattern: _Pattern | None = None
        table = self._repository.named("records")
        columns = ["dataset_id", "path", "formatter", "storage_class", "file_size", "component", "checksum"]
        with self._repository.connection():
            for chunk in records:
                rows = chunk
                if pattern is None:
                    pattern, rows = self._first_record(chunk[0]), chunk[1:]
                ends = pattern.component, pattern.checksum
                self._repository.load(table, columns, (row + ends for row in rows))
            if pattern is not None:
                self._insert_locations(pattern)

    def _first_record(self, record: _ArtifactRecord) -> _Pattern:
        """Register the first artifact with the butler's own method, and return what that made."""
        first, *facts = record
        insert_artifact_records(self._butler, {uuid.UUID(first): tuple(facts)})  # type: ignore[dict-item]
        rows = self._repository.rows
        ((component, checksum),) = rows(
            f"SELECT component, checksum FROM {self._repository.named('records')} WHERE dataset_id = '{first}'"
        )
        ((datastore,),) = rows(
            f"SELECT datastore_name FROM {self._repository.named('dataset_location')} "
            f"WHERE dataset_id = '{first}'"
        )
        return _Pattern(first, datastore, component, checksum)

    def _insert_locations(self, pattern: _Pattern) -> None:
        for staged in self._staged.tables.values():
            self._repository.change(
                f"INSERT INTO {self._repository.named('dataset_location')} (datastore_name, dataset_id) "
                f"SELECT :datastore, _id FROM {staged} WHERE _id <> '{pattern.dataset_id}' "
                f"AND _state IN ({State.NEW:d}, {State.REGISTERED:d}) AND EXISTS "
                f"(SELECT 1 FROM {self._repository.named('records')} r WHERE r.dataset_id = {staged}._id)",
                datastore=pattern.datastore,
            )
