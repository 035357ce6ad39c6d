"""The collections of a repository beside what was promised of them."""

from __future__ import annotations

__all__ = ["check_collections"]

from collections.abc import Iterable, Iterator

from lsst.daf.butler import Butler, CollectionType

from ..collections.associations import ASSOCIATED, associated
from ..collections.chains import Collections
from ..collections.ensure import plan_collections
from ..errors import ConflictError
from ..options import Collection
from .inventory import Inventory
from .promises import Promises
from .verify_result import CalibrationCheck, VerifyResult


def check_collections(
    butler: Butler,
    described: Iterable[Collection],
    inventory: Inventory,
    promises: Promises,
    result: VerifyResult,
) -> None:
    """Compare the collections of a repository with those of the exports and those described.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    described : `~collections.abc.Iterable` [ `~butler_replica.options.Collection` ]
        Collections that the replica ends with.
    inventory : `Inventory`
        Its datasets.
    promises : `Promises`
        What the exports say.
    result : `VerifyResult`
        Takes what was found.
    """
    _check_existing(butler, described, promises, result)
    _check_associations(butler, inventory, promises, result)


def _check_existing(
    butler: Butler, described: Iterable[Collection], promises: Promises, result: VerifyResult
) -> None:
    known = butler.collections.query_info("*", include_doc=True)
    existing = {info.name: info for info in known}
    result.chains = {
        info.name: list(info.children)
        for info in sorted(existing.values())
        if info.type is CollectionType.CHAINED
    }
    for name, kind in sorted(promises.types.items()):
        if name not in existing:
            result.failures.append(f"collection {name} ({kind.name}) of the exports does not exist")
        elif existing[name].type is not kind and (
            name in promises.tags or name in promises.ranges or {existing[name].type, kind} != ASSOCIATED
        ):
            result.failures.append(
                f"collection {name} is {existing[name].type.name}, in the exports {kind.name}"
            )
    waiting = Collections(known)
    waiting.complete()
    open_chains = waiting.open()
    for name, children in promises.children.items():
        open_chains.setdefault(name, []).extend(child for child in children if child not in existing)
        left = [child for child in children if child in existing and child not in result.chains.get(name, ())]
        if name in result.chains and left:
            result.failures.append(f"chain {name} lacks {', '.join(left)} of the exports")
    try:
        plan = plan_collections(butler, described)
    except ConflictError as error:
        result.failures.append(str(error).rstrip("."))
    else:
        result.failures += [f"collection {name} ({kind}) does not exist" for name, kind in plan.made.items()]
        for chain in plan.chains:
            if chain.before != chain.after:
                is_now = "does not exist" if chain.before is None else f"is [{', '.join(chain.before)}]"
                result.failures.append(
                    f"chain {chain.name} {is_now} and should be [{', '.join(chain.after)}]"
                )
            open_chains.setdefault(chain.name, []).extend(chain.open)
        result.skipped_collections = plan.skipped
    result.open_chains = {name: list(dict.fromkeys(left)) for name, left in open_chains.items() if left}


def _check_associations(
    butler: Butler, inventory: Inventory, promises: Promises, result: VerifyResult
) -> None:
    for info in sorted(butler.collections.query_info("*", CollectionType.TAGGED)):
        promised = inventory.registered(promises.tags.get(info.name, set()))
        if promised and (
            lost := promised - {dataset_id for dataset_id, _ in _associations(butler, info.name)}
        ):
            result.failures.append(f"TAGGED collection {info.name} lacks {len(lost)} datasets of the exports")
    for info in sorted(butler.collections.query_info("*", CollectionType.CALIBRATION)):
        ranges = promises.ranges.get(info.name, set())
        known = inventory.registered({dataset_id for dataset_id, _ in ranges})
        promised_ranges = {one for one in ranges if one[0] in known}
        found = set(_associations(butler, info.name))
        check = CalibrationCheck(info.name, len(promised_ranges), len(promised_ranges & found), len(found))
        result.calibrations.append(check)
        if not found and not promised_ranges:
            _check_empty(info.name, len(ranges), result)
        if check.found < check.promised:
            result.failures.append(
                f"CALIBRATION collection {info.name} lacks {check.promised - check.found} validity ranges "
                "of the exports"
            )


def _check_empty(name: str, promised: int, result: VerifyResult) -> None:
    """List a CALIBRATION collection that is searched for calibrations and has none."""
    chains = [chain for chain, children in result.chains.items() if name in children]
    if not chains:
        return
    what = f"CALIBRATION collection {name}, in the chain {', '.join(chains)}, is empty: no calibration is found by it"
    if promised:
        result.notices.append(f"{what}, since none of the {promised} that the exports certify is registered")
    else:
        result.failures.append(
            f"{what}; import an export that has its validity ranges (collections: associations), or take it out of the "
            "chain"
        )


def _associations(butler: Butler, collection: str) -> Iterator[tuple[bytes, tuple[int, int] | None]]:
    """Yield dataset ID and validity range of everything in a TAGGED or CALIBRATION collection."""
    summary = butler.collections.get_info(collection, include_summary=True)
    is_tagged = summary.type is CollectionType.TAGGED
    for name in sorted(summary.dataset_types or ()):
        for ref, timespan in associated(butler, butler.get_dataset_type(name), collection):
            yield ref.id.bytes, None if is_tagged or timespan is None else timespan.nsec
