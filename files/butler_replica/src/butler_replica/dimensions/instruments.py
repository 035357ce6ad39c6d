"""The instrument LSSTCam-imSim: its dimension records, made without ``obs_lsst``."""

from __future__ import annotations

__all__ = [
    "FILTER_SETS",
    "INSTRUMENT",
    "FocalPlaneLayout",
    "InstrumentResult",
    "focal_plane_layout",
    "instrument_records",
    "register_instrument",
]

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, NamedTuple

import yaml
from lsst.daf.butler import Butler, DimensionRecord, DimensionUniverse

from ..errors import ReplicaError
from ..internals.bulk_dimensions import insert_records
from ..session.writing import writing
from .records import InsertionResult, existing_records, make_record, new_records

INSTRUMENT = "LSSTCam-imSim"

_SIMULATED = {f"{band}_sim_1.4": band for band in "ugrizy"}
_PLAIN = {band: band for band in "ugrizy"}  # in obs_lsst since 2023-05

FilterSet = Literal["all", "2022"]
FILTER_SETS: dict[str, dict[str, str]] = {"all": {**_SIMULATED, **_PLAIN}, "2022": _SIMULATED}
"""Physical filters and their bands, by the name of the set."""


class FocalPlaneLayout(NamedTuple):
    """Where the detectors are, read from ``imsim_focal_plane.yaml``."""

    detectors: tuple[tuple[str, str], ...]
    """Raft and sensor of each detector, in the order of their IDs."""

    geometry: dict[str, Any]
    """The content of the file."""


@functools.cache
def focal_plane_layout() -> FocalPlaneLayout:
    """Read the layout of the focal plane.

    Returns
    -------
    layout : `FocalPlaneLayout`
        Detectors in the order of their IDs, and their geometry.
    """
    text = resources.files(__package__).joinpath("data/instruments/LSSTCam-imSim.yaml").read_text(encoding="utf-8")
    geometry = yaml.safe_load(text)
    detectors = tuple(
        (raft, sensor)
        for raft in sorted(geometry["raft_offset_mm"])
        for sensor in sorted(geometry["sensor_offset_mm"])
    )
    return FocalPlaneLayout(detectors, geometry)


def instrument_records(
    universe: DimensionUniverse, *, filters: FilterSet = "all"
) -> dict[str, list[DimensionRecord]]:
    """Make the dimension records of the instrument.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    filters : `str`, optional
        ``all``, or ``2022`` for the six physical filters of the DC2 era.

    Returns
    -------
    records : `dict` [ `str`, `list` [ `lsst.daf.butler.DimensionRecord` ] ]
        One instrument, 189 detectors and the physical filters, by dimension
        element, in the order in which they can be inserted.
    """
    return {
        "instrument": [
            make_record(
                universe["instrument"],
                name=INSTRUMENT,
                class_name="lsst.obs.lsst.LsstCamImSim",
                visit_max=9999999,
                exposure_max=9999999,
                detector_max=1000,
                visit_system=0,
            )
        ],
        "detector": [
            make_record(
                universe["detector"],
                instrument=INSTRUMENT,
                id=number,
                full_name=f"{raft}_{sensor}",
                name_in_raft=sensor,
                raft=raft,
                purpose="SCIENCE",
            )
            for number, (raft, sensor) in enumerate(focal_plane_layout().detectors)
        ],
        "physical_filter": [
            make_record(universe["physical_filter"], instrument=INSTRUMENT, name=name, band=band)
            for name, band in FILTER_SETS[filters].items()
        ],
    }


@dataclass
class InstrumentResult(InsertionResult):
    """Which records of the instrument were inserted, or would be."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON data."""
        return {"instrument": INSTRUMENT, **super().to_dict()}


def register_instrument(repo: str, *, filters: FilterSet = "all", dry_run: bool = False) -> InstrumentResult:
    """Register LSSTCam-imSim: the instrument, its 189 detectors and its physical filters.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    filters : `str`, optional
        ``all``, or ``2022`` for the six physical filters of the DC2 era.
        Others that the repository has stay there.
    dry_run : `bool`, optional
        Only say what would be done.

    Returns
    -------
    result : `InstrumentResult`
        Numbers of records inserted and present.

    Raises
    ------
    ConflictError
        Raised if the repository has one of the records with other values; the
        message names the columns. Nothing is changed then.
    """
    if filters not in FILTER_SETS:
        raise ReplicaError(f"There is no set of filters '{filters}'; there are: {', '.join(FILTER_SETS)}.")
    result = InstrumentResult(f"instrument {INSTRUMENT}")
    with writing(repo, dry_run=dry_run) as butler:
        records = instrument_records(butler.dimensions, filters=filters)
        missing = _missing(butler, records, repo)
        if not dry_run:
            with butler.transaction():
                insert_records(butler, missing)
    result.count(records, missing)
    return result


def _missing(
    butler: Butler, records: Mapping[str, list[DimensionRecord]], repo: str
) -> dict[str, list[DimensionRecord]]:
    """Select the records that the repository does not have."""
    missing = {
        "instrument": new_records(records["instrument"], existing_records(butler, "instrument"), repo=repo)
    }
    for element in ("detector", "physical_filter"):
        found = {} if missing["instrument"] else existing_records(butler, element, instrument=INSTRUMENT)
        missing[element] = new_records(records[element], found, repo=repo)
    return missing
