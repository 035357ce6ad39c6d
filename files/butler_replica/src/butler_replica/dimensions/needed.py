"""Dimension records that datasets need and nobody brought: made here where that is possible, named otherwise."""

from __future__ import annotations

__all__ = ["NeededRecords", "make_records"]

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from ..errors import ConflictError
from .instruments import known_instruments
from .records import DataIdKey
from .rings import RingsSkyMap
from .skymap_records import patch_records, skymap_record, tract_records
from .skymaps import known_skymaps

_SHOWN = 5
"""Examples in a message."""

_OF_INSTRUMENTS = ("instrument", "detector", "physical_filter")
_OF_SKYMAPS = ("skymap", "tract", "patch")


def make_records(
    universe: DimensionUniverse, element: str, wanted: Collection[DataIdKey]
) -> dict[DataIdKey, DimensionRecord]:
    """Make dimension records of instruments and skymaps that are known.

    They are those of `~butler_replica.dimensions.instruments.register_instrument` and
    `~butler_replica.dimensions.rings.register_skymap`.

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
    records : `dict` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
        Those that there are, by their required values.
    """
    records: list[DimensionRecord] = []
    for name in {key[0] for key in wanted}:
        if element in _OF_INSTRUMENTS and name in known_instruments():
            records += known_instruments()[name].records(universe)[element]
        elif element in _OF_SKYMAPS and name in known_skymaps():
            records += _of_skymap(universe, known_skymaps()[name], element, wanted)
    return {key: record for record in records if (key := record.dataId.required_values) in wanted}


def _of_skymap(
    universe: DimensionUniverse, skymap: RingsSkyMap, element: str, wanted: Collection[DataIdKey]
) -> Iterable[DimensionRecord]:
    if element == "skymap":
        return [skymap_record(skymap, universe)]
    tracts = sorted({key[1] for key in wanted if key[0] == skymap.name and 0 <= key[1] < skymap.n_tracts})
    make = tract_records if element == "tract" else patch_records
    return make(skymap, universe, tracts) if tracts else ()


_MAKERS = {
    **dict.fromkeys(_OF_INSTRUMENTS, "butler register-instrument"),
    **dict.fromkeys(_OF_SKYMAPS, "butler register-skymap"),
    "visit": "butler define-visits",
}
"""What makes dimension records of any instrument and sky map."""


class NeededRecords:
    """Dimension records that are needed and that neither an export nor the repository has.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    register : `bool`
        Make those that can be made.
    """

    def __init__(self, universe: DimensionUniverse, *, register: bool) -> None:
        self._universe = universe
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
    ) -> dict[DataIdKey, DimensionRecord]:
        """Make records if that is wanted, and take note of those that nobody has.

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
        records : `dict` [ `tuple`, `lsst.daf.butler.DimensionRecord` ]
            Those that were made, by their required values.
        """
        made: dict[DataIdKey, DimensionRecord] = {}
        if self._register:
            others = self._others(element.name, lacking, skymaps)
            self._other_skymaps |= others
            made = make_records(
                self._universe, element.name, {key for key in lacking if key[0] not in others}
            )
        if made:
            self.made.setdefault(element.name, []).extend(made.values())
        for key in lacking:
            if key not in made:
                self._lacking.setdefault(element.name, {}).setdefault(key, user)
        return made

    @staticmethod
    def _others(
        element: str, lacking: Collection[DataIdKey], skymaps: Mapping[DataIdKey, DimensionRecord]
    ) -> set[str]:
        """Find the skymaps that are there under the name of a known one and are not the same."""
        names = {key[0] for key in lacking} if element in ("tract", "patch") else set()
        return {
            name
            for name in names & set(known_skymaps())
            if (there := skymaps.get((name,))) is not None and there.hash != known_skymaps()[name].sha1
        }

    def notices(self) -> list[str]:
        """Say what was made."""
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
        commands = {_MAKERS[name]: None for name in self._lacking if name in _MAKERS}
        lines.append(
            "Import the export that has them first"
            + (f", or make them with the Science Pipelines ({', '.join(commands)})." if commands else ".")
        )
        lines += [
            f"The skymap {name} that is there is another one than that which could be made under this name."
            for name in sorted(self._other_skymaps)
        ]
        makeable = sum(len(make_records(self._universe, name, keys)) for name, keys in self._lacking.items())
        if makeable and not self._register:
            lines.append(f"{makeable} of them can be made: --register (register: true).")
        raise ConflictError(*lines)

    @staticmethod
    def _line(element: DimensionElement, lacking: Mapping[DataIdKey, str]) -> str:
        users = sorted(set(lacking.values()))
        examples = [_text(element, key) for key in sorted(lacking)[:_SHOWN]]
        return (
            f"  {len(lacking)} {element.name} records, for {', '.join(users[:_SHOWN])}"
            f"{' ...' if len(users) > _SHOWN else ''}: "
            f"{'; '.join(examples)}{' ...' if len(lacking) > _SHOWN else ''}"
        )


def _text(element: DimensionElement, key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(element.required.names, key, strict=True))
