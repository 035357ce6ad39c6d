"""Bringing what an old export says into the dimension universe of a repository.

The migrations are those of `lsst.daf.butler.transfers.YamlRepoImportBackend`
(universes before 1, 2 and 6), and those that it lacks: ``visit_definition``
lost its visit system in universe 2, and exposures of before October 2020 have
neither an ``obs_id`` nor a day of observation.
"""

from __future__ import annotations

__all__ = ["MigratedDimensions", "dataset_type", "migrate_dimensions"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import astropy.time
from lsst.daf.butler import (
    DatasetType,
    DimensionRecord,
    DimensionUniverse,
    StorageClassFactory,
    Timespan,
)
from lsst.sphgeom import Region
from lsst.utils import doImportType

from ..errors import ExportError
from .model import DatasetTypeItem, ExportFile

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class MigratedDimensions:
    """Dimension records of an export, in the universe of the repository."""

    records: dict[str, list[DimensionRecord]] = field(default_factory=dict)
    """Records by element name; elements in the order in which they can be inserted."""

    repeated: list[tuple[DimensionRecord, DimensionRecord]] = field(default_factory=list)
    """Records of one data ID; the last of them is in ``records``."""

    notices: list[str] = field(default_factory=list)
    """What a reader should know of the migration."""


def migrate_dimensions(
    export: ExportFile, universe: DimensionUniverse, instrument_classes: Mapping[str, str]
) -> MigratedDimensions:
    """Make an export's dimension records those of the repository's universe.

    Parameters
    ----------
    export : `ExportFile`
        The export; its rows are left as they are.
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    instrument_classes : `~collections.abc.Mapping` [ `str`, `str` ]
        Class names of the instruments that the repository has, by name. They
        tell when the day of observation begins, where they can be imported.

    Returns
    -------
    migrated : `MigratedDimensions`
        Dimension records by element.

    Raises
    ------
    ExportError
        Raised if an element or a column is not known to the universe, or if
        what is needed for a migration is not in the records.
    """
    _check_universe(export, universe)
    rows: Rows = {
        element: [dict(row) for row in element_rows] for element, element_rows in export.dimensions.items()
    }
    try:
        classes: dict[str, str | None] = {**instrument_classes}
        classes.update((row["name"], row.get("class_name")) for row in rows.get("instrument", ()))
        notices = _migrate(rows, export.universe_version, universe, classes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ExportError(
            export.path,
            f"has visits or exposures that cannot be brought from universe {export.universe_version} to "
            f"{universe.version} ({type(error).__name__}: {error}).",
            remedy="Is the file complete? Copy or export it again.",
        ) from error
    migrated = MigratedDimensions(notices=notices)
    _make_records(export, rows, universe, migrated)
    return migrated


def dataset_type(item: DatasetTypeItem, export: ExportFile, universe: DimensionUniverse) -> DatasetType:
    """Make a dataset type of an export in the universe of the repository.

    Parameters
    ----------
    item : `DatasetTypeItem`
        Its definition.
    export : `ExportFile`
        The export that it comes from.
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.

    Returns
    -------
    dataset_type : `lsst.daf.butler.DatasetType`
        The dataset type.

    Raises
    ------
    ExportError
        Raised if a dimension is not known to the universe, or the storage
        class to the butler.
    """
    dimensions = list(item.dimensions)
    if export.universe_version < 2 and {"visit", "visit_system"} <= set(dimensions):
        dimensions.remove("visit_system")
    unknown = [name for name in dimensions if name not in universe.dimensions.names]
    if unknown:
        raise ExportError(
            export.path,
            f"dataset type {item.name!r} has the dimensions {', '.join(unknown)}, which universe "
            f"{universe.version} of this repository does not have.",
            remedy=_remedy(export, universe),
        )
    if item.storage_class not in StorageClassFactory():
        raise ExportError(
            export.path,
            f"dataset type {item.name!r} is of the storage class {item.storage_class!r}, which this "
            "lsst-daf-butler does not know.",
            remedy=f"Define it in the repository's butler.yaml (storageClasses: {item.storage_class}: pytype: ...), "
            "or use the release that has it.",
        )
    try:
        return DatasetType(
            item.name,
            dimensions=dimensions,
            storageClass=item.storage_class,
            universe=universe,
            isCalibration=item.is_calibration,
        )
    except (ValueError, TypeError) as error:
        raise ExportError(
            export.path, f"dataset type {item.name!r} cannot be made: {str(error).rstrip('.')}."
        ) from error


def _check_universe(export: ExportFile, universe: DimensionUniverse) -> None:
    """Refuse what nobody here can know: columns that fit may mean something else by then."""
    if export.universe_namespace != universe.namespace:
        raise ExportError(
            export.path,
            f"is of the universe of dimensions {export.universe_namespace!r}; the repository's is "
            f"{universe.namespace!r}.",
            remedy="What is of one cannot be converted to the other: make a repository with that universe.",
        )
    known = max(universe.version, DimensionUniverse().version)
    if export.universe_version > known:
        raise ExportError(
            export.path,
            f"is of universe {export.universe_version} of dimensions; the newest that this lsst-daf-butler knows is "
            f"{known}.",
            remedy="Install a newer lsst-daf-butler and make the repository with it, or export again with an older "
            "one.",
        )


_CORRECT = "Correct it in a copy of the export."

_GIVEN_UP = (("visit", "seeing"), ("instrument", "day_obs_offset"))
"""Elements and columns: of universe 0, and of the weekly releases of February 2024."""

_NEWER = "The export is newer than the repository: make the repository with a newer lsst-daf-butler."


def _migrate(
    rows: Rows, version: int, universe: DimensionUniverse, classes: Mapping[str, str | None]
) -> list[str]:
    """Bring records from one universe to another, in place; say what a reader should know of it."""
    _drop_columns(rows, universe)
    if version < 1:
        _rename_obs_id(rows)
        _add_missing_day_obs(rows, classes)
    if version < 2 and "visit_system_membership" in universe:
        _migrate_visit_systems(rows)
    if version < 6 and "day_obs" in universe:
        _add_groups(rows)
        return _add_day_obs(rows, classes)
    return []


def _rename_obs_id(rows: Rows) -> None:
    """Universe 0, until October 2020: the observation identifier was the exposure's name."""
    for exposure in rows.get("exposure", ()):
        if "name" in exposure:
            exposure["obs_id"] = exposure.pop("name")


def _drop_columns(rows: Rows, universe: DimensionUniverse) -> None:
    """Leave out columns that were given up: later universes tell it otherwise, or not at all."""
    for element, column in _GIVEN_UP:
        if element in universe and column not in universe[element].metadata.names:
            for row in rows.get(element, ()):
                row.pop(column, None)


def _add_missing_day_obs(rows: Rows, classes: Mapping[str, str | None]) -> None:
    """Universe 1: visits and exposures have a day of observation."""
    for element in ("visit", "exposure"):
        for row in rows.get(element, ()):
            if row.get("day_obs") is None:
                if row.get("datetime_begin") is None:
                    raise ValueError(
                        f"{element} {row['id']} of {row['instrument']} has neither a day of observation nor a time"
                    )
                date = row["datetime_begin"].tai
                if offset := _day_obs_offset(classes.get(row["instrument"]), date):
                    date = date - astropy.time.TimeDelta(offset, format="sec", scale="tai")
                row["day_obs"] = int(date.strftime("%Y%m%d"))


def _migrate_visit_systems(rows: Rows) -> None:
    """Universe 2: a visit can belong to several visit systems, and has a sequence number."""
    memberships: dict[tuple[str, int, int], None] = {}
    for visit in rows.get("visit", ()):
        system = visit.pop("visit_system", None)
        if system is not None:
            memberships[visit["instrument"], system, visit["id"]] = None
    exposures = {(row["instrument"], row["id"]): row for row in rows.get("exposure", ())}
    first: dict[tuple[str, int], int] = {}
    for definition in rows.get("visit_definition", ()):
        instrument, visit_id = definition["instrument"], definition["visit"]
        system = definition.pop("visit_system", None)
        if system is not None:
            memberships[instrument, system, visit_id] = None
        number = exposures.get((instrument, definition["exposure"]), {}).get("seq_num")
        if number is not None:
            first[instrument, visit_id] = min(number, first.get((instrument, visit_id), number))
    for visit in rows.get("visit", ()):
        if (visit["instrument"], visit["id"]) in first:
            visit.setdefault("seq_num", first[visit["instrument"], visit["id"]])
    if memberships:
        rows.setdefault("visit_system_membership", []).extend(
            {"instrument": instrument, "visit_system": system, "visit": visit_id}
            for instrument, system, visit_id in memberships
        )


def _add_groups(rows: Rows) -> None:
    """Universe 6: a group of exposures is a dimension."""
    groups: dict[tuple[str, str], None] = {}
    for exposure in rows.get("exposure", ()):
        exposure.pop("group_id", None)
        if "group" not in exposure:
            # An exposure without a group is one of its own.
            exposure["group"] = exposure.pop("group_name", None) or str(exposure["id"])
        groups[exposure["instrument"], exposure["group"]] = None
    if groups:
        rows.setdefault("group", []).extend(
            {"instrument": instrument, "name": name} for instrument, name in groups
        )


def _add_day_obs(rows: Rows, classes: Mapping[str, str | None]) -> list[str]:
    """Universe 6: the day of observation is a dimension."""
    days = {
        (row["instrument"], row["day_obs"]): None
        for element in ("visit", "exposure")
        for row in rows.get(element, ())
        if row.get("day_obs") is not None
    }
    without_timespan = set()
    for instrument, day in days:
        text = str(day)
        midnight = astropy.time.Time(
            f"{text[:4]}-{text[4:6]}-{text[6:8]}T00:00:00", format="isot", scale="tai"
        )
        offset = _day_obs_offset(classes.get(instrument), midnight)
        if offset is None:
            without_timespan.add(instrument)
        timespan = None if offset is None else Timespan.from_day_obs(day, offset=offset)
        rows.setdefault("day_obs", []).append({"instrument": instrument, "id": day, "timespan": timespan})
    return [
        f"The day_obs records of {instrument} have no timespan: the export is older than they are, and the "
        "class that knows when the day begins is not installed here."
        for instrument in sorted(without_timespan)
    ]


def _day_obs_offset(class_name: str | None, date: astropy.time.Time) -> int | None:
    """Seconds after 0h TAI at which the day of observation begins, if the class can tell."""
    if class_name is None:
        return None
    try:
        instrument: Any = doImportType(class_name)
        offset = instrument.translatorClass.observing_date_to_offset(date)
    except Exception:
        # Not installed here, or of another making: unknown either way.
        return None
    return None if offset is None else round(offset.to_value("s"))


def _remedy(export: ExportFile, universe: DimensionUniverse) -> str:
    return _NEWER if export.universe_version > universe.version else _CORRECT


def _make_records(
    export: ExportFile, rows: Rows, universe: DimensionUniverse, migrated: MigratedDimensions
) -> None:
    unknown = [name for name in rows if name not in universe.elements.names]
    if unknown:
        raise ExportError(
            export.path,
            f"has records of {', '.join(unknown)}, which universe {universe.version} of this "
            "repository does not have.",
            remedy=_remedy(export, universe),
        )
    for element in universe.sorted(rows):
        made: dict[Any, DimensionRecord] = {}
        texts = [column.name for column in element.schema.all if column.type == "string"]
        for number, row in enumerate(rows[element.name], 1):
            for name in texts:
                # Digits without quotes; the databases take them for text as well.
                if type(row.get(name)) in (int, float):
                    row[name] = str(row[name])
            if not isinstance(row.get("region"), Region | None):
                raise ExportError(
                    export.path, "has a region that is none.", where=f"{element.name} record {number}"
                )
            try:
                record = element.RecordClass(**row)
                if (before := made.get(record.dataId.required_values)) is not None:
                    migrated.repeated.append((before, record))
                made[record.dataId.required_values] = record
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise ExportError(
                    export.path,
                    f"does not fit universe {universe.version} of this repository: {str(error).rstrip('.')}.",
                    where=f"{element.name} record {number}",
                    remedy=_remedy(export, universe),
                ) from error
        migrated.records[element.name] = list(made.values())
