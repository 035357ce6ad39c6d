"""Turning calibration labels into validity ranges.

Until September 2020 a calibration had the dimension ``calibration_label``,
whose records said when it was valid, and all calibrations of an instrument
were in one run. Since then that name is a CALIBRATION collection, which says
when each dataset is valid, and the datasets are in runs below it. What is
made here of the old form is what the conversion of Generation 2 repositories
(``lsst.obs.base``) made of the same data afterwards.
"""

from __future__ import annotations

__all__ = ["convert_calibration_labels"]

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import astropy.time
from lsst.daf.butler import CollectionType, Timespan

from ..errors import ExportError
from .model import Certification, CollectionItem, DatasetBlock, DatasetRecord, ExportFile
from .records import Records

_LABEL = "calibration_label"

_CALIBRATION_DIMENSIONS = {"instrument", _LABEL, "detector", "physical_filter", "band"}
"""Dimensions of calibrations; those without a label are always valid."""

_UNBOUNDED = (
    astropy.time.Time("1970-01-01T00:00:00", scale="tai"),
    astropy.time.Time("2100-01-01T00:00:00", scale="tai"),
)
"""What was written for no beginning and no end, or earlier and later than that."""

_DAY = 86_401 * 10**9
"""Overlap, in nanoseconds, that comes from counting the last day in; a leap second more."""


def convert_calibration_labels(export: ExportFile) -> None:
    """Put validity ranges and runs in the place of an export's calibration labels.

    Parameters
    ----------
    export : `ExportFile`
        The export; it is changed in place, unless it has no labels.

    Raises
    ------
    ExportError
        Raised if a dataset has a label that the export has no record of.
    """
    rows = export.dimensions.pop(_LABEL, ())
    labelled = {name for name, item in export.dataset_types.items() if _LABEL in item.dimensions}
    if rows or labelled:
        _Converter(export, rows, labelled).convert()


class _Converter:
    """Converts one export.

    Parameters
    ----------
    export : `ExportFile`
        The export.
    rows : `~collections.abc.Iterable` [ `dict` ]
        Its records of calibration labels.
    labelled : `set` [ `str` ]
        Dataset types that have a label.
    """

    def __init__(self, export: ExportFile, rows: Iterable[dict[str, Any]], labelled: set[str]) -> None:
        self._export = export
        self._labelled = labelled
        self._timespans = {
            (row["instrument"], row["name"]): _timespan(row["datetime_begin"], row["datetime_end"])
            for row in rows
        }
        self._blocks: dict[tuple[str, str], list[DatasetRecord]] = {}
        self._taken: dict[tuple[Any, ...], Any] = {}
        # What each calibration collection says of each dataset type and data
        # ID: labels and the datasets that are valid for them.
        self._valid: dict[str, dict[Any, list[tuple[str, Timespan, Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def convert(self) -> None:
        export = self._export
        runs = {block.run for block in export.blocks if block.dataset_type in self._labelled}
        # Where other products are in the run too, it stays a run, and the
        # collection stands beside it.
        mixed = {
            block.run
            for block in export.blocks
            if block.run in runs and not self._can_be_calibration(block.dataset_type)
        }
        collections = {run: f"{run}/calib" if run in mixed else run for run in sorted(runs)}
        calibrations = set(self._labelled)
        for block in export.blocks:
            if block.dataset_type in self._labelled or block.run in runs - mixed:
                calibrations.add(block.dataset_type)
                self._convert_block(block, collections[block.run])
            else:
                self._blocks.setdefault((block.dataset_type, block.run), []).extend(block.records)
        export.blocks = [
            DatasetBlock(dataset_type, run, Records(records))
            for (dataset_type, run), records in self._blocks.items()
        ]
        for name in calibrations:
            item = export.dataset_types[name]
            export.dataset_types[name] = item._replace(
                dimensions=tuple(d for d in item.dimensions if d != _LABEL), is_calibration=True
            )
        for run, collection in collections.items():
            self._convert_collection(run, collection)
            self._certify(collection)

    def _can_be_calibration(self, dataset_type: str) -> bool:
        item = self._export.dataset_types.get(dataset_type)
        return item is not None and _CALIBRATION_DIMENSIONS.issuperset(item.dimensions)

    # Datasets

    def _convert_block(self, block: DatasetBlock, collection: str) -> None:
        """Distribute datasets over the runs of their labels."""
        for number, record in enumerate(block.records, 1):
            by_run: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
            for dataset_id, old_id in zip(record.ids, record.data_ids, strict=True):
                data_id = {name: value for name, value in old_id.items() if name != _LABEL}
                label = old_id.get(_LABEL, "unbounded")
                timespan = self._timespan(block, number, old_id)
                key = (block.dataset_type, tuple(sorted(data_id.items())))
                run = _run(collection, block.dataset_type, label)
                if self._taken.get((run, key), dataset_id) != dataset_id:
                    # A second dataset for the same data ID: one run cannot
                    # have both.
                    run = f"{collection}/{label}"
                if (run, key) not in self._taken:
                    self._valid[collection][key].append((label, timespan, dataset_id))
                self._taken[run, key] = dataset_id
                by_run.setdefault(run, []).append((dataset_id, data_id))
            for run, found in by_run.items():
                ids, data_ids = zip(*found, strict=True)
                self._blocks.setdefault((block.dataset_type, run), []).append(
                    record._replace(ids=ids, data_ids=data_ids)
                )

    def _timespan(self, block: DatasetBlock, number: int, data_id: dict[str, Any]) -> Timespan:
        if block.dataset_type not in self._labelled:
            return Timespan(None, None)
        try:
            return self._timespans[data_id["instrument"], data_id[_LABEL]]
        except KeyError as error:
            raise ExportError(
                self._export.path,
                f"has the data id {data_id}, and no record of its calibration label.",
                where=f"{block.dataset_type} record {number}",
                remedy="Is the file complete? Copy it again.",
            ) from error

    # Collections

    def _convert_collection(self, run: str, collection: str) -> None:
        export = self._export
        if collection == run:
            export.collections.pop(run, None)
        else:
            for name, item in export.collections.items():
                if run in item.children:
                    at = item.children.index(run) + 1
                    children = (*item.children[:at], collection, *item.children[at:])
                    export.collections[name] = item._replace(children=children)
        export.collections[collection] = CollectionItem(collection, CollectionType.CALIBRATION, None, ())
        below = {block.run for block in export.blocks if block.run.startswith(f"{collection}/")}
        for name in sorted(below):
            export.collections.setdefault(name, CollectionItem(name, CollectionType.RUN, None, ()))
        export.notices.append(
            f"Calibration labels became validity ranges in the CALIBRATION collection {collection}; the "
            f"datasets of run {run} that have them are in {len(below)} runs below it."
        )

    def _certify(self, collection: str) -> None:
        """Return when each dataset is valid, such that no two are for the same data ID at once."""
        by_timespan: dict[Timespan, list[Any]] = {}
        shortened: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        for (dataset_type, _), valid in self._valid[collection].items():
            accepted: list[Timespan] = []
            # Curated calibrations win over their converted copies, as they
            # did in the exports that followed.
            for converted in (False, True):
                series = sorted(
                    (v for v in valid if v[0].startswith("gen2/") is converted), key=lambda v: v[1].nsec
                )
                for (_, labelled, dataset_id), following in zip_longest(series, series[1:]):
                    timespan = labelled
                    if following is not None and _by_convention(labelled, following[1]):
                        timespan = Timespan(labelled.begin, following[1].begin)
                        shortened[dataset_type] += 1
                    if any(timespan.overlaps(other) for other in accepted):
                        left_out[dataset_type] += 1
                    else:
                        accepted.append(timespan)
                        by_timespan.setdefault(timespan, []).append(dataset_id)
        self._export.certifications[collection] = [
            Certification(timespan, ids) for timespan, ids in by_timespan.items()
        ]
        for name, count in sorted(shortened.items()):
            self._export.notices.append(
                f"{count} validity ranges of {name} in {collection} end up to a day earlier, where the next begins."
            )
        for name, count in sorted(left_out.items()):
            self._export.notices.append(
                f"{count} datasets of {name} are in their runs but not in {collection}: their labels overlap those "
                "of other datasets for the same data ID. 'butler certify-calibrations' certifies what you choose."
            )


def _run(collection: str, dataset_type: str, label: str) -> str:
    """Return the run of the datasets with a label: that of the calibration's date, where the label tells it."""
    name = re.escape(dataset_type)
    if label == "unbounded":
        return f"{collection}/unbounded"
    if match := re.match(rf"gen2/{name}_([^_]+)", label):
        return f"{collection}/gen2/{match[1]}"
    if match := re.match(rf"{name}/([^/]+)/", label):
        return f"{collection}/curated/{match[1]}"
    return f"{collection}/{label}"


def _timespan(begin: astropy.time.Time | None, end: astropy.time.Time | None) -> Timespan:
    first, last = _UNBOUNDED
    return Timespan(
        None if begin is None or begin <= first else begin, None if end is None or end >= last else end
    )


def _by_convention(timespan: Timespan, following: Timespan) -> bool:
    """Whether a range reaches into the one that follows it only because its last day was counted in."""
    (begin, end), (next_begin, _) = timespan.nsec, following.nsec
    return begin < next_begin < end <= next_begin + _DAY
