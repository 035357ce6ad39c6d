"""When two dimension records of one name are the same thing, and when two values of a column are the same value.

The record of an instrument, an exposure or a visit is written anew by every
release that exports it, with columns that differ harmlessly. Some columns say
what it is: datasets of another sky map, filter or night do not belong to it.
"""

from __future__ import annotations

__all__ = ["IDENTIFIED", "OtherRecords", "differing_columns", "identity_columns", "same_value"]

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lsst.daf.butler import DimensionElement, DimensionRecord, Timespan
from lsst.sphgeom import DISJOINT, Region

from ..errors import ConflictError

_MAX_TIME_SHIFT = 60_000_000_000
"""Nanoseconds between two timespans of one observation: TAI was taken for UTC now and then."""


def same_value(value: Any, other: Any) -> bool:
    """Return whether two values of a column are the same, as far as a database keeps them.

    Parameters
    ----------
    value, other : `object`
        One that is to be stored, and one from a database.

    Returns
    -------
    same : `bool`
        NaN is NaN, or NULL, as SQLite has it; integers are what floats make
        of them. Regions are the same if they
        are encoded alike: some kinds have no equality.
    """
    if isinstance(value, float) and math.isnan(value):
        return other is None or (isinstance(other, float) and math.isnan(other))
    if isinstance(value, int) and isinstance(other, float):
        value = float(value)
    if isinstance(value, Region) and isinstance(other, Region):
        return bool(value.encode() == other.encode())
    return bool(value == other)


def differing_columns(existing: DimensionRecord, wanted: DimensionRecord) -> list[str]:
    """Return the names of the columns in which two records differ.

    Parameters
    ----------
    existing, wanted : `lsst.daf.butler.DimensionRecord`
        That of the repository, and that of an export.

    Returns
    -------
    columns : `list` [ `str` ]
        Names; what the export leaves open is no difference.
    """
    before, after = existing.toDict(), wanted.toDict()
    return [
        name for name, value in after.items() if value is not None and not same_value(value, before.get(name))
    ]


def identity_columns(existing: DimensionRecord, wanted: DimensionRecord) -> list[str]:
    """Return the names of the columns that make two records different things.

    Parameters
    ----------
    existing, wanted : `lsst.daf.butler.DimensionRecord`
        That of the repository, and that of an export.

    Returns
    -------
    columns : `list` [ `str` ]
        Names; none where both are the same thing. What either leaves open
        tells nothing.
    """
    before, after = existing.toDict(), wanted.toDict()

    def differ(column: str, are_same: Callable[[Any, Any], bool]) -> bool:
        value, other = after.get(column), before.get(column)
        return value is not None and other is not None and not are_same(value, other)

    rules = _IDENTITY.get(wanted.definition.name, {})
    columns = [column for column, are_same in rules.items() if differ(column, are_same)]
    if "day_obs" in columns and before.get("timespan") and after.get("timespan"):
        # Releases did not always let the day begin at the same hour; the time itself tells.
        columns.remove("day_obs")
    return columns


class OtherRecords:
    """Dimension records of an export that stand for something else than the repository's of the same name.

    Parameters
    ----------
    export : `pathlib.Path`
        The export.
    """

    def __init__(self, export: Path) -> None:
        self._export = export
        self._columns: dict[str, dict[tuple[Any, ...], str]] = defaultdict(dict)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def add(self, element: str, key: tuple[Any, ...], columns: str) -> None:
        """Note a record.

        Parameters
        ----------
        element : `str`
            Its dimension element.
        key : `tuple`
            Required values of its data ID.
        columns : `str`
            In what it is another one, and where.
        """
        self._columns[element].setdefault(key, columns)

    def belongs(self, record: DimensionRecord) -> bool:
        """Return whether a record is, or depends on, one of these.

        Parameters
        ----------
        record : `lsst.daf.butler.DimensionRecord`
            A record of the export.

        Returns
        -------
        belongs : `bool`
            Whether it is about something else.
        """
        values: Mapping[str, Any] = record.dataId.required
        return any(
            tuple(values[name] for name in parent.required.names) in self._columns[parent.name]
            for parent in record.definition.required
            if parent.name in self._columns
        )

    def used(self, element: DimensionElement, keys: Iterable[tuple[Any, ...]], user: str) -> str:
        """Describe the first of some keys that is one of these.

        Parameters
        ----------
        element : `lsst.daf.butler.DimensionElement`
            Dimension element.
        keys : `~collections.abc.Iterable` [ `tuple` ]
            Required values of data IDs.
        user : `str`
            The dataset type that has them.

        Returns
        -------
        text : `str`
            A sentence without its end; empty if none is.
        """
        if element.name not in self._columns:
            return ""
        others = self._columns[element.name]
        key = min((key for key in keys if key in others), default=None, key=str)
        if key is None:
            return ""
        name = ", ".join(f"{n}: {value}" for n, value in zip(element.required.names, key, strict=True))
        return (
            f"{self._export}: {user} is of {element.name} {{{name}}}, which is another one there than in "
            f"{others[key]}"
        )

    def check(self, element: DimensionElement, keys: Iterable[tuple[Any, ...]], user: str) -> None:
        """Refuse datasets of one of these; parameters as of `used`."""
        if text := self.used(element, keys, user):
            raise ConflictError(
                f"{text}. Its datasets would pass for those of the other. Give it a name of its own in a copy of the "
                "export, or import into a repository of its own."
            )

    def count(self, element: str) -> int:
        """Return the number of these of one element."""
        return len(self._columns.get(element, ()))


def _same_class(value: str, other: str) -> bool:
    # Packages are rearranged; the class keeps its name.
    return value.rpartition(".")[2] == other.rpartition(".")[2]


def _near(value: Timespan, other: Timespan) -> bool:
    (begin, end), (other_begin, other_end) = value.nsec, other.nsec
    if value.isEmpty() or other.isEmpty():
        return True
    return begin <= other_end + _MAX_TIME_SHIFT and other_begin <= end + _MAX_TIME_SHIFT


def _touches(value: Region, other: Region) -> bool:
    try:
        return not value.relate(other) & DISJOINT
    except (TypeError, ValueError, RuntimeError):
        # A pair of kinds that sphgeom does not compare tells nothing.
        return True


def _equal(value: Any, other: Any) -> bool:
    return bool(value == other)


_OBSERVATION: dict[str, Callable[[Any, Any], bool]] = {
    "physical_filter": _equal,
    "day_obs": _equal,
    "timespan": _near,
}
_IDENTITY: dict[str, dict[str, Callable[[Any, Any], bool]]] = {
    "skymap": {"hash": _equal},
    "tract": {"region": _touches},
    "patch": {"cell_x": _equal, "cell_y": _equal, "region": _touches},
    "instrument": {"class_name": _same_class},
    "detector": {"full_name": _equal},
    "exposure": _OBSERVATION,
    "visit": {**_OBSERVATION, "region": _touches},
}
"""By element and column: whether two values can be of the same thing."""

IDENTIFIED = frozenset(_IDENTITY)
"""Elements whose records say what they are."""
