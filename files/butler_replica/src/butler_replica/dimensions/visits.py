"""Visits of LSSTCam-imSim: their dimension records, made without ``obs_base`` and ``afw``."""

from __future__ import annotations

__all__ = [
    "FOCAL_PLANES",
    "VISIT_SYSTEMS",
    "FocalPlane",
    "VisitsResult",
    "define_visits",
    "exposures_with_raws",
    "is_visit",
    "visit_records",
    "visit_system_records",
]

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from lsst.daf.butler import (
    Butler,
    DimensionElement,
    DimensionRecord,
    DimensionUniverse,
    MissingCollectionError,
    MissingDatasetTypeError,
)
from rich.console import Console

from ..errors import ReplicaError, RepositoryError
from ..internals.bulk_dimensions import bulk_insertion, insert_records
from ..progress import Progress, Report
from ..session.writing import writing
from .geometry import ARCSEC, MILLIARCSEC, Array, deproject, polygon, polygons, region_distance, tangent_frame
from .instruments import INSTRUMENT, focal_plane_layout
from .records import (
    DataIdKey,
    InsertionResult,
    difference,
    existing_records,
    make_record,
    new_records,
    prefetched,
)

_Make = Callable[[Iterable[DimensionRecord]], dict[str, list[DimensionRecord]]]

_BATCH = 50
"""Visits whose records are in memory at a time."""

_TRANSACTION = 2500
"""Visits inserted in one transaction."""

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

_ELEMENTS = ("visit", "visit_definition", "visit_system_membership", "visit_detector_region")

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
def _focal_plane(model: str) -> FocalPlane:
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
    focal_plane: str = "nominal",
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
    focal_plane : `str`, optional
        One of `FOCAL_PLANES`.

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
    corners = _focal_plane(focal_plane).detector_vertices(*pointings.T)
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
    """Take over from an exposure what its visit has in common with it."""
    columns: dict[str, Any] = exposure.toDict()
    columns["name"] = columns.pop("obs_id")
    columns["observation_reason"] = columns["observation_reason"] or "various"  # as the official task has it
    return columns


@dataclass
class VisitsResult(InsertionResult):
    """Which visits were defined, or would be."""

    exposures: int = 0
    """Exposures that the collections have raw data of."""

    skipped: int = 0
    """Exposures that cannot be visits: not on the sky, or no pointing is known."""

    different: dict[int, list[str]] = field(default_factory=dict)
    """How visits that were there already, and stay, differ from those made here; by visit."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the differences as plain JSON data."""
        return {
            "exposures": {"found": self.exposures, "skipped": self.skipped},
            "different": {str(visit): columns for visit, columns in self.different.items()},
            **super().to_dict(),
        }

    def show(self, console: Console) -> None:
        """Print the numbers and the first differences for a reader."""
        super().show(console)
        console.print(
            f"  exposures: {self.exposures}, of which {self.skipped} cannot be visits", markup=False
        )
        if not self.different:
            return
        console.print(
            f"  {len(self.different)} visits are there with other values, and were kept:", markup=False
        )
        for visit, columns in list(self.different.items())[:10]:
            console.print(f"    {visit}: {', '.join(columns)}", markup=False)
        if len(self.different) > 10:
            console.print(f"    and {len(self.different) - 10} more", markup=False)


def define_visits(
    repo: str,
    collections: str | Sequence[str],
    *,
    visit_system: str = "one-to-one",
    focal_plane: str = "nominal",
    dataset_type: str = "raw",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> VisitsResult:
    """Define a visit for each exposure that collections have raw data of.

    Whether the artifacts are there does not matter.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    collections : `str` or `~collections.abc.Sequence` [ `str` ]
        Collections with raw data.
    visit_system : `str`, optional
        A name of `VISIT_SYSTEMS`.
    focal_plane : `str`, optional
        One of `FOCAL_PLANES`.
    dataset_type : `str`, optional
        Dataset type of the raw data.
    dry_run : `bool`, optional
        Only say what would be done.
    progress : `~collections.abc.Callable`, optional
        Called with the visits done and to do.

    Returns
    -------
    result : `VisitsResult`
        Numbers of records inserted and present. Visits that were there with
        other values are kept and reported; what they lack (the region of a
        detector, their membership in the visit system) is added.

    Raises
    ------
    RepositoryError
        Raised if there are no such collections or no detectors.
    """
    _check_choice("visit system", visit_system, VISIT_SYSTEMS)
    _check_choice("focal plane", focal_plane, FOCAL_PLANES)
    with writing(repo, dry_run=dry_run) as butler:
        make = functools.partial(
            visit_records, butler.dimensions, visit_system=visit_system, focal_plane=focal_plane
        )
        exposures = exposures_with_raws(butler, repo, collections, dataset_type, must_exist=not dry_run)
        taken = [exposure for exposure in exposures if is_visit(exposure)]
        present = existing_records(butler, "visit", instrument=INSTRUMENT)
        ids = {key[-1] for key in present}
        to_define = [exposure for exposure in taken if exposure.id not in ids]
        to_compare = [exposure for exposure in taken if exposure.id in ids]
        systems = {"visit_system": visit_system_records(butler.dimensions, visit_system)}
        there = existing_records(butler, "visit_system", instrument=INSTRUMENT)
        new_systems = {"visit_system": new_records(systems["visit_system"], there, repo=repo)}

        result = VisitsResult(
            f"visits of {INSTRUMENT}", exposures=len(exposures), skipped=len(exposures) - len(taken)
        )
        result.count(systems, new_systems)
        # All visits have as many records.
        for name, records in make(taken[:1]).items():
            result.inserted[name] = len(records) * len(to_define)
            result.present[name] = 0
        if not dry_run:
            _check_detectors(butler, repo)
            insert_records(butler, new_systems)
        _complete_visits(butler, to_compare, make, result, dry_run=dry_run, progress=progress)
        if not dry_run:
            _insert_visits(butler, to_define, make, n_done=len(to_compare), progress=progress)
    return result


def _check_choice(what: str, given: str, choices: Iterable[str]) -> None:
    if given not in choices:
        raise ReplicaError(f"There is no {what} '{given}'; there are: {', '.join(choices)}.")


def exposures_with_raws(
    butler: Butler,
    repo: str,
    collections: str | Sequence[str],
    dataset_type: str = "raw",
    *,
    must_exist: bool = True,
) -> list[DimensionRecord]:
    """Find the exposures that collections have raw data of.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    repo : `str`
        Its name, for the message.
    collections : `str` or `~collections.abc.Sequence` [ `str` ]
        Collections with raw data.
    dataset_type : `str`, optional
        Dataset type of the raw data.
    must_exist : `bool`, optional
        Whether a missing collection or dataset type is an error.

    Returns
    -------
    exposures : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Exposures in the order of their IDs.
    """
    try:
        with butler.query() as query:
            found = query.join_dataset_search(
                dataset_type, [collections] if isinstance(collections, str) else collections
            )
            records = list(found.where(instrument=INSTRUMENT).dimension_records("exposure"))
            others = () if records else {data_id["instrument"] for data_id in found.data_ids(["instrument"])}
    except (MissingDatasetTypeError, MissingCollectionError) as error:
        if not must_exist:
            return []
        raise RepositoryError(
            f"{repo}: there is no raw data to define visits for: {error} Import the raw data first."
        ) from error
    if others:
        raise RepositoryError(
            f"{repo}: the raw data there are of {', '.join(sorted(map(str, others)))}. Visits are defined here for "
            f"{INSTRUMENT} only; those of other instruments are made by 'butler define-visits' of the Science "
            "Pipelines, or come with exports that have them."
        )
    return sorted(records, key=lambda record: int(record.dataId["exposure"]))


def _check_detectors(butler: Butler, repo: str) -> None:
    """Raise if the repository lacks detectors that visits have regions of."""
    there = len(existing_records(butler, "detector", instrument=INSTRUMENT))
    wanted = len(focal_plane_layout().detectors)
    if there < wanted:
        raise RepositoryError(
            f"{repo}: {INSTRUMENT} has {there} of its {wanted} detectors there. "
            "Register the instrument first: butler-replica instrument."
        )


def _complete_visits(
    butler: Butler,
    exposures: Sequence[DimensionRecord],
    make: _Make,
    result: VisitsResult,
    *,
    dry_run: bool,
    progress: Progress | None,
) -> None:
    """Compare visits with those in the repository, and insert the records that these lack."""
    batches = [exposures[first : first + _BATCH] for first in range(0, len(exposures), _BATCH)]
    done = 0
    for batch, wanted in zip(batches, prefetched(make, batches), strict=True):
        where = f"visit IN ({', '.join(str(exposure.id) for exposure in batch)})"
        missing: dict[str, list[DimensionRecord]] = {}
        for name, records in wanted.items():
            found = existing_records(butler, name, where, instrument=INSTRUMENT)
            missing[name] = [record for record in records if record.dataId.required_values not in found]
            _compare(records, found, result.different)
        result.count(wanted, missing)
        if not dry_run:
            with butler.transaction():
                insert_records(butler, missing)
        done += len(batch)
        if progress is not None:
            progress(Report(done, result.exposures - result.skipped, doing="comparing"))


def _compare(
    wanted: Sequence[DimensionRecord],
    found: Mapping[DataIdKey, DimensionRecord],
    different: dict[int, list[str]],
) -> None:
    """Note how records in the repository differ from those made here."""
    farthest: dict[int, float] = {}
    detectors: Counter[int] = Counter()
    for record in wanted:
        other = found.get(record.dataId.required_values)
        columns = {} if other is None else difference(record, other)
        visit = int(record.dataId["visit"])
        for name, (ours, theirs) in columns.items():
            if name == "region":
                detectors[visit] += 1
                distance = region_distance(ours, theirs) / MILLIARCSEC
                farthest[visit] = max(distance, farthest.get(visit, 0.0))
            else:
                different.setdefault(visit, []).append(f"{name} is {theirs!r}, not {ours!r}")
    for visit, distance in farthest.items():
        what = "region" if wanted[0].definition.name == "visit" else f"{detectors[visit]} detector regions"
        different.setdefault(visit, []).append(f"{what} by up to {distance:.3g} mas")


def _insert_visits(
    butler: Butler,
    exposures: Sequence[DimensionRecord],
    make: _Make,
    *,
    n_done: int,
    progress: Progress | None,
) -> None:
    """Insert the records of visits, some thousand visits in a transaction."""
    done, total = n_done, n_done + len(exposures)
    n_detectors = len(focal_plane_layout().detectors)
    for start in range(0, len(exposures), _TRANSACTION):
        chunk = exposures[start : start + _TRANSACTION]
        batches = [chunk[first : first + _BATCH] for first in range(0, len(chunk), _BATCH)]
        with bulk_insertion(
            butler, ["visit", "visit_detector_region"], n_detectors * len(chunk)
        ) as insertion:
            for batch, records in zip(batches, prefetched(make, batches, insertion.prepare), strict=True):
                insertion.write(records)
                done += len(batch)
                if progress is not None:
                    progress(Report(done, total, doing="inserting"))
