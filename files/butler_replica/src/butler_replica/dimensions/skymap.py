"""Register a skymap: its record, tracts and patches, made without ``skymap`` and ``afw``."""

from __future__ import annotations

__all__ = ["SkymapResult", "chosen_tracts", "parse_tracts", "register_skymap"]

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from lsst.daf.butler import Butler, DimensionRecord

from ..errors import ReplicaError
from ..internals.bulk_dimensions import BulkInsertion, bulk_insertion, insert_records
from ..progress import Progress, Report
from ..session.writing import writing
from .records import InsertionResult, existing_records, new_records, prefetched
from .rings import RingsSkyMap
from .skymap_records import patch_records, skymap_record, tract_records
from .skymaps import skymap_named

_MEMORY_BATCH = 50
"""Tracts whose records are in memory at a time."""


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
    name: str = "DC2",
    tracts: Iterable[int] | Literal["footprint"] | None = None,
    all_sky: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SkymapResult:
    """Register a skymap with some or all of its tracts and their patches.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    name : `str`, optional
        One of `~butler_replica.dimensions.skymaps.known_skymaps`.
    tracts : `~collections.abc.Iterable` [ `int` ] or `str`, optional
        Tract IDs; ``footprint`` or `None` are those of the skymap's footprint.
        What the repository has beyond them stays.
    all_sky : `bool`, optional
        All tracts.
    dry_run : `bool`, optional
        Only report what would be done.
    progress : `~collections.abc.Callable`, optional
        Called with the tracts done and to do.

    Returns
    -------
    result : `SkymapResult`
        Numbers of records inserted and present.

    Raises
    ------
    ReplicaError
        Raised if there is no such skymap or tract, or no tract is named and
        the skymap has no footprint.
    ConflictError
        Raised if the repository has a skymap of this name that is another
        one, or a tract or patch with other values. Nothing is changed then.
    """
    skymap = skymap_named(name)
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
        Tract IDs; ``footprint`` or `None` are those of the skymap's footprint.
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
        if not skymap.footprint:
            raise ReplicaError(
                f"The skymap {skymap.name} has no footprint: name the tracts, or ask for all of the sky."
            )
        return skymap.tracts_touching(skymap.footprint)
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
    wanted = {"skymap": [skymap_record(skymap, universe)]}
    found = existing_records(butler, "skymap")
    new = {"skymap": new_records(wanted["skymap"], found, repo=repo, explanation=_other_skymap)}
    is_new = bool(new["skymap"])
    result.count(wanted, new)
    if insertion is not None:
        insert_records(butler, new)

    def make(first: int) -> tuple[dict[str, list[DimensionRecord]], Any]:
        ids = result.tracts[first : first + _MEMORY_BATCH]
        records = {
            "tract": tract_records(skymap, universe, ids),
            "patch": list(patch_records(skymap, universe, ids)),
        }
        return records, insertion.prepare(records) if is_new and insertion is not None else None

    done = 0
    for records, prepared in prefetched(make, range(0, len(result.tracts), _MEMORY_BATCH)):
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
