"""Which datasets the sample has, in which collections, and where their artifacts are."""

from __future__ import annotations

__all__ = [
    "BACKUP",
    "CALIBRATIONS",
    "CHAINS",
    "DOCS",
    "DP02_RAWS",
    "RAW_RUN",
    "RUNS",
    "TAGGED_RAWS",
    "Certification",
    "PlannedBlock",
    "PlannedDataset",
    "n_processed",
    "plan_datasets",
]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from lsst.daf.butler import DimensionUniverse

from .dc2 import INSTRUMENT, SKYMAP
from .observations import Observations

BACKUP = "dc2_ncsa_backup"
DP02_RAWS = "dp02_raws"
"""Folders of the sample that hold artifacts."""

FOLDERS = (BACKUP, DP02_RAWS, "raw", "usdf_export_calib", "usdf_export_full_latest", "usdf_export")
"""All folders of the sample."""

RAW_RUN = "2.2i/raw/all"
_CURATED = "2.2i/calib/DM-30694/curated/19700101T000000Z"
_UNBOUNDED = "2.2i/calib/DM-30694/unbounded"
_OLD_UNBOUNDED = "2.2i/calib/PREOPS-301/unbounded"
_BIAS_RUN = "2.2i/calib/gen2/20220101T000000Z"
_FLAT_RUN = "2.2i/calib/gen2/20220806T000000Z"
_SKY_RUN = "2.2i/calib/gen2/20231201T000000Z"
_REFCAT_RUN = "refcats/PREOPS-301"
_SKYMAP_RUN = "skymaps"
_TRUTH_RUN = "2.2i/truth_summary"
_SCIENCE_RUN = "u/nsedaghat/Dataset0.1.1-sciCalexps/20220521T042355Z"
_TEMPLATE_RUN = "u/nsedaghat/DLDataset0.1.1-templates/20220522T031531Z"
_DIFF_RUN = "u/nsedaghat/DLDataset0.1.1-diffs/20220522T064105Z"
_FIRST_RUNS = tuple(
    f"u/nsedaghat/DLDataset0.0/{time}"
    for time in ("20220108T003039Z", "20220112T182518Z", "20220119T010921Z", "20220119T130340Z")
)

RUNS: tuple[str, ...] = (
    RAW_RUN,
    *(_CURATED, _UNBOUNDED, _OLD_UNBOUNDED, _BIAS_RUN, _FLAT_RUN, _SKY_RUN),
    *(_REFCAT_RUN, _SKYMAP_RUN, _TRUTH_RUN),
    *(_SCIENCE_RUN, _TEMPLATE_RUN, _DIFF_RUN, *_FIRST_RUNS),
)

TAGGED_RAWS = "u/nsedaghat/CorrespondingRawsGoodies"
"""The TAGGED collection of the raws that were processed."""


class Certification(NamedTuple):
    """Datasets of some dataset types and a run, and the dates between which they are valid."""

    run: str
    dataset_types: tuple[str, ...]
    begin: str | None
    end: str | None


CALIBRATIONS: dict[str, tuple[Certification, ...]] = {
    "2.2i/calib/DM-30694": (
        Certification(_CURATED, ("bfk",), "1970-01-01", None),
        Certification(_UNBOUNDED, ("camera",), None, None),
    ),
    "2.2i/calib/PREOPS-301": (Certification(_OLD_UNBOUNDED, ("camera",), None, None),),
    "2.2i/calib/gen2": (
        Certification(_BIAS_RUN, ("bias", "dark"), "1994-08-17", "2049-05-18"),
        Certification(_FLAT_RUN, ("flat",), "1995-03-22", "2049-12-21"),
        Certification(_SKY_RUN, ("sky",), "1996-07-16", "2051-04-17"),
    ),
}
"""CALIBRATION collections and what is certified into them."""

CHAINS: dict[str, tuple[str, ...]] = {
    "refcats": (_REFCAT_RUN,),
    "2.2i/calib": ("2.2i/calib/DM-30694", "2.2i/calib/gen2", _UNBOUNDED),
    "2.2i/defaults": (RAW_RUN, "2.2i/calib", _SKYMAP_RUN, "refcats", _TRUTH_RUN),
    "u/nsedaghat/DLDataset0.0": (*reversed(_FIRST_RUNS), "2.2i/defaults"),
    "u/nsedaghat/Dataset0.1.1-sciCalexps": (_SCIENCE_RUN, TAGGED_RAWS, "2.2i/defaults"),
    "u/nsedaghat/DLDataset0.1.1-templates": (_TEMPLATE_RUN, "2.2i/defaults"),
    "u/nsedaghat/DLDataset0.1.1-diffs": (_DIFF_RUN, _TEMPLATE_RUN, _SCIENCE_RUN, "2.2i/defaults"),
}
"""CHAINED collections and their children; a child that is a chain stands before its parent."""

DOCS: dict[str, str] = {
    RAW_RUN: "All raws of DC2 run 2.2i.",
    "2.2i/calib": "Default calibrations of DC2 run 2.2i.",
    "2.2i/defaults": "Default inputs of DC2 run 2.2i.",
    TAGGED_RAWS: "The raws that the runs of u/nsedaghat were made from.",
}
"""Documentation of collections."""

_LOSSY = {
    "bias",
    "cal_ref_cat_2_2",
    "calexp",
    "goodSeeingDiff_templateExp",
    "goodSeeingDiff_differenceExp",
    "goodSeeingDiff_diaSrcTable",
}
"""Dataset types of which the backup lost artifacts."""

DataIdValues = Mapping[str, Any]


class PlannedDataset(NamedTuple):
    """A dataset, and the folders that hold its artifact: none if it is missing."""

    data_id: DataIdValues
    folders: tuple[str, ...]


@dataclass(frozen=True)
class PlannedBlock:
    """The datasets of one dataset type in one run."""

    dataset_type: str
    run: str
    datasets: tuple[PlannedDataset, ...]


def n_processed(n_exposures: int) -> int:
    """Return how many exposures, the first ones, were processed by the user.

    Parameters
    ----------
    n_exposures : `int`
        Number of exposures, two or more.

    Returns
    -------
    number : `int`
        About two thirds of them, not all.
    """
    return max(1, 2 * n_exposures // 3)


def plan_datasets(
    universe: DimensionUniverse, observations: Observations, detectors: Sequence[int]
) -> list[PlannedBlock]:
    """Plan all datasets of the sample.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    observations : `Observations`
        What was observed.
    detectors : `~collections.abc.Sequence` [ `int` ]
        IDs of the detectors that have datasets.

    Returns
    -------
    blocks : `list` [ `PlannedBlock` ]
        The datasets by dataset type and run.
    """
    numbers = [exposure.id for exposure in observations.exposures]
    processed = numbers[: n_processed(len(numbers))]
    visits = _data_ids(visit=processed, detector=detectors)
    first = _data_ids(visit=processed[:1], detector=detectors)
    per_detector = _data_ids(detector=detectors)
    filters = sorted({exposure.physical_filter for exposure in observations.exposures})
    flats = _data_ids(physical_filter=filters, detector=detectors)
    tracts = [{"skymap": SKYMAP.name, "tract": tract.id} for tract in observations.records["tract"]]
    bands = sorted({exposure.physical_filter[0] for exposure in observations.exposures})
    coadds = [{**tracts[0], "patch": 24, "band": band} for band in bands]
    shards = _reference_shards(universe, observations, processed, detectors)

    blocks = [
        PlannedBlock("raw", RAW_RUN, tuple(_plan_raws(numbers, len(processed), detectors))),
        _block("camera", _UNBOUNDED, _data_ids()),
        _block("camera", _OLD_UNBOUNDED, _data_ids()),
        _block("bfk", _CURATED, per_detector),
        _block("bias", _BIAS_RUN, per_detector),
        _block("dark", _BIAS_RUN, per_detector),
        _block("flat", _FLAT_RUN, flats),
        _block("sky", _SKY_RUN, flats),
        _block("cal_ref_cat_2_2", _REFCAT_RUN, [{"htm7": shard} for shard in shards]),
        _block("skyMap", _SKYMAP_RUN, [{"skymap": SKYMAP.name}]),
        _block("truth_summary", _TRUTH_RUN, tracts),
        _block("calexp", _SCIENCE_RUN, visits),
        _block("calexpBackground", _SCIENCE_RUN, visits),
        *_task_blocks("isr", _SCIENCE_RUN, _data_ids(exposure=processed[:1], detector=detectors)),
        *_task_blocks("characterizeImage", _SCIENCE_RUN, first),
        *_task_blocks("calibrate", _SCIENCE_RUN, first),
        _block("goodSeeingDiff_templateExp", _TEMPLATE_RUN, visits),
        *_task_blocks("assembleCoadd", _TEMPLATE_RUN, coadds),
        _block("goodSeeingDiff_differenceExp", _DIFF_RUN, visits),
        _block("goodSeeingDiff_diaSrcTable", _DIFF_RUN, visits),
        _block("apdb_marker", _DIFF_RUN, visits),
    ]
    for k, run in enumerate(_FIRST_RUNS):
        # Earlier attempts at the same data: equal data IDs in several runs.
        again = _data_ids(visit=[processed[k % len(processed)]], detector=detectors)
        blocks += [
            _block(name, run, again)
            for name in ("calexp", "goodSeeingDiff_differenceExp", "goodSeeingDiff_diaSrcTable")
        ]
    return blocks


def _data_ids(**values: Iterable[Any]) -> list[DataIdValues]:
    """Combine values of dimensions that depend on the instrument."""
    return [
        {"instrument": INSTRUMENT.name, **dict(zip(values, combination, strict=True))}
        for combination in product(*values.values())
    ]


def _block(name: str, run: str, data_ids: Sequence[DataIdValues]) -> PlannedBlock:
    """Plan datasets whose artifacts are in the backup, unless they are lost: every seventh, and the last."""

    def lost(k: int) -> bool:
        return name in _LOSSY and len(data_ids) > 1 and (k % 7 == 6 or k == len(data_ids) - 1)

    return PlannedBlock(
        name,
        run,
        tuple(PlannedDataset(d, () if lost(k) else (BACKUP,)) for k, d in enumerate(data_ids)),
    )


def _task_blocks(label: str, run: str, data_ids: Sequence[DataIdValues]) -> list[PlannedBlock]:
    return [
        _block(f"{label}_config", run, [{}]),
        _block(f"{label}_log", run, data_ids),
        _block(f"{label}_metadata", run, data_ids),
    ]


def _plan_raws(numbers: Sequence[int], processed: int, detectors: Sequence[int]) -> Iterable[PlannedDataset]:
    """Plan the raws: those that were processed have a folder of their own, the backup has some of all."""
    for k, number in enumerate(numbers):
        for n, data_id in enumerate(_data_ids(exposure=[number], detector=detectors)):
            folders = [DP02_RAWS] if k < processed else []
            if n % 2 == 0:
                folders.append(BACKUP)
            yield PlannedDataset(data_id, tuple(folders))


def _reference_shards(
    universe: DimensionUniverse,
    observations: Observations,
    visits: Sequence[int],
    detectors: Sequence[int],
) -> list[int]:
    """Find the shards of the reference catalogue that processed detectors touch."""
    pixelization = universe.skypix_dimensions["htm7"].pixelization
    regions = observations.detector_regions()
    shards: set[int] = set()
    for place in product(visits, detectors):
        for begin, end in pixelization.envelope(regions[place]):
            shards.update(range(begin, end))
    return sorted(shards)
