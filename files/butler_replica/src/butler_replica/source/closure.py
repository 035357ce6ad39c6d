"""The dimension records that datasets need, and those that belong to them."""

from __future__ import annotations

__all__ = ["RecordFinder"]

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Any

from lsst.daf.butler import DataCoordinate, DimensionElement, DimensionRecord, DimensionUniverse
from lsst.daf.butler.queries import Query

Key = tuple[Any, ...]
"""Values of the required dimensions of an element."""

_WHOLE_INSTRUMENT = ("detector", "physical_filter")
"""Of these the records of the whole instrument are taken where a dataset has a detector: a focal plane with gaps is
of little use."""

_JOINED_AT_ONCE = 1_000
"""Data IDs in one query."""


class RecordFinder:
    """Finds dimension records in a butler.

    Parameters
    ----------
    query : `lsst.daf.butler.queries.Query`
        An open query of the butler.
    universe : `lsst.daf.butler.DimensionUniverse`
        Its dimensions.
    """

    def __init__(self, query: Query, universe: DimensionUniverse) -> None:
        self._query = query
        self._universe = universe
        self._of_instruments: dict[tuple[str, str], list[DimensionRecord]] = {}

    def needed(self, data_ids: Iterable[DataCoordinate]) -> dict[str, list[dict[str, Any]]]:
        """Return the records that data IDs need.

        Beside those of their own dimensions: all detectors and filters of the
        instrument where there is a detector, the visits of exposures with
        their regions and memberships, and what all these refer to in turn.

        Parameters
        ----------
        data_ids : `~collections.abc.Iterable` [ `lsst.daf.butler.DataCoordinate` ]
            Full data IDs of one dataset type.

        Returns
        -------
        records : `dict` [ `str`, `list` [ `dict` ] ]
            Records by the name of their element, so that what is referred to
            comes first, each as an export has it, sorted by key.
        """
        found: dict[str, dict[Key, DimensionRecord]] = defaultdict(dict)
        pending: deque[tuple[DimensionElement, set[Key]]] = deque(self._own(data_ids))
        asked: dict[str, set[Key]] = defaultdict(set)
        while pending:
            element, keys = pending.popleft()
            keys -= asked[element.name]
            if not keys:
                continue
            asked[element.name] |= keys
            new = self._fetch(element, keys)
            found[element.name].update(new)
            pending += self._referred(new.values())
            pending += self._belonging(element, keys, found)
        return {
            element.name: [
                record.toDict(splitTimespan=True) for _, record in sorted(found[element.name].items())
            ]
            for element in self._universe.elements
            if found.get(element.name)
        }

    def _own(self, data_ids: Iterable[DataCoordinate]) -> list[tuple[DimensionElement, set[Key]]]:
        """Return the elements with a table, and the keys that occur in data IDs."""
        values: list[Key] = []
        names: tuple[str, ...] = ()
        elements: list[DimensionElement] = []
        for data_id in data_ids:
            if not names:
                dimensions = data_id.dimensions
                names = tuple(dimensions.data_coordinate_keys)
                elements = [
                    self._universe[name] for name in dimensions.elements if self._universe[name].has_own_table
                ]
            values.append(data_id.full_values)
        own = []
        for element in elements:
            if element.required.names <= set(names):
                places = [names.index(name) for name in element.required.names]
                own.append((element, {tuple(value[place] for place in places) for value in values}))
        if "detector" in names:
            place = names.index("instrument")
            own += [
                (
                    self._universe[name],
                    {key for i in {v[place] for v in values} for key in self._instrument(name, i)},
                )
                for name in _WHOLE_INSTRUMENT
            ]
        return own

    def _instrument(self, element: str, instrument: str) -> list[Key]:
        """Return the keys of all records of an instrument."""
        if (element, instrument) not in self._of_instruments:
            records = self._query.where(instrument=instrument).dimension_records(element)
            self._of_instruments[element, instrument] = list(records)
        return [record.dataId.required_values for record in self._of_instruments[element, instrument]]

    def _fetch(self, element: DimensionElement, keys: set[Key]) -> dict[Key, DimensionRecord]:
        found = {}
        for (name, _), records in self._of_instruments.items():
            if name == element.name:
                found.update({key: r for r in records if (key := r.dataId.required_values) in keys})
        records = self._joined(element.minimal_group, keys - set(found), element)
        return found | {record.dataId.required_values: record for record in records}

    def _joined(self, dimensions: Any, keys: set[Key], element: DimensionElement) -> list[DimensionRecord]:
        """Return the records of an element that join to data IDs."""
        names = dimensions.required
        data_ids = [
            DataCoordinate.standardize(dict(zip(names, key, strict=True)), dimensions=dimensions)
            for key in sorted(keys)
        ]
        records: list[DimensionRecord] = []
        for begin in range(0, len(data_ids), _JOINED_AT_ONCE):
            joined = self._query.join_data_coordinates(data_ids[begin : begin + _JOINED_AT_ONCE])
            records += joined.dimension_records(element.name)
        return records

    def _referred(self, records: Collection[DimensionRecord]) -> list[tuple[DimensionElement, set[Key]]]:
        """Return what records of one element refer to."""
        if not records:
            return []
        element = next(iter(records)).definition
        implied = [one.name for one in element.implied]
        names = (*element.required.names, *implied)
        values = [(*r.dataId.required_values, *(r.get(name) for name in implied)) for r in records]
        referred = []
        for name in names:
            dimension = self._universe.dimensions[name]
            if name != element.name and dimension.has_own_table:
                places = [names.index(one) for one in dimension.required.names]
                keys = {tuple([value[place] for place in places]) for value in values}
                referred.append((self._universe[name], {key for key in keys if None not in key}))
        return referred

    def _belonging(
        self, element: DimensionElement, keys: set[Key], found: dict[str, dict[Key, DimensionRecord]]
    ) -> list[tuple[DimensionElement, set[Key]]]:
        """Return what belongs to exposures and visits, and is not referred to by them."""
        belonging = []
        dimensions = element.minimal_group
        for other in self._universe.elements:
            is_populated = other.populated_by is not None and other.populated_by.name == element.name
            if other.name == element.name or not other.has_own_table:
                continue
            if is_populated or (element.name == "exposure" and other.name == "visit_definition"):
                records = self._joined(dimensions, keys, other)
                new = {record.dataId.required_values: record for record in records}
                found[other.name].update(new)
                belonging += self._referred(new.values())
        return belonging
