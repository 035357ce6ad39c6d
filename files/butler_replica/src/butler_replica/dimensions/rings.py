"""Ring skymaps: where their tracts and patches are, computed without ``skymap`` and ``afw``.

A ring skymap divides the sphere into rings of equal height in declination and
each ring into tracts; one tract covers each pole. A tract is a rectangle of
pixels in the tangent plane at its centre, divided into patches.
"""

from __future__ import annotations

__all__ = ["RingsSkyMap"]

import functools
import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from .geometry import ARCSEC, Array, deproject, polygon, polygons, tangent_frame

_PROJECTION = b"TAN"
_ROTATION = 0.0


@dataclass(frozen=True)
class RingsSkyMap:
    """A skymap of rings, with "legacy" patches: all of one size, with borders that overlap.

    Parameters
    ----------
    name : `str`
        Name of the skymap.
    num_rings : `int`
        Rings of tracts between the two polar caps.
    pixel_scale : `float`
        Arcseconds per pixel at the centre of a tract.
    tract_overlap : `float`
        Least overlap of neighbouring tracts, degrees.
    patch_inner_dimensions : `tuple` [ `int`, `int` ]
        Width and height of a patch without its border, pixels.
    patch_border : `int`
        Pixels by which a patch reaches over each side of its inner box.
    ra_start : `float`
        Right ascension of the first tract of each ring, degrees.
    footprint : `tuple` [ `tuple` [ `float`, `float` ], ... ]
        Corners of the part of the sky whose tracts are registered where none
        are named: right ascension and declination, degrees; empty if there is
        no such part.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    num_rings: int = 120
    pixel_scale: float = 0.2
    tract_overlap: float = 1 / 60
    patch_inner_dimensions: tuple[int, int] = (4000, 4000)
    patch_border: int = 100
    ra_start: float = 0.0
    footprint: tuple[tuple[float, float], ...] = ()

    @functools.cached_property
    def sha1(self) -> bytes:
        """Hash of the parameters, as the Science Pipelines compute it."""
        tracts = struct.pack(
            "<iiidd3sd",
            *self.patch_inner_dimensions,
            self.patch_border,
            self.tract_overlap,
            self.pixel_scale,
            _PROJECTION,
            _ROTATION,
        )
        rings = struct.pack("<id", self.num_rings, self.ra_start)
        return hashlib.sha1(b"RingsSkyMap" + tracts + rings, usedforsecurity=False).digest()

    @property
    def ring_height(self) -> float:
        """Height of a ring in declination, radians."""
        return math.pi / (self.num_rings + 1)

    @functools.cached_property
    def ring_sizes(self) -> tuple[int, ...]:
        """Number of tracts of each ring, from south to north."""
        height = self.ring_height
        sizes = []
        for ring in range(self.num_rings):
            south = height * (ring + 0.5) - 0.5 * math.pi
            widest = min(abs(south), abs(south + height))
            sizes.append(int(2 * math.pi * math.cos(widest) / height) + 1)
        return tuple(sizes)

    @property
    def n_tracts(self) -> int:
        """Number of tracts; their IDs are 0 (south pole) to ``n_tracts - 1`` (north pole)."""
        return sum(self.ring_sizes) + 2

    @functools.cached_property
    def n_patches(self) -> tuple[int, int]:
        """Number of patches of a tract in x and y."""
        return self._patch_grid()[0]

    @property
    def tract_dimensions(self) -> tuple[int, int]:
        """Width and height of a tract, pixels."""
        (n_x, n_y), (width, height) = self.n_patches, self.patch_inner_dimensions
        return n_x * width, n_y * height

    @property
    def reference_pixel(self) -> tuple[int, int]:
        """Pixel of the tract's centre, counted from 0."""
        return self._patch_grid()[1]

    def _patch_grid(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Compute the number of patches and the reference pixel, each in x and y.

        The box of pixels that holds the ring's height and the overlap is
        enlarged, evenly on both sides, to a whole number of patches.
        """
        radius = 0.5 * self.ring_height + math.radians(self.tract_overlap)
        reach = math.ceil(math.tan(radius) / (self.pixel_scale * ARCSEC) - 0.5)
        extent = 2 * reach + 1
        numbers, references = [], []
        for size in self.patch_inner_dimensions:
            number = -(-extent // size)
            numbers.append(number)
            references.append(reach + (number * size - extent) // 2)
        return (numbers[0], numbers[1]), (references[0], references[1])

    def tract_centers(self, tracts: Sequence[int]) -> tuple[Array, Array]:
        """Compute where tracts have their centres.

        Parameters
        ----------
        tracts : `~collections.abc.Sequence` [ `int` ]
            Tract IDs.

        Returns
        -------
        ra, dec : `numpy.ndarray`, shape (n,)
            Centres, radians.

        Raises
        ------
        ValueError
            Raised if the skymap has no such tract.
        """
        ids = np.asarray(tracts, dtype=np.int64)
        wrong = ids[(ids < 0) | (ids >= self.n_tracts)]
        if wrong.size:
            raise ValueError(
                f"Skymap {self.name} has the tracts 0 to {self.n_tracts - 1}: there is no tract {wrong[0]}."
            )
        sizes = np.array(self.ring_sizes)
        first = 1 + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        ring = np.clip(np.searchsorted(first, ids, side="right") - 1, 0, self.num_rings - 1)
        ra = math.radians(self.ra_start) + 2 * math.pi * (ids - first[ring]) / sizes[ring]
        dec = self.ring_height * (ring + 1) - 0.5 * math.pi
        south, north = ids == 0, ids == self.n_tracts - 1
        return np.where(south | north, 0.0, ra), np.where(
            south, -0.5 * math.pi, np.where(north, 0.5 * math.pi, dec)
        )

    def sky(self, tracts: Sequence[int], x: Array, y: Array) -> Array:
        """Compute where pixels of tracts are on the sky.

        Parameters
        ----------
        tracts : `~collections.abc.Sequence` [ `int` ]
            Tract IDs, n of them.
        x, y : `numpy.ndarray`, shape S
            Pixel coordinates; the centre of the first pixel is 0.

        Returns
        -------
        points : `numpy.ndarray`, shape (n,) + S + (3,)
            Unit vectors.
        """
        center, east, north = tangent_frame(*self.tract_centers(tracts))
        # The Science Pipelines turn the tract at the north pole by 180 degrees.
        turn = np.where(np.asarray(tracts) == self.n_tracts - 1, -1.0, 1.0)[:, np.newaxis]
        shape = (len(tracts),) + (1,) * np.ndim(x) + (3,)
        scale = self.pixel_scale * ARCSEC
        reference_x, reference_y = self.reference_pixel
        return deproject(
            center.reshape(shape),
            (turn * east).reshape(shape),
            (turn * north).reshape(shape),
            -(x - reference_x) * scale,
            (y - reference_y) * scale,
        )

    def tract_vertices(self, tracts: Sequence[int]) -> Array:
        """Compute the corners of tracts.

        Parameters
        ----------
        tracts : `~collections.abc.Sequence` [ `int` ]
            Tract IDs, n of them.

        Returns
        -------
        points : `numpy.ndarray`, shape (n, 4, 3)
            Outer corners of the corner pixels, beginning at the first pixel
            and going along x first.
        """
        width, height = self.tract_dimensions
        x = np.array([0, width, width, 0]) - 0.5
        y = np.array([0, 0, height, height]) - 0.5
        return self.sky(tracts, x, y)

    def patch_vertices(self, tracts: Sequence[int]) -> Array:
        """Compute the corners of all patches of tracts, borders included.

        Parameters
        ----------
        tracts : `~collections.abc.Sequence` [ `int` ]
            Tract IDs, n of them.

        Returns
        -------
        points : `numpy.ndarray`, shape (n, number of patches, 4, 3)
            Corners in the order of `tract_vertices`, patches in the order of
            their IDs.
        """
        (x_low, x_high), (y_low, y_high) = (
            self._patch_limits(n, size, total)
            for n, size, total in zip(
                self.n_patches, self.patch_inner_dimensions, self.tract_dimensions, strict=True
            )
        )
        cell_y, cell_x = np.divmod(np.arange(len(x_low) * len(y_low)), len(x_low))
        low_x, high_x, low_y, high_y = x_low[cell_x], x_high[cell_x], y_low[cell_y], y_high[cell_y]
        x = np.stack([low_x, high_x, high_x, low_x], axis=-1)
        y = np.stack([low_y, low_y, high_y, high_y], axis=-1)
        return self.sky(tracts, x, y)

    def _patch_limits(self, n: int, size: int, total: int) -> tuple[Array, Array]:
        """Compute where patches begin and end in x or y, clipped to the tract."""
        inner = np.arange(n) * size
        low = np.maximum(inner - self.patch_border, 0)
        high = np.minimum(inner + size + self.patch_border, total)
        return low - 0.5, high - 0.5

    def tracts_touching(self, corners: Sequence[tuple[float, float]]) -> list[int]:
        """Find the tracts that overlap a part of the sky.

        Parameters
        ----------
        corners : `~collections.abc.Sequence` [ `tuple` [ `float`, `float` ] ]
            Right ascension and declination, degrees, of the corners of a
            convex polygon.

        Returns
        -------
        tracts : `list` [ `int` ]
            Tract IDs, ascending.
        """
        region = polygon(tangent_frame(*np.radians(corners).T)[0])
        every = range(self.n_tracts)
        return [
            tract
            for tract, outline in zip(every, polygons(self.tract_vertices(every)), strict=True)
            if region.intersects(outline)
        ]
