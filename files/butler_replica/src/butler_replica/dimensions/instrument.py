"""Register an instrument: its record, detectors and physical filters, made without ``obs_lsst``."""

from __future__ import annotations

__all__ = ["InstrumentResult", "register_instrument"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lsst.daf.butler import Butler, DimensionRecord

from ..internals.bulk_dimensions import insert_records
from ..session.writing import writing
from .instruments import FilterSet, instrument_named
from .records import InsertionResult, existing_records, new_records


@dataclass
class InstrumentResult(InsertionResult):
    """Which records of the instrument were inserted, or would be."""

    instrument: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON data."""
        return {"instrument": self.instrument, **super().to_dict()}


def register_instrument(
    repo: str, *, name: str = "LSSTCam-imSim", filters: FilterSet = "all", dry_run: bool = False
) -> InstrumentResult:
    """Register an instrument, its detectors and its physical filters.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    name : `str`, optional
        One of `~butler_replica.dimensions.instruments.known_instruments`.
    filters : `str`, optional
        ``all``, or the name of a set of physical filters that the instrument
        has: ``2022`` for the six of LSSTCam-imSim in the DC2 era. Others that
        the repository has stay there.
    dry_run : `bool`, optional
        Only report what would be done.

    Returns
    -------
    result : `InstrumentResult`
        Numbers of records inserted and present.

    Raises
    ------
    ReplicaError
        Raised if there is no such instrument, or no such set of filters.
    ConflictError
        Raised if the repository has one of the records with other values; the
        message names the columns. Nothing is changed then.
    """
    instrument = instrument_named(name)
    instrument.filters(filters)
    result = InstrumentResult(f"instrument {name}", instrument=name)
    with writing(repo, dry_run=dry_run) as butler:
        records = instrument.records(butler.dimensions, filters=filters)
        missing = _missing(butler, name, records, repo)
        if not dry_run:
            with butler.transaction():
                insert_records(butler, missing)
    result.count(records, missing)
    return result


def _missing(
    butler: Butler, name: str, records: Mapping[str, list[DimensionRecord]], repo: str
) -> dict[str, list[DimensionRecord]]:
    """Select the records that the repository does not have."""
    missing = {
        "instrument": new_records(records["instrument"], existing_records(butler, "instrument"), repo=repo)
    }
    for element in ("detector", "physical_filter"):
        found = {} if missing["instrument"] else existing_records(butler, element, instrument=name)
        missing[element] = new_records(records[element], found, repo=repo)
    return missing
