"""Dimension records that datasets need and nobody brought: made by whoever can, named otherwise."""

from __future__ import annotations

__all__ = ["NeededRecords", "RecordMaker"]

import abc
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from ..errors import ConflictError
from .records import DataIdKey

_MAX_LISTED = 5
"""Examples in a message."""

_COMMANDS = {
    **dict.fromkeys(("instrument", "detector", "physical_filter"), "butler register-instrument"),
    **dict.fromkeys(("skymap", "tract", "patch"), "butler register-skymap"),
    "visit": "butler define-visits",
}
"""What makes dimension records of any instrument and sky map."""


class RecordMaker(abc.ABC):
    """Whoever can make dimension records that neither an export nor a repository has."""

    @abc.abstractmethod
    def make(
        self, universe: DimensionUniverse, element: str, wanted: Collection[DataIdKey]
    ) -> Mapping[DataIdKey, DimensionRecord]:
        """Make dimension records.

        Parameters
        ----------
        universe : `lsst.daf.butler.DimensionUniverse`
            Universe of the repository.
        element : `str`
            Dimension element.
        wanted : `~collections.abc.Collection` [ `tuple` ]
            Required values of the records.

        Returns
        -------
        records : `~collections.abc.Mapping` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
            Those that can be made, by their required values.
        """

    @abc.abstractmethod
    def others(
        self, element: str, wanted: Collection[DataIdKey], skymaps: Mapping[DataIdKey, DimensionRecord]
    ) -> set[str]:
        """Find the skymaps that are there under the name of one that could be made, and are not the same.

        Parameters
        ----------
        element : `str`
            Dimension element.
        wanted : `~collections.abc.Collection` [ `tuple` ]
            Required values of records of it.
        skymaps : `~collections.abc.Mapping` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
            Records of skymaps that there are.

        Returns
        -------
        names : `set` [ `str` ]
            Their names; nothing is made for them.
        """


class NeededRecords:
    """Dimension records that are needed and that neither an export nor the repository has.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    maker : `RecordMaker` or `None`
        Who can make some.
    register : `bool`
        Let it make those that it can.
    """

    def __init__(self, universe: DimensionUniverse, maker: RecordMaker | None, *, register: bool) -> None:
        self._universe = universe
        self._maker = maker
        self._register = register
        self._lacking: dict[str, dict[DataIdKey, str]] = {}
        self._other_skymaps: set[str] = set()
        self.made: dict[str, list[DimensionRecord]] = {}
        """Records that were made, by element."""

    def supply(
        self,
        element: DimensionElement,
        lacking: Collection[DataIdKey],
        user: str,
        skymaps: Mapping[DataIdKey, DimensionRecord],
    ) -> Mapping[DataIdKey, DimensionRecord]:
        """Return records that are made, if that is wanted, and take note of those that nobody has.

        Parameters
        ----------
        element : `lsst.daf.butler.DimensionElement`
            Dimension element.
        lacking : `~collections.abc.Collection` [ `tuple` ]
            Required values of the records; the dimensions that they depend on
            were asked for before.
        user : `str`
            What needs them.
        skymaps : `~collections.abc.Mapping` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
            Records of skymaps that there are.

        Returns
        -------
        records : `~collections.abc.Mapping` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
            Those that were made, by their required values.
        """
        made: Mapping[DataIdKey, DimensionRecord] = {}
        if self._register and self._maker:
            others = self._maker.others(element.name, lacking, skymaps)
            self._other_skymaps |= others
            made = self._maker.make(
                self._universe, element.name, {key for key in lacking if key[0] not in others}
            )
        if made:
            self.made.setdefault(element.name, []).extend(made.values())
        for key in lacking:
            if key not in made:
                self._lacking.setdefault(element.name, {}).setdefault(key, user)
        return made

    def notices(self) -> list[str]:
        """Return what was made."""
        counts = Counter(
            (element, record.dataId.required_values[0])
            for element, records in self.made.items()
            for record in records
        )
        return [f"Made {count} {element} records of {name}." for (element, name), count in counts.items()]

    def check(self, export: Path) -> None:
        """Refuse to go on where a record is lacking.

        Parameters
        ----------
        export : `pathlib.Path`
            The export, for the message.

        Raises
        ------
        ConflictError
            Raised if there is one; the message names all elements, their
            values, and how they can be had.
        """
        if not self._lacking:
            return
        count = sum(len(keys) for keys in self._lacking.values())
        lines = [
            f"{export}: {count} dimension records are needed that neither the export nor the repository has; "
            "nothing of this file was imported."
        ]
        lines += [
            self._line(element, self._lacking[element.name])
            for element in self._universe.sorted(self._lacking)
        ]
        commands = {_COMMANDS[name]: None for name in self._lacking if name in _COMMANDS}
        lines.append(
            "Import the export that has them first"
            + (f", or make them with the Science Pipelines ({', '.join(commands)})." if commands else ".")
        )
        lines += [
            f"The skymap {name} that is there is another one than that which could be made under this name."
            for name in sorted(self._other_skymaps)
        ]
        if not self._register and (makeable := self._n_makeable()):
            lines.append(f"{makeable} of them can be made: --register (register: true).")
        raise ConflictError(*lines)

    def _n_makeable(self) -> int:
        if self._maker is None:
            return 0
        make = self._maker.make
        return sum(len(make(self._universe, name, keys)) for name, keys in self._lacking.items())

    @staticmethod
    def _line(element: DimensionElement, lacking: Mapping[DataIdKey, str]) -> str:
        users = sorted(set(lacking.values()))
        examples = [_text(element, key) for key in sorted(lacking)[:_MAX_LISTED]]
        return (
            f"  {len(lacking)} {element.name} records, for {', '.join(users[:_MAX_LISTED])}"
            f"{' ...' if len(users) > _MAX_LISTED else ''}: "
            f"{'; '.join(examples)}{' ...' if len(lacking) > _MAX_LISTED else ''}"
        )


def _text(element: DimensionElement, key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(element.required.names, key, strict=True))
