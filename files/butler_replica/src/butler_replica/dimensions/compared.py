"""The dimension records of an export beside those of a repository."""

from __future__ import annotations

__all__ = ["ComparedRecords", "compare_records", "other_records_used"]

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import Butler, DimensionRecord
from lsst.utils.iteration import chunk_iterable

from ..exports.migrate import dataset_type, migrate_dimensions
from ..exports.model import ExportFile
from ..exports.values import check_records
from .identity import IDENTIFIED, OtherRecords, differing_columns, identity_columns
from .lookup import LOOKUP_BATCH, data_id_text, stored_records

_Key = tuple[Any, ...]


@dataclass
class ComparedRecords:
    """The dimension records of an export beside those of a repository."""

    others: OtherRecords
    """Those that are about something else than the repository's, or another one of the export, of the same name."""

    known: dict[str, list[DimensionRecord]] = field(default_factory=dict)
    """All by element, in the order in which they can be inserted: the repository's where it has one."""

    new: dict[str, list[DimensionRecord]] = field(default_factory=dict)
    """Those that the repository lacks, without what belongs to ``others``."""

    notices: list[str] = field(default_factory=list)


def compare_records(
    butler: Butler, export: ExportFile, elements: Container[str] | None = None
) -> ComparedRecords:
    """Compare the dimension records of an export with those of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    export : `~butler_replica.exports.model.ExportFile`
        The export.
    elements : `~collections.abc.Container` [ `str` ], optional
        Dimension elements to compare; all if not given.

    Returns
    -------
    compared : `ComparedRecords`
        What is new, and what differs.

    Raises
    ------
    ExportError
        Raised if a record does not fit the repository's universe or tables.
    """
    universe = butler.dimensions
    instruments = {
        str(record.name): str(record.class_name)
        for record in butler.query_dimension_records("instrument", explain=False)
    }
    migrated = migrate_dimensions(export, universe, instruments)
    check_records(export.path, migrated.records)
    compared = ComparedRecords(OtherRecords(export.path), notices=[*migrated.notices])
    for one, other in migrated.repeated:
        _note(compared.others, one, identity_columns(one, other), "another record of the export")
    definitions = migrated.records.get("visit_definition", ())
    for element, records in migrated.records.items():
        if elements is not None and element not in elements:
            continue
        there = stored_records(butler, universe[element], [record.dataId for record in records])
        compared.known[element] = [there.get(r.dataId.required_values, r) for r in records]
        compared.notices += _compare_element(compared, records, there)
        if element == "visit":
            _compare_definitions(butler, definitions, compared.others)
    return compared


def other_records_used(butler: Butler, export: ExportFile) -> Iterator[str]:
    """Find datasets of an export that are of something else than the repository's record of that name.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    export : `~butler_replica.exports.model.ExportFile`
        The export.

    Yields
    ------
    text : `str`
        A sentence without its end for each dataset type and dimension.

    Raises
    ------
    ExportError
        Raised if a record does not fit the repository's universe or tables.
    """
    others = compare_records(butler, export, IDENTIFIED).others
    if not others:
        return
    keys: dict[tuple[str, str], set[_Key]] = defaultdict(set)
    for block in export.blocks:
        item = export.dataset_types.get(block.dataset_type)
        kind = (
            butler.get_dataset_type(block.dataset_type)
            if item is None
            else dataset_type(item, export, butler.dimensions)
        )
        for chunk in block.records.chunks():
            for name in kind.dimensions.required:
                required = butler.dimensions[name].required.names
                positions = [chunk.keys.index(each) for each in required]
                keys[kind.name, name].update(
                    tuple(values[position] for position in positions) for values in chunk.values
                )
    for (kind_name, name), wanted in keys.items():
        if text := others.used(butler.dimensions[name], wanted, kind_name):
            yield text


def _compare_element(
    compared: ComparedRecords, records: Iterable[DimensionRecord], there: Mapping[_Key, DimensionRecord]
) -> Iterator[str]:
    """Sort the records of one element into new, different and other ones; report what a reader should know."""
    new, left_out, different, others = [], 0, [], []
    for record in records:
        existing = there.get(record.dataId.required_values)
        if existing is None:
            belongs = compared.others.belongs(record)
            left_out += belongs
            new += [] if belongs else [record]
        elif columns := identity_columns(existing, record):
            _note(compared.others, record, columns, "the repository")
            others.append((record, columns))
        elif columns := differing_columns(existing, record):
            different.append((record, columns))
    element = next((record.definition.name for record in records), "")
    if new:
        compared.new[element] = new
    if others:
        record, columns = others[0]
        yield (
            f"{len(others)} {element} records are of other ones than those of the repository with the same name, which "
            f"are kept; for example {data_id_text(record.dataId)}: {', '.join(columns)}. No dataset of the file is "
            "of one of them."
        )
    if left_out:
        yield (
            f"{left_out} {element} records belong to something else than what has that name in the repository, and "
            "were left out."
        )
    if different:
        record, columns = different[0]
        yield (
            f"{len(different)} {element} records differ from those of the repository, which are kept; "
            f"for example {data_id_text(record.dataId)}: {', '.join(columns)}."
        )


def _note(others: OtherRecords, record: DimensionRecord, columns: Iterable[str], where: str) -> None:
    if names := ", ".join(columns):
        others.add(record.definition.name, record.dataId.required_values, f"{where} (different: {names})")


def _compare_definitions(
    butler: Butler, definitions: Iterable[DimensionRecord], others: OtherRecords
) -> None:
    """Note visits that are made of other exposures than in the repository.

    One that has some of the exposures there is the same visit: either side may lack a part of it.
    """
    wanted: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for record in definitions:
        wanted[record.instrument][record.visit].add(record.exposure)
    for instrument, visits in wanted.items():
        there: dict[int, set[int]] = defaultdict(set)
        for chunk in chunk_iterable(visits, LOOKUP_BATCH):
            with butler.query() as query:
                visit = query.expression_factory.visit
                found = query.where(visit.in_iterable(chunk), instrument=instrument)
                for record in found.dimension_records("visit_definition"):
                    there[record.visit].add(record.exposure)
        for visit_id, exposures in there.items():
            if exposures.isdisjoint(visits[visit_id]):
                others.add("visit", (instrument, visit_id), "the repository (different: exposures)")
