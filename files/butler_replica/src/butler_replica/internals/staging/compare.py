"""Comparing staged datasets with each other and with those of the repository."""

from __future__ import annotations

__all__ = ["StagedComparison"]

import uuid
from collections.abc import Iterator, Sequence

from lsst.daf.butler import DimensionGroup
from lsst.daf.butler.datastore.stored_file_info import NULLSTR

from .model import StagedDataset, State
from .tables import BLOCKS_TABLE, StagedTables, as_uuid

_MAX_EXAMPLES = 5
"""Datasets of each group of dimensions that a contradiction to the repository is shown by."""


class StagedComparison:
    """Finds out which of the staged datasets are there, and which are in the way of others.

    Parameters
    ----------
    staged : `StagedTables`
        The datasets.
    """

    def __init__(self, staged: StagedTables) -> None:
        self._staged = staged
        self._repository = staged.repository

    # Within the export

    def contradiction(self) -> tuple[StagedDataset, StagedDataset] | None:
        """Return two datasets of the export that cannot both be: with the same data ID, type and run, or the same ID.

        What the export merely repeats is dropped.
        """
        if not self._has_repeated():
            return None
        found = self._with_one_data_id() or self._with_one_id()
        if found is None:
            self._drop_repeated()
        return found

    def _has_repeated(self) -> bool:
        """Whether a data ID of a type and run, or an ID, is there more than once."""
        for dimensions, table in self._staged.tables.items():
            keys = f"_block{self._staged.listed(dimensions)}"
            if self._repository.rows(f"SELECT 1 FROM {table} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"):
                return True
        return bool(self._repeated_ids("SELECT _id"))

    def _repeated_ids(self, select: str) -> list[uuid.UUID]:
        """Return an ID that is more than once in what is selected from the tables, if there is one."""
        union = " UNION ALL ".join(f"{select} FROM {table}" for table in self._staged.tables.values())
        sql = f"SELECT _id FROM ({union}) u GROUP BY _id HAVING count(*) > 1 LIMIT 1"
        return [as_uuid(row[0]) for row in self._repository.rows(sql)] if union else []

    def _with_one_data_id(self) -> tuple[StagedDataset, StagedDataset] | None:
        found = sorted(
            self._staged.select(
                "SELECT {fields} FROM {staged} s JOIN (SELECT _block{names} FROM {staged} GROUP BY _block{names} "
                "HAVING count(DISTINCT _id) > 1 LIMIT 1) t ON t._block = s._block{same}"
            )
        )
        if not found:
            return None
        one = found[0]
        same = (other for other in found if (other.block, other.values) == (one.block, one.values))
        return one, next(other for other in same if other.id != one.id)

    def _with_one_id(self) -> tuple[StagedDataset, StagedDataset] | None:
        ids = [*self._ids_of_different(), *self._repeated_ids("SELECT DISTINCT _id")]
        if not ids:
            return None
        found = sorted(self._staged.datasets(ids[:1]))
        return found[0], found[-1]

    def _ids_of_different(self) -> Iterator[uuid.UUID]:
        """Yield an ID of each table that different datasets have, if there is one."""
        for dimensions, table in self._staged.tables.items():
            quoted = map(self._repository.quote, dimensions.required)
            differ = "".join(f" OR min({name}) <> max({name})" for name in quoted)
            for row in self._repository.rows(
                f"SELECT _id FROM {table} GROUP BY _id HAVING min(_block) <> max(_block){differ} LIMIT 1"
            ):
                yield as_uuid(row[0])

    def _drop_repeated(self) -> None:
        for table in self._staged.tables.values():
            self._repository.change(
                f"DELETE FROM {table} WHERE _n NOT IN (SELECT min(_n) FROM {table} GROUP BY _id)"
            )

    # With the repository

    def compare(self) -> dict[tuple[int, State], int]:
        """Find out what is there.

        Returns
        -------
        counts : `dict` [ `tuple` [ `int`, `State` ], `int` ]
            Number of datasets by block and state.
        """
        counts: dict[tuple[int, State], int] = {}
        for dimensions, table in self._staged.tables.items():
            joins, state = self._state_of(dimensions)
            found = {
                (block, State(value)): count
                for block, value, count in self._repository.rows(
                    f"SELECT s._block, {state}, count(*) FROM {table} s {joins} GROUP BY 1, 2"
                )
            }
            counts.update(found)
            states = {value for _, value in found}
            if len(states) > 1:
                self._repository.change(
                    f"UPDATE {table} SET _state = x.state FROM "
                    f"(SELECT s._n, {state} AS state FROM {table} s {joins}) x WHERE x._n = {table}._n"
                )
            elif states - {State.NEW}:
                self._repository.change(f"UPDATE {table} SET _state = {states.pop():d}")
        return counts

    def _state_of(self, dimensions: DimensionGroup) -> tuple[str, str]:
        """Return what has to be joined to ``s``, and the expression of its state."""
        tags = self._staged.tags.get(dimensions)
        joins = (
            f"LEFT JOIN {BLOCKS_TABLE} b ON b.block = s._block "
            f"LEFT JOIN {self._repository.named('dataset')} d ON d.id = s._id"
        )
        same = "FALSE"
        if tags is not None:
            joins += (
                f" LEFT JOIN {tags} t ON t.dataset_id = s._id AND t.collection_id = b.run_id"
                f"{self._staged.same_data_id(dimensions)}"
            )
            same = (
                "b.block IS NOT NULL AND d.dataset_type_id = b.type_id AND d.run_id = b.run_id "
                "AND t.dataset_id IS NOT NULL"
            )
        stored = "FALSE"
        if self._repository.has_records:
            stored = (
                f"EXISTS (SELECT 1 FROM {self._repository.named('records')} r WHERE r.dataset_id = s._id)"
            )
        return joins, (
            f"CASE WHEN d.id IS NULL THEN {State.NEW:d} WHEN NOT ({same}) THEN {State.TAKEN:d} "
            f"WHEN {stored} THEN {State.STORED:d} ELSE {State.REGISTERED:d} END"
        )

    def taken(self) -> list[StagedDataset]:
        """Return datasets whose ID is that of something else in the repository (some of each type)."""
        return self._staged.select(
            f"SELECT {{fields}} FROM {{staged}} s WHERE s._state = {State.TAKEN:d} LIMIT {_MAX_EXAMPLES}"
        )

    def conflicts(self) -> list[StagedDataset]:
        """Return datasets whose data ID has another dataset in the repository (some of each type)."""
        return self._staged.select(
            "SELECT {fields}, t.dataset_id FROM {staged} s JOIN {blocks} b ON b.block = s._block "
            "JOIN {tags} t ON t.dataset_type_id = b.type_id AND t.collection_id = b.run_id{same} "
            f"WHERE t.dataset_id <> s._id LIMIT {_MAX_EXAMPLES}"
        )

    def recorded(self) -> Iterator[Sequence[tuple[int, str]]]:
        """Yield position and recorded path of the datasets that are stored, some thousand at a time."""
        if not self._repository.has_records:
            return
        records = self._repository.named("records")
        for table in self._staged.tables.values():
            for rows in self._repository.stream(
                f"SELECT s._n, r.path FROM {table} s JOIN {records} r ON r.dataset_id = s._id "
                f"WHERE s._state = {State.STORED:d} AND r.component = '{NULLSTR}' ORDER BY s._n"
            ):
                yield [(row[0], row[1]) for row in rows]
