"""Dimension records that datasets need and nobody brought: made here where that is possible, named otherwise."""

from __future__ import annotations

__all__ = ["NeededRecords", "make_records"]

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from ..errors import ConflictError
from .instruments import INSTRUMENT, instrument_records
from .records import DataIdKey
from .rings import DC2_SKYMAP

_SHOWN = 5
"""Examples in a message."""

_SUBJECTS = {
    **dict.fromkeys(("instrument", "detector", "physical_filter"), INSTRUMENT),
    **dict.fromkeys(("skymap", "tract", "patch"), DC2_SKYMAP.name),
}
"""What the records describe that can be made, by element."""


def make_records(
    universe: DimensionUniverse, element: str, wanted: Collection[DataIdKey]
) -> dict[DataIdKey, DimensionRecord]:
    """Make dimension records of LSSTCam-imSim and of the skymap DC2.

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
    wanted = {key for key in wanted if key[0] == _SUBJECTS.get(element)}
    if not wanted:
        return {}
    if _SUBJECTS[element] == INSTRUMENT:
        records = instrument_records(universe)[element]
    elif element == "skymap":
        records = [DC2_SKYMAP.skymap_record(universe)]
    else:
        tracts = sorted({key[1] for key in wanted if 0 <= key[1] < DC2_SKYMAP.n_tracts})
        make = DC2_SKYMAP.tract_records if element == "tract" else DC2_SKYMAP.patch_records
        records = list(make(universe, tracts)) if tracts else []
    return {key: record for record in records if (key := record.dataId.required_values) in wanted}


_MAKERS = {
    **dict.fromkeys(("instrument", "detector", "physical_filter"), "butler register-instrument"),
    **dict.fromkeys(("skymap", "tract", "patch"), "butler register-skymap"),
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
        self._other_skymap = False
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
            there = skymaps.get((DC2_SKYMAP.name,))
            if element.name in ("tract", "patch") and there is not None and there.hash != DC2_SKYMAP.sha1:
                self._other_skymap = True
            else:
                made = make_records(self._universe, element.name, lacking)
        if made:
            self.made.setdefault(element.name, []).extend(made.values())
        for key in lacking:
            if key not in made:
                self._lacking.setdefault(element.name, {}).setdefault(key, user)
        return made

    def notices(self) -> list[str]:
        """Say what was made."""
        return [
            f"Made {len(records)} {element} records of {_SUBJECTS[element]}."
            for element, records in self.made.items()
        ]

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
        if self._other_skymap:
            lines.append(
                f"The skymap {DC2_SKYMAP.name} that is there is another one than the skymap of DC2, which could "
                "be made."
            )
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
