"""The dimension records of visits, made without ``obs_base`` and ``afw``."""

from __future__ import annotations

__all__ = ["VISIT_SYSTEMS", "is_visit", "visit_records", "visit_system_records"]

from collections.abc import Iterable
from typing import Any

import numpy as np
from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from .focal_plane import focal_plane
from .geometry import polygon, polygons
from .records import make_record

VISIT_SYSTEMS: dict[str, dict[int, str]] = {
    "one-to-one": {0: "one-to-one"},
    "one-to-one-and-by-counter": {0: "one-to-one", 2: "by-seq-start-end"},
    "by-group-metadata": {1: "by-group-metadata"},
}
"""Visit systems that visits are defined in, by the name of the choice.

The first is today's (since 2026-02); the second was that of 2022-04 and
later, the third that of the time before.
"""

_ELEMENTS = ("visit", "visit_definition", "visit_system_membership", "visit_detector_region")


def is_visit(exposure: DimensionRecord) -> bool:
    """Return whether an exposure can be a visit.

    Parameters
    ----------
    exposure : `lsst.daf.butler.DimensionRecord`
        Record of the dimension ``exposure``.

    Returns
    -------
    can_be : `bool`
        Whether it looked at the sky and it is known where.
    """
    pointing = (exposure.tracking_ra, exposure.tracking_dec, exposure.sky_angle)
    return None not in pointing and getattr(exposure, "can_see_sky", None) is not False


def visit_system_records(
    universe: DimensionUniverse, instrument: str, visit_system: str
) -> list[DimensionRecord]:
    """Make the records of the visit systems of a choice.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    instrument : `str`
        Name of the instrument.
    visit_system : `str`
        A name of `VISIT_SYSTEMS`.

    Returns
    -------
    records : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Records of the dimension ``visit_system``.
    """
    return [
        make_record(universe["visit_system"], instrument=instrument, id=number, name=name)
        for number, name in VISIT_SYSTEMS[visit_system].items()
    ]


def visit_records(
    universe: DimensionUniverse,
    exposures: Iterable[DimensionRecord],
    *,
    visit_system: str = "one-to-one",
    model: str = "nominal",
) -> dict[str, list[DimensionRecord]]:
    """Make the records of visits, each of one exposure.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    exposures : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
        Records of the dimension ``exposure`` of one instrument; those that cannot be visits
        (see `is_visit`) are left out.
    visit_system : `str`, optional
        A name of `VISIT_SYSTEMS`.
    model : `str`, optional
        Name of a model of the focal plane.

    Returns
    -------
    records : `dict` [ `str`, `list` [ `lsst.daf.butler.DimensionRecord` ] ]
        Records by dimension element, in the order in which they can be
        inserted. The visit systems are not among them.
    """
    taken = [exposure for exposure in exposures if is_visit(exposure)]
    elements: dict[str, DimensionElement] = {name: universe[name] for name in _ELEMENTS}
    records: dict[str, list[DimensionRecord]] = {name: [] for name in elements}
    if not taken:
        return records
    pointings = np.array([(e.tracking_ra, e.tracking_dec, e.sky_angle) for e in taken], dtype=float)
    corners = focal_plane(taken[0].instrument, model).detector_vertices(*pointings.T)
    region_class = elements["visit_detector_region"].RecordClass
    for exposure, of_detectors in zip(taken, corners, strict=True):
        visit = {"instrument": exposure.instrument, "visit": exposure.id}
        records["visit"].append(
            make_record(
                elements["visit"], **_visit_columns(exposure), region=polygon(of_detectors.reshape(-1, 3))
            )
        )
        records["visit_definition"].append(
            make_record(elements["visit_definition"], **visit, exposure=exposure.id)
        )
        records["visit_system_membership"].extend(
            make_record(elements["visit_system_membership"], **visit, visit_system=number)
            for number in VISIT_SYSTEMS[visit_system]
        )
        records["visit_detector_region"].extend(
            region_class(**visit, detector=detector, region=region)
            for detector, region in enumerate(polygons(of_detectors))
        )
    return records


def _visit_columns(exposure: DimensionRecord) -> dict[str, Any]:
    """Return what a visit has in common with its exposure."""
    columns: dict[str, Any] = exposure.toDict()
    columns["name"] = columns.pop("obs_id")
    columns["observation_reason"] = columns["observation_reason"] or "various"  # as the official task has it
    return columns
