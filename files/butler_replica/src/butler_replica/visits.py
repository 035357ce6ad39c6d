"""Visits of LSSTCam-imSim: their dimension records, made without ``obs_base`` and ``afw``."""

from __future__ import annotations

__all__ = ["FOCAL_PLANES", "VISIT_SYSTEMS", "FocalPlane", "is_visit", "visit_records", "visit_system_records"]

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from .dimension_records import make_record
from .geometry import ARCSEC, Array, deproject, polygon, tangent_frame
from .instrument import INSTRUMENT, focal_plane_layout

VISIT_SYSTEMS: dict[str, dict[int, str]] = {
    "one-to-one": {0: "one-to-one"},
    "one-to-one-and-by-counter": {0: "one-to-one", 2: "by-seq-start-end"},
    "by-group-metadata": {1: "by-group-metadata"},
}
"""Visit systems that visits are defined in, by the name of the choice.

The first is today's (since 2026-02); the second was that of 2022-04 and
later, the third that of the time before.
"""

FOCAL_PLANES = ("nominal", "2024")
"""Names of the focal plane models: until 2024-02, and since."""

BOX_PADDING = 250
"""Pixels by which the region of a detector reaches over its sides."""


class FocalPlane:
    """Where the detectors of LSSTCam-imSim look, relative to the boresight.

    Parameters
    ----------
    model : `str`, optional
        One of `FOCAL_PLANES`.

    Attributes
    ----------
    corners : `numpy.ndarray`, shape (189, 4, 2)
        Field angles of the padded corners of each detector, radians.
    """

    def __init__(self, model: str = "nominal") -> None:
        detectors, geometry = focal_plane_layout()
        width, height = geometry["detector_box"]
        low = -0.5 - BOX_PADDING
        right, top = width - 0.5 + BOX_PADDING, height - 0.5 + BOX_PADDING
        pixels = np.array([[low, low], [right, low], [right, top], [low, top]])
        in_detector = (pixels - np.array(geometry["detector_reference_pixel"])) * geometry["pixel_size_mm"]
        offsets = np.array(
            [
                np.add(geometry["raft_offset_mm"][raft], geometry["sensor_offset_mm"][sensor])
                for raft, sensor in detectors
            ]
        )
        millimetres = offsets[:, np.newaxis, :] + in_detector
        self.corners: Array = self._field_angle(millimetres, **geometry["field_angle"][model])

    @staticmethod
    def _field_angle(millimetres: Array, plate_scale: float, coefficients: list[float]) -> Array:
        """Turn positions on the focal plane into field angles: a polynomial of the radius."""
        radius = np.linalg.norm(millimetres, axis=-1, keepdims=True)
        angle = plate_scale * ARCSEC * np.polynomial.polynomial.polyval(radius, coefficients)
        return np.asarray(millimetres * angle / radius)

    def detector_vertices(self, ra: npt.ArrayLike, dec: npt.ArrayLike, sky_angle: npt.ArrayLike) -> Array:
        """Compute where the detectors' corners are on the sky.

        Parameters
        ----------
        ra, dec : array-like, shape S
            Boresight, degrees.
        sky_angle : array-like, shape S
            Angle of the focal plane on the sky, degrees.

        Returns
        -------
        points : `numpy.ndarray`, shape S + (189, 4, 3)
            Unit vectors.
        """
        center, east, north = (
            axis[..., np.newaxis, np.newaxis, :] for axis in tangent_frame(np.radians(ra), np.radians(dec))
        )
        angle = np.radians(sky_angle)[..., np.newaxis, np.newaxis]
        x, y = self.corners[..., 0], self.corners[..., 1]
        xi = -np.cos(angle) * x + np.sin(angle) * y
        eta = np.sin(angle) * x + np.cos(angle) * y
        return deproject(center, east, north, xi, eta)


@functools.cache
def focal_plane(model: str) -> FocalPlane:
    """Get a focal plane model, made once.

    Parameters
    ----------
    model : `str`
        One of `FOCAL_PLANES`.

    Returns
    -------
    focal_plane : `FocalPlane`
        The model.
    """
    return FocalPlane(model)


def is_visit(exposure: DimensionRecord) -> bool:
    """Tell whether an exposure can be a visit.

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


def visit_system_records(universe: DimensionUniverse, visit_system: str) -> list[DimensionRecord]:
    """Make the records of the visit systems of a choice.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    visit_system : `str`
        A name of `VISIT_SYSTEMS`.

    Returns
    -------
    records : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Records of the dimension ``visit_system``.
    """
    return [
        make_record(universe["visit_system"], instrument=INSTRUMENT, id=number, name=name)
        for number, name in VISIT_SYSTEMS[visit_system].items()
    ]


def visit_records(
    universe: DimensionUniverse,
    exposures: Iterable[DimensionRecord],
    *,
    visit_system: str = "one-to-one",
    focal_plane_model: str = "nominal",
) -> dict[str, list[DimensionRecord]]:
    """Make the records of visits, each of one exposure.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    exposures : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
        Records of the dimension ``exposure``; those that cannot be visits
        (see `is_visit`) are left out.
    visit_system : `str`, optional
        A name of `VISIT_SYSTEMS`.
    focal_plane_model : `str`, optional
        One of `FOCAL_PLANES`.

    Returns
    -------
    records : `dict` [ `str`, `list` [ `lsst.daf.butler.DimensionRecord` ] ]
        Records by dimension element, in the order in which they can be
        inserted. The visit systems are not among them.
    """
    taken = [exposure for exposure in exposures if is_visit(exposure)]
    elements: dict[str, DimensionElement] = {
        name: universe[name]
        for name in ("visit", "visit_definition", "visit_system_membership", "visit_detector_region")
    }
    records: dict[str, list[DimensionRecord]] = {name: [] for name in elements}
    if not taken:
        return records
    pointings = np.array([(e.tracking_ra, e.tracking_dec, e.sky_angle) for e in taken], dtype=float)
    corners = focal_plane(focal_plane_model).detector_vertices(*pointings.T)
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
            region_class(**visit, detector=detector, region=polygon(points))
            for detector, points in enumerate(of_detectors)
        )
    return records


def _visit_columns(exposure: DimensionRecord) -> dict[str, Any]:
    """Take over from an exposure what its visit has in common with it."""
    columns: dict[str, Any] = exposure.toDict()
    columns["name"] = columns.pop("obs_id")
    return columns
