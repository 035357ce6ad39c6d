"""Dimension records of the instruments and skymaps that are known here, made for whoever needs them."""

from __future__ import annotations

__all__ = ["KNOWN_RECORDS", "make_records"]

from collections.abc import Collection, Iterable, Mapping

from lsst.daf.butler import DimensionRecord, DimensionUniverse
from typing_extensions import override

from .instruments import known_instruments
from .needed import RecordMaker
from .records import DataIdKey
from .rings import RingsSkyMap
from .skymap_records import patch_records, skymap_record, tract_records
from .skymaps import known_skymaps

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


class _KnownRecords(RecordMaker):
    """Makes the records of known instruments and skymaps."""

    @override
    def make(
        self, universe: DimensionUniverse, element: str, wanted: Collection[DataIdKey]
    ) -> dict[DataIdKey, DimensionRecord]:
        return make_records(universe, element, wanted)

    @override
    def others(
        self, element: str, wanted: Collection[DataIdKey], skymaps: Mapping[DataIdKey, DimensionRecord]
    ) -> set[str]:
        names = {key[0] for key in wanted} if element in ("tract", "patch") else set()
        return {
            name
            for name in names & set(known_skymaps())
            if (there := skymaps.get((name,))) is not None and there.hash != known_skymaps()[name].sha1
        }


KNOWN_RECORDS: RecordMaker = _KnownRecords()
"""What an import is handed that may make dimension records."""
