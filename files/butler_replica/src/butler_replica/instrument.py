"""The instrument LSSTCam-imSim: its dimension records, made without ``obs_lsst``."""

from __future__ import annotations

__all__ = ["CLASS_NAME", "FILTER_SETS", "INSTRUMENT", "FocalPlaneLayout", "instrument_records"]

import functools
from importlib import resources
from typing import Any, Literal, NamedTuple

import yaml
from lsst.daf.butler import DimensionRecord, DimensionUniverse

from .dimension_records import make_record

INSTRUMENT = "LSSTCam-imSim"
CLASS_NAME = "lsst.obs.lsst.LsstCamImSim"

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
    text = resources.files(__package__).joinpath("imsim_focal_plane.yaml").read_text(encoding="utf-8")
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
                class_name=CLASS_NAME,
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
