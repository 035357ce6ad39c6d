"""Define visits: their dimension records, made without ``obs_base`` and ``afw``."""

from __future__ import annotations

__all__ = ["VisitsResult", "define_visits", "exposures_with_raws"]

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import Butler, DimensionRecord, MissingCollectionError, MissingDatasetTypeError
from rich.console import Console

from ..errors import ReplicaError, RepositoryError
from ..internals.bulk_dimensions import bulk_insertion, insert_records
from ..progress import Progress, Report
from ..session.writing import writing
from .focal_plane import focal_plane_geometry
from .geometry import MILLIARCSEC, region_distance
from .instruments import Instrument, instrument_named
from .records import DataIdKey, InsertionResult, difference, existing_records, new_records, prefetched
from .visit_records import VISIT_SYSTEMS, is_visit, visit_records, visit_system_records

_Make = Callable[[Iterable[DimensionRecord]], dict[str, list[DimensionRecord]]]

_MAX_LISTED = 10
"""Visits named for a reader."""

_MEMORY_BATCH = 50
"""Visits whose records are in memory at a time."""

_TRANSACTION_BATCH = 2500
"""Visits inserted in one transaction."""


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
        for visit, columns in list(self.different.items())[:_MAX_LISTED]:
            console.print(f"    {visit}: {', '.join(columns)}", markup=False)
        if len(self.different) > _MAX_LISTED:
            console.print(f"    and {len(self.different) - _MAX_LISTED} more", markup=False)


def define_visits(
    repo: str,
    collections: str | Sequence[str],
    *,
    instrument: str = "LSSTCam-imSim",
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
    instrument : `str`, optional
        One whose focal plane is known.
    visit_system : `str`, optional
        A name of `VISIT_SYSTEMS`.
    focal_plane : `str`, optional
        Name of a model of the focal plane.
    dataset_type : `str`, optional
        Dataset type of the raw data.
    dry_run : `bool`, optional
        Only report what would be done.
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
    ReplicaError
        Raised if there is no such choice.
    RepositoryError
        Raised if there are no such collections or no detectors.
    """
    of = instrument_named(instrument)
    _check_choice("visit system", visit_system, VISIT_SYSTEMS)
    _check_choice("focal plane", focal_plane, focal_plane_geometry(of).field_angle)
    with writing(repo, dry_run=dry_run) as butler:
        make = functools.partial(
            visit_records, butler.dimensions, visit_system=visit_system, model=focal_plane
        )
        exposures = exposures_with_raws(
            butler, repo, collections, dataset_type, instrument=instrument, must_exist=not dry_run
        )
        taken = [exposure for exposure in exposures if is_visit(exposure)]
        present = existing_records(butler, "visit", instrument=instrument)
        ids = {key[-1] for key in present}
        to_define = [exposure for exposure in taken if exposure.id not in ids]
        to_compare = [exposure for exposure in taken if exposure.id in ids]
        systems = {"visit_system": visit_system_records(butler.dimensions, instrument, visit_system)}
        there = existing_records(butler, "visit_system", instrument=instrument)
        new_systems = {"visit_system": new_records(systems["visit_system"], there, repo=repo)}

        result = VisitsResult(
            f"visits of {instrument}", exposures=len(exposures), skipped=len(exposures) - len(taken)
        )
        result.count(systems, new_systems)
        # All visits have as many records.
        for name, records in make(taken[:1]).items():
            result.inserted[name] = len(records) * len(to_define)
            result.present[name] = 0
        if not dry_run:
            _check_detectors(butler, of, repo)
            insert_records(butler, new_systems)
        _complete_visits(butler, to_compare, instrument, make, result, dry_run=dry_run, progress=progress)
        if not dry_run:
            _insert_visits(butler, to_define, of, make, n_done=len(to_compare), progress=progress)
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
    instrument: str = "LSSTCam-imSim",
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
    instrument : `str`, optional
        Name of the instrument.
    must_exist : `bool`, optional
        Whether a missing collection or dataset type is an error.

    Returns
    -------
    exposures : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Exposures in the order of their IDs.
    """
    names = [collections] if isinstance(collections, str) else collections
    try:
        # Asked first: where both lack, the butler names the dataset type only.
        for name in names:
            butler.collections.query_info(name)
        with butler.query() as query:
            found = query.join_dataset_search(dataset_type, names)
            records = list(found.where(instrument=instrument).dimension_records("exposure"))
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
            f"{instrument} only; those of other instruments are made by 'butler define-visits' of the Science "
            "Pipelines, or come with exports that have them."
        )
    return sorted(records, key=lambda record: int(record.dataId["exposure"]))


def _check_detectors(butler: Butler, instrument: Instrument, repo: str) -> None:
    """Raise if the repository lacks detectors that visits have regions of."""
    there = len(existing_records(butler, "detector", instrument=instrument.name))
    wanted = len(instrument.detectors)
    if there < wanted:
        raise RepositoryError(
            f"{repo}: {instrument.name} has {there} of its {wanted} detectors there. "
            "Register the instrument first: butler-replica instrument."
        )


def _complete_visits(
    butler: Butler,
    exposures: Sequence[DimensionRecord],
    instrument: str,
    make: _Make,
    result: VisitsResult,
    *,
    dry_run: bool,
    progress: Progress | None,
) -> None:
    """Compare visits with those in the repository, and insert the records that these lack."""
    batches = [exposures[first : first + _MEMORY_BATCH] for first in range(0, len(exposures), _MEMORY_BATCH)]
    done = 0
    for batch, wanted in zip(batches, prefetched(make, batches), strict=True):
        where = f"visit IN ({', '.join(str(exposure.id) for exposure in batch)})"
        missing: dict[str, list[DimensionRecord]] = {}
        for name, records in wanted.items():
            found = existing_records(butler, name, where, instrument=instrument)
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
    instrument: Instrument,
    make: _Make,
    *,
    n_done: int,
    progress: Progress | None,
) -> None:
    """Insert the records of visits, some thousand visits in a transaction."""
    done, total = n_done, n_done + len(exposures)
    n_detectors = len(instrument.detectors)
    for start in range(0, len(exposures), _TRANSACTION_BATCH):
        chunk = exposures[start : start + _TRANSACTION_BATCH]
        batches = [chunk[first : first + _MEMORY_BATCH] for first in range(0, len(chunk), _MEMORY_BATCH)]
        with bulk_insertion(
            butler, ["visit", "visit_detector_region"], n_detectors * len(chunk)
        ) as insertion:
            for batch, records in zip(batches, prefetched(make, batches, insertion.prepare), strict=True):
                insertion.write(records)
                done += len(batch)
                if progress is not None:
                    progress(Report(done, total, doing="inserting"))
