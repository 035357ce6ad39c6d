"""Geometry on the sphere: tangent planes, polygons and how far apart two polygons are.

Points on the sky are unit vectors in arrays of shape (..., 3), so that many
are computed at once; angles are radians unless a name says otherwise.
"""

from __future__ import annotations

__all__ = [
    "ARCSEC",
    "MILLIARCSEC",
    "deproject",
    "polygon",
    "polygons",
    "region_distance",
    "tangent_frame",
    "vertices",
]

from typing import Any

import numpy as np
import numpy.typing as npt
from lsst.sphgeom import ConvexPolygon, UnitVector3d

Array = npt.NDArray[np.float64]

ARCSEC = np.pi / 648000.0
"""One second of arc in radians."""

MILLIARCSEC = ARCSEC / 1000.0


def tangent_frame(ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Compute the tangent point and the directions of its tangent plane.

    Parameters
    ----------
    ra, dec : array-like
        Tangent points, radians, both of the same shape S.

    Returns
    -------
    center, east, north : `numpy.ndarray`, shape S + (3,)
        Unit vectors. At a pole they are those of the meridian ``ra``.
    """
    cos_ra, sin_ra = np.cos(ra), np.sin(ra)
    cos_dec, sin_dec = np.cos(dec), np.sin(dec)
    center = np.stack([cos_dec * cos_ra, cos_dec * sin_ra, sin_dec], axis=-1)
    east = np.stack([-sin_ra, cos_ra, np.zeros_like(cos_ra)], axis=-1)
    north = np.stack([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], axis=-1)
    return center, east, north


def deproject(center: Array, east: Array, north: Array, xi: Array, eta: Array) -> Array:
    """Project points of tangent planes onto the sphere (gnomonic, "TAN").

    Parameters
    ----------
    center, east, north : `numpy.ndarray`, shape S + (3,)
        Frames as `tangent_frame` makes them.
    xi, eta : `numpy.ndarray`, shape T
        Coordinates towards east and north, radians; S and T broadcast.

    Returns
    -------
    points : `numpy.ndarray`, shape broadcast(S, T) + (3,)
        Unit vectors.
    """
    points = center + xi[..., np.newaxis] * east + eta[..., np.newaxis] * north
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return points


def polygon(points: Array) -> ConvexPolygon:
    """Make the convex polygon of some points.

    Parameters
    ----------
    points : `numpy.ndarray`, shape (n, 3)
        Unit vectors.

    Returns
    -------
    polygon : `lsst.sphgeom.ConvexPolygon`
        Their convex hull.
    """
    return polygons(points[np.newaxis])[0]


def polygons(points: Array) -> list[ConvexPolygon]:
    """Make many convex polygons, as `polygon` makes one.

    Parameters
    ----------
    points : `numpy.ndarray`, shape (m, n, 3)
        Unit vectors.

    Returns
    -------
    polygons : `list` [ `lsst.sphgeom.ConvexPolygon` ]
        A polygon for each of the m sets of n points.
    """
    return [ConvexPolygon([UnitVector3d(*point) for point in outline]) for outline in points.tolist()]


def vertices(region: ConvexPolygon) -> Array:
    """Get the vertices of a polygon.

    Parameters
    ----------
    region : `lsst.sphgeom.ConvexPolygon`
        The polygon.

    Returns
    -------
    points : `numpy.ndarray`, shape (n, 3)
        Unit vectors, counter-clockwise as seen from outside the sphere.
    """
    return np.array([list(vertex) for vertex in region.getVertices()])


def region_distance(a: Any, b: Any) -> float:
    """Compute how far apart the outlines of two regions are at most.

    A point that is a vertex in one polygon and lies on an edge of the other,
    which happens to collinear points of a convex hull, is no distance apart.

    Parameters
    ----------
    a, b : `lsst.sphgeom.Region` or `None`
        The regions.

    Returns
    -------
    distance : `float`
        Radians; infinite where the regions are not comparable (one of them is
        no convex polygon, or is missing).
    """
    if a == b:
        return 0.0
    if not isinstance(a, ConvexPolygon) or not isinstance(b, ConvexPolygon):
        return float("inf")
    of_a, of_b = vertices(a), vertices(b)
    return max(_farthest(of_a, of_b), _farthest(of_b, of_a))


def _farthest(points: Array, outline: Array) -> float:
    """Compute the largest distance of ``points`` from the outline of a polygon."""
    begin, end = outline, np.roll(outline, -1, axis=0)
    normal = np.cross(begin, end)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    from_circle = points @ normal.T
    inside_arc = (points @ np.cross(normal, begin).T >= 0) & (points @ np.cross(end, normal).T >= 0)
    from_ends = np.minimum(
        np.linalg.norm(points[:, np.newaxis] - begin, axis=-1),
        np.linalg.norm(points[:, np.newaxis] - end, axis=-1),
    )
    chord = np.where(inside_arc, np.abs(from_circle), from_ends).min(axis=-1).max()
    return float(2 * np.arcsin(min(chord / 2, 1.0)))
