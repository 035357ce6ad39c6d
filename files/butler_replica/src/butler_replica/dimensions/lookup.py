"""Dimension records that data IDs need: of the export, else of the repository, else made."""

from __future__ import annotations

__all__ = ["LOOKUP_BATCH", "RecordLookup", "data_id_text", "stored_records"]

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lsst.daf.butler import (
    Butler,
    DataCoordinate,
    Dimension,
    DimensionElement,
    DimensionGroup,
    DimensionRecord,
)
from lsst.daf.butler.queries import Query
from lsst.utils.iteration import chunk_iterable

from .identity import OtherRecords
from .needed import NeededRecords

LOOKUP_BATCH = 10_000
"""Data IDs in one query."""


def data_id_text(data_id: DataCoordinate) -> str:
    """Write a data ID as in a message."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in data_id.required.items()) + "}"


def stored_records(
    butler: Butler, element: DimensionElement, data_ids: Sequence[DataCoordinate]
) -> dict[tuple[Any, ...], DimensionRecord]:
    """Return the records that a repository has for some data IDs.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    element : `lsst.daf.butler.DimensionElement`
        Dimension element.
    data_ids : `~collections.abc.Sequence` [ `lsst.daf.butler.DataCoordinate` ]
        Data IDs of records.

    Returns
    -------
    records : `dict`
        By the required values of their data IDs.
    """
    found: dict[tuple[Any, ...], DimensionRecord] = {}
    for chunk in chunk_iterable(data_ids, LOOKUP_BATCH):
        with butler.query() as query:
            for joined in _join(query, element, chunk):
                for record in joined.dimension_records(element.name):
                    found[record.dataId.required_values] = record
    return found


def _join(query: Query, element: DimensionElement, data_ids: Sequence[DataCoordinate]) -> Iterable[Query]:
    columns = (*element.metadata.names, *element.implied.names)
    if columns or element.spatial or element.temporal or not isinstance(element, Dimension):
        yield query.join_data_coordinates(data_ids)
        return
    # A record that is nothing but its key (group): the butler would answer
    # from the data IDs alone, without a look at the table.
    by_parent: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for data_id in data_ids:
        *parent, value = data_id.required_values
        by_parent[tuple(parent)].append(value)
    for key, values in by_parent.items():
        parents = dict(zip(element.required.names, key, strict=False))
        column = getattr(query.expression_factory, element.name)
        yield query.where(column.in_iterable(values), **parents)


class RecordLookup:
    """Dimension records: of the export, else of the repository, else made.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    records : `~collections.abc.Mapping` [ `str`, `list` ]
        Records of the export by element, those of the repository in their
        places where it has them.
    others : `~butler_replica.dimensions.identity.OtherRecords`
        Those of the export that datasets must not use.
    needed : `~butler_replica.dimensions.needed.NeededRecords`
        Gets those that neither has.
    """

    def __init__(
        self,
        butler: Butler,
        records: Mapping[str, list[DimensionRecord]],
        others: OtherRecords,
        needed: NeededRecords,
    ) -> None:
        self._butler = butler
        self._others = others
        self._needed = needed
        self._records: dict[str, dict[tuple[Any, ...], DimensionRecord]] = {
            element: {record.dataId.required_values: record for record in found}
            for element, found in records.items()
        }

    def rivals(
        self, element: DimensionElement, records: Iterable[DimensionRecord]
    ) -> Iterator[tuple[str, DimensionRecord, DimensionRecord]]:
        """Yield records that no database has beside one another.

        Two detectors of an instrument have different full names, two skymaps
        different hashes: alternate keys.

        Parameters
        ----------
        element : `lsst.daf.butler.DimensionElement`
            Dimension element.
        records : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
            New records of it.

        Yields
        ------
        column : `str`
            Alternate key.
        record, other : `lsst.daf.butler.DimensionRecord`
            A new record, and another one with the same value.
        """
        parents = [name for name in element.required.names if name != element.name]
        for column in (key.name for key in element.alternate_keys):
            by_parent: dict[tuple[Any, ...], dict[Any, DimensionRecord]] = defaultdict(dict)
            for record in records:
                known = by_parent[tuple(record.dataId[name] for name in parents)]
                other = known.setdefault(getattr(record, column), record)
                if other is not record:
                    yield column, record, other
            for values, known in by_parent.items():
                parent = dict(zip(parents, values, strict=True))
                for chunk in chunk_iterable(known, LOOKUP_BATCH):
                    for other in self._named(element, column, chunk, parent):
                        if getattr(other, column) in known:
                            yield column, known[getattr(other, column)], other

    def _named(
        self, element: DimensionElement, column: str, values: Iterable[Any], parent: Mapping[str, Any]
    ) -> list[DimensionRecord]:
        """Return what the repository has of an element, at least the records with some values of a column."""
        with self._butler.query() as query:
            if not parent:
                return list(query.dimension_records(element.name))
            wanted = getattr(getattr(query.expression_factory, element.name), column)
            return list(query.where(wanted.in_iterable(values), **parent).dimension_records(element.name))

    def require_parents(self, element: DimensionElement, records: Iterable[DimensionRecord]) -> None:
        """Request the records that new records of an element depend on.

        Parameters
        ----------
        element : `lsst.daf.butler.DimensionElement`
            Dimension element.
        records : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
            New records of it.
        """
        user = f"{element.name} records"
        names = list(element.required.names)
        keys = [record.dataId.required_values for record in records]
        for parent in element.required:
            if parent.name != element.name and parent.has_own_table:
                self._require(parent, _projected(keys, names, parent), user)
        for parent in element.implied:
            if parent.has_own_table:
                implied = {self._implied_key(parent, record) for record in records}
                self._require(parent, {key for key in implied if key is not None}, user)

    def require(self, dimensions: DimensionGroup, data_ids: Iterable[tuple[Any, ...]], user: str) -> None:
        """Request a record for every dimension value of some data IDs.

        Parameters
        ----------
        dimensions : `lsst.daf.butler.DimensionGroup`
            Dimensions of the data IDs.
        data_ids : `~collections.abc.Iterable` [ `tuple` ]
            Required values.
        user : `str`
            What needs them, for the message.
        """
        data_ids = list(data_ids)
        names = list(dimensions.required)
        for name in names:
            self.require_keys(name, _projected(data_ids, names, self._butler.dimensions[name]), user)

    def require_keys(self, name: str, wanted: set[tuple[Any, ...]], user: str) -> None:
        """Request records of one dimension.

        Parameters
        ----------
        name : `str`
            The dimension.
        wanted : `set` [ `tuple` ]
            Required values of the records.
        user : `str`
            The dataset type that needs them, for the message.

        Raises
        ------
        ConflictError
            Raised if one is about something else than the repository's.
        """
        element = self._butler.dimensions[name]
        if not element.has_own_table:
            return
        self._others.check(element, wanted, user)
        self._require(element, wanted, user)
        known = self._records[name]
        for target in element.implied:
            if target.has_own_table:
                keys = {self._implied_key(target, known[key]) for key in wanted if key in known}
                self._fetch(target, {key for key in keys if key is not None})

    def _require(self, element: DimensionElement, wanted: set[tuple[Any, ...]], user: str) -> None:
        self._fetch(element, wanted)
        known = self._records[element.name]
        if lacking := wanted - known.keys():
            known.update(self._needed.supply(element, lacking, user, self._records.get("skymap", {})))

    @staticmethod
    def _implied_key(target: DimensionElement, record: DimensionRecord) -> tuple[Any, ...] | None:
        own = {**record.dataId.required, **{target.name: getattr(record, target.name)}}
        key = tuple(own.get(n) for n in target.required.names)
        return None if None in key else key

    def _fetch(self, element: DimensionElement, wanted: set[tuple[Any, ...]]) -> None:
        known = self._records.setdefault(element.name, {})
        unknown = [key for key in wanted if key not in known]
        if unknown:
            group = element.minimal_group
            known.update(
                stored_records(
                    self._butler,
                    element,
                    [DataCoordinate.from_required_values(group, key) for key in unknown],
                )
            )

    def expand(self, data_id: DataCoordinate) -> DataCoordinate:
        """Attach dimension records to a data ID that `require` has seen."""
        universe = self._butler.dimensions
        values: dict[str, Any] = dict(data_id.required)
        records: dict[str, DimensionRecord | None] = {}
        for name in data_id.dimensions.lookup_order:
            element = universe[name]
            records[name] = None
            key = tuple(values.get(n) for n in element.required.names)
            if element.has_own_table and name in self._records:
                record = self._records[name].get(key)
                records[name] = record
                if record is not None:
                    for implied in element.implied.names:
                        values[implied] = getattr(record, implied)
        full = DataCoordinate.from_full_values(
            data_id.dimensions, tuple(values[n] for n in data_id.dimensions.data_coordinate_keys)
        )
        return full.expanded(records)


def _projected(
    keys: Iterable[tuple[Any, ...]], names: Sequence[str], element: DimensionElement
) -> set[tuple[Any, ...]]:
    """Reduce required values of the dimensions ``names`` to those of an element among them."""
    positions = [names.index(name) for name in element.required.names]
    return {tuple(key[i] for i in positions) for key in keys}
