"""Ring skymaps, DC2's among them: their dimension records, made without ``skymap`` and ``afw``.

A ring skymap divides the sphere into rings of equal height in declination and
each ring into tracts; one tract covers each pole. A tract is a rectangle of
pixels in the tangent plane at its centre, divided into patches.
"""

from __future__ import annotations

__all__ = [
    "DC2_FOOTPRINT",
    "DC2_SKYMAP",
    "RingsSkyMap",
    "SkymapResult",
    "chosen_tracts",
    "parse_tracts",
    "register_skymap",
]

import functools
import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from lsst.daf.butler import Butler, DimensionRecord, DimensionUniverse

from ..errors import ReplicaError
from ..internals.bulk_dimensions import BulkInsertion, bulk_insertion, insert_records
from ..progress import Progress, Report
from ..session.writing import writing
from .geometry import ARCSEC, Array, deproject, polygon, polygons, tangent_frame
from .records import InsertionResult, existing_records, make_record, new_records, prefetched

_BATCH = 50
"""Tracts whose records are in memory at a time."""

_PROJECTION = b"TAN"
_ROTATION = 0.0


DC2_FOOTPRINT = ((49.92, -44.33), (73.79, -44.33), (71.46, -27.25), (52.25, -27.25))
"""Corners of the part of the sky that DC2 covers: right ascension and declination, degrees."""


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
    """

    name: str
    num_rings: int = 120
    pixel_scale: float = 0.2
    tract_overlap: float = 1 / 60
    patch_inner_dimensions: tuple[int, int] = (4000, 4000)
    patch_border: int = 100
    ra_start: float = 0.0

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

    def skymap_record(self, universe: DimensionUniverse) -> DimensionRecord:
        """Make the record of the skymap itself.

        Parameters
        ----------
        universe : `lsst.daf.butler.DimensionUniverse`
            Universe of the repository.

        Returns
        -------
        record : `lsst.daf.butler.DimensionRecord`
            Record of the dimension ``skymap``.
        """
        n_x, n_y = self.n_patches
        return make_record(
            universe["skymap"],
            name=self.name,
            hash=self.sha1,
            tract_max=self.n_tracts,
            patch_nx_max=n_x,
            patch_ny_max=n_y,
        )

    def tract_records(self, universe: DimensionUniverse, tracts: Iterable[int]) -> list[DimensionRecord]:
        """Make the records of tracts.

        Parameters
        ----------
        universe : `lsst.daf.butler.DimensionUniverse`
            Universe of the repository.
        tracts : `~collections.abc.Iterable` [ `int` ]
            Tract IDs.

        Returns
        -------
        records : `list` [ `lsst.daf.butler.DimensionRecord` ]
            Records of the dimension ``tract``.
        """
        ids = list(tracts)
        record_class = universe["tract"].RecordClass
        return [
            record_class(skymap=self.name, id=tract, region=region)
            for tract, region in zip(ids, polygons(self.tract_vertices(ids)), strict=True)
        ]

    def patch_records(self, universe: DimensionUniverse, tracts: Iterable[int]) -> Iterator[DimensionRecord]:
        """Make the records of all patches of tracts.

        Parameters
        ----------
        universe : `lsst.daf.butler.DimensionUniverse`
            Universe of the repository.
        tracts : `~collections.abc.Iterable` [ `int` ]
            Tract IDs.

        Yields
        ------
        record : `lsst.daf.butler.DimensionRecord`
            Record of the dimension ``patch``, tract by tract.
        """
        ids = list(tracts)
        record_class = universe["patch"].RecordClass
        n_x = self.n_patches[0]
        for tract, patches in zip(ids, self.patch_vertices(ids), strict=True):
            for patch, region in enumerate(polygons(patches)):
                cell_y, cell_x = divmod(patch, n_x)
                yield record_class(
                    skymap=self.name,
                    tract=tract,
                    id=patch,
                    cell_x=cell_x,
                    cell_y=cell_y,
                    region=region,
                )


DC2_SKYMAP = RingsSkyMap("DC2")
"""The skymap of DC2: 7 x 7 patches of 4000 pixels and their border."""


def parse_tracts(text: str) -> list[int]:
    """Read a list of tract IDs.

    Parameters
    ----------
    text : `str`
        IDs and ranges of IDs, both ends included: ``3828,4000-4012``.

    Returns
    -------
    tracts : `list` [ `int` ]
        The IDs.

    Raises
    ------
    ReplicaError
        Raised if it is none.
    """
    tracts: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-"):
            raise ReplicaError(f"'{text}' is no list of tracts; write IDs and ranges: 3828,4000-4012.")
        tracts.extend(range(int(first), int(last or first) + 1))
    return tracts


@dataclass
class SkymapResult(InsertionResult):
    """Which records of the skymap were inserted, or would be."""

    skymap: str = ""
    hash: str = ""
    tracts: list[int] = field(default_factory=list)
    """IDs of the tracts asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON data."""
        return {"skymap": self.skymap, "hash": self.hash, "tracts": len(self.tracts), **super().to_dict()}


def register_skymap(
    repo: str,
    *,
    tracts: Iterable[int] | Literal["footprint"] | None = None,
    all_sky: bool = False,
    skymap: RingsSkyMap = DC2_SKYMAP,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SkymapResult:
    """Register a skymap with some or all of its tracts and their patches.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    tracts : `~collections.abc.Iterable` [ `int` ] or `str`, optional
        Tract IDs; ``footprint`` or `None` are those that DC2 covers. What the
        repository has beyond them stays.
    all_sky : `bool`, optional
        All tracts.
    skymap : `RingsSkyMap`, optional
        The skymap.
    dry_run : `bool`, optional
        Only say what would be done.
    progress : `~collections.abc.Callable`, optional
        Called with the tracts done and to do.

    Returns
    -------
    result : `SkymapResult`
        Numbers of records inserted and present.

    Raises
    ------
    ConflictError
        Raised if the repository has a skymap of this name that is another
        one, or a tract or patch with other values. Nothing is changed then.
    """
    ids = chosen_tracts(skymap, tracts, all_sky)
    result = SkymapResult(f"skymap {skymap.name}", skymap=skymap.name, hash=skymap.sha1.hex(), tracts=ids)
    with writing(repo, dry_run=dry_run) as butler:
        if dry_run:
            _register(butler, skymap, result, repo=repo, insertion=None, progress=progress)
            return result
        there = {key[-1] for key in existing_records(butler, "tract", skymap=skymap.name)}
        n_new = len(set(ids) - there) * math.prod(skymap.n_patches)
        with bulk_insertion(butler, ["tract", "patch"], n_new) as insertion:
            _register(butler, skymap, result, repo=repo, insertion=insertion, progress=progress)
    return result


def chosen_tracts(
    skymap: RingsSkyMap, tracts: Iterable[int] | Literal["footprint"] | None, all_sky: bool
) -> list[int]:
    """Find out which tracts are asked for, as `register_skymap` understands it.

    Parameters
    ----------
    skymap : `RingsSkyMap`
        The skymap.
    tracts : `~collections.abc.Iterable` [ `int` ] or `str`, optional
        Tract IDs; ``footprint`` or `None` are those that DC2 covers.
    all_sky : `bool`
        All tracts.

    Returns
    -------
    tracts : `list` [ `int` ]
        Tract IDs, ascending.
    """
    if all_sky:
        if tracts is not None:
            raise ReplicaError("Either all tracts of the sky or some tracts, not both.")
        return list(range(skymap.n_tracts))
    if tracts is None or isinstance(tracts, str):
        return skymap.tracts_touching(DC2_FOOTPRINT)
    ids = sorted(set(tracts))
    if wrong := [tract for tract in ids if not 0 <= tract < skymap.n_tracts]:
        raise ReplicaError(
            f"Skymap {skymap.name} has the tracts 0 to {skymap.n_tracts - 1}; there is no tract {wrong[0]}."
        )
    return ids


def _register(
    butler: Butler,
    skymap: RingsSkyMap,
    result: SkymapResult,
    *,
    repo: str,
    insertion: BulkInsertion | None,
    progress: Progress | None,
) -> None:
    """Compare the records with those in the repository and insert those that are missing."""
    universe, name = butler.dimensions, skymap.name
    wanted = {"skymap": [skymap.skymap_record(universe)]}
    found = existing_records(butler, "skymap")
    new = {"skymap": new_records(wanted["skymap"], found, repo=repo, explanation=_other_skymap)}
    is_new = bool(new["skymap"])
    result.count(wanted, new)
    if insertion is not None:
        insert_records(butler, new)

    def make(first: int) -> tuple[dict[str, list[DimensionRecord]], Any]:
        ids = result.tracts[first : first + _BATCH]
        records = {
            "tract": skymap.tract_records(universe, ids),
            "patch": list(skymap.patch_records(universe, ids)),
        }
        return records, insertion.prepare(records) if is_new and insertion is not None else None

    done = 0
    for records, prepared in prefetched(make, range(0, len(result.tracts), _BATCH)):
        missing = records
        if not is_new:
            where = f"tract IN ({', '.join(str(record.id) for record in records['tract'])})"
            missing = {
                element: new_records(
                    of_element, existing_records(butler, element, where, skymap=name), repo=repo
                )
                for element, of_element in records.items()
            }
        result.count(records, missing)
        if insertion is not None:
            insertion.write(prepared or insertion.prepare(missing))
        done += len(records["tract"])
        if progress is not None:
            progress(Report(done, len(result.tracts)))


def _other_skymap(record: DimensionRecord, columns: dict[str, tuple[Any, Any]]) -> str:
    if "hash" not in columns:
        return ""
    return (
        f"So the repository has another skymap under the name {record.dataId['skymap']}; today's makeSkyMap.py, "
        'for example, makes one with "cells" for patches. Tracts and patches of the two are not the same '
        "parts of the sky, and nothing was changed. Make the replica anew, or give that skymap another name."
    )
