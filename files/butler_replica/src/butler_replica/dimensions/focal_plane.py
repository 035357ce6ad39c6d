"""Where on the sky the detectors of an instrument look, computed without ``afw``."""

from __future__ import annotations

__all__ = ["FocalPlane", "focal_plane", "focal_plane_geometry"]

import functools

import numpy as np
import numpy.typing as npt

from ..errors import ReplicaError
from .geometry import ARCSEC, Array, deproject, tangent_frame
from .instruments import FieldAngle, FocalPlaneGeometry, Instrument, instrument_named, known_instruments

BOX_PADDING = 250
"""Pixels by which the region of a detector reaches over its sides."""


class FocalPlane:
    """Where the detectors of an instrument look, relative to the boresight.

    Parameters
    ----------
    instrument : `Instrument`
        One whose focal plane is known.
    model : `str`
        Name of a model of its field angles.

    Attributes
    ----------
    corners : `numpy.ndarray`, shape (number of detectors, 4, 2)
        Field angles of the padded corners of each detector, radians.
    """

    def __init__(self, instrument: Instrument, model: str) -> None:
        geometry = focal_plane_geometry(instrument)
        if model not in geometry.field_angle:
            raise ReplicaError(
                f"There is no focal plane '{model}'; there are: {', '.join(geometry.field_angle)}."
            )
        width, height = geometry.detector_box
        low = -0.5 - BOX_PADDING
        right, top = width - 0.5 + BOX_PADDING, height - 0.5 + BOX_PADDING
        pixels = np.array([[low, low], [right, low], [right, top], [low, top]])
        in_detector = (pixels - np.array(geometry.detector_reference_pixel)) * geometry.pixel_size_mm
        offsets = np.array(
            [
                np.asarray(instrument.rafts[raft]) + np.asarray(instrument.sensors[sensor])
                for raft, sensor in instrument.detectors
            ]
        )
        millimetres = offsets[:, np.newaxis, :] + in_detector
        self.corners: Array = self._field_angle(millimetres, geometry.field_angle[model])

    @staticmethod
    def _field_angle(millimetres: Array, angle_of: FieldAngle) -> Array:
        """Turn positions on the focal plane into field angles: a polynomial of the radius."""
        radius = np.linalg.norm(millimetres, axis=-1, keepdims=True)
        angle = (
            angle_of.plate_scale * ARCSEC * np.polynomial.polynomial.polyval(radius, angle_of.coefficients)
        )
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
        points : `numpy.ndarray`, shape S + (number of detectors, 4, 3)
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


def focal_plane_geometry(instrument: Instrument) -> FocalPlaneGeometry:
    """Return what is known of the focal plane of an instrument.

    Parameters
    ----------
    instrument : `Instrument`
        The instrument.

    Returns
    -------
    geometry : `FocalPlaneGeometry`
        Sizes, and the models of the field angles.

    Raises
    ------
    ReplicaError
        Raised if nothing is known.
    """
    if instrument.focal_plane is None:
        known = [name for name, one in known_instruments().items() if one.focal_plane is not None]
        raise ReplicaError(
            f"The focal plane of {instrument.name} is not known here (that of {', '.join(known)} is): its visits come "
            "with exports that have them, or are made by 'butler define-visits' of the Science Pipelines."
        )
    return instrument.focal_plane


@functools.cache
def focal_plane(instrument: str, model: str) -> FocalPlane:
    """Return the focal plane of a known instrument.

    Parameters
    ----------
    instrument : `str`
        Its name.
    model : `str`
        Name of a model of its field angles.

    Returns
    -------
    focal_plane : `FocalPlane`
        The focal plane.
    """
    return FocalPlane(instrument_named(instrument), model)
