"""CHAINED collections, and the collections that a replica ends with."""

from __future__ import annotations

__all__ = ["CollectionsResult", "ensure_collections", "plan_collections", "set_chain"]

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import Butler, CollectionType
from rich.console import Console

from ..errors import ConflictError
from ..options import Collection
from ..results import Difference, Result
from ..session.writing import writing
from ..sets import parse_collections
from ..wording import visible
from .chains import ChainResult, Collections, apply_chains


@dataclass
class CollectionsResult(Result):
    """What became, or would become, of the collections described."""

    made: dict[str, str] = field(default_factory=dict)
    """Type by name of the RUN, CALIBRATION and TAGGED collections that were made."""

    chains: list[ChainResult] = field(default_factory=list)
    """The chains described; behind them others that waited for what is there now."""

    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of the collections that are not needed."""

    @property
    def changed(self) -> bool:
        """Whether any collection was made or changed."""
        return bool(self.made) or any(chain.changed for chain in self.chains)

    @property
    def open(self) -> dict[str, list[str]]:
        """Children left out for want of a collection, by chain."""
        return {chain.name: list(chain.open) for chain in self.chains if chain.open}

    def to_dict(self) -> dict[str, Any]:
        """Return the collections as plain JSON data."""
        return {
            "made": self.made,
            "chains": [chain.to_dict() for chain in self.chains],
            "skipped_collections": self.skipped,
            "open": self.open,
        }

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        if made := "".join(f"{visible(name)} ({kind})\n" for name, kind in self.made.items()):
            yield Difference("collections", "", made)
        for chain in self.chains:
            yield from chain.differences()

    def show(self, console: Console) -> None:
        """Print the collections for a reader."""
        for name, kind in self.made.items():
            console.print(f"{name} ({kind}, made)", markup=False)
        for chain in self.chains:
            chain.show(console)
        for name, reason in self.skipped.items():
            console.print(f"{name} (skipped: {reason})", markup=False)


def set_chain(
    repo: str, name: str, children: Iterable[str], *, doc: str | None = None, dry_run: bool = False
) -> ChainResult:
    """Make a CHAINED collection search its children in the order wanted.

    Children that the chain has already and that are not named stay, at its
    end. A child that does not exist is reported as open; the chain gets it in
    its place when it comes.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    name : `str`
        The chain; it is made if there is none.
    children : `~collections.abc.Iterable` [ `str` ]
        Names of its children in search order.
    doc : `str`, optional
        Documentation of the chain; `None` leaves it as it is.
    dry_run : `bool`, optional
        Only report what would be done.

    Returns
    -------
    result : `ChainResult`
        The chain before and after.

    Raises
    ------
    ConflictError
        Raised if the name belongs to a collection of another type, or if the
        chain would contain itself.
    """
    (wanted,) = parse_collections([{"name": name, "type": "CHAINED", "children": [*children], "doc": doc}])
    with writing(repo, dry_run=dry_run) as butler:
        collections = Collections.of(butler)
        collections.ask(wanted.name, wanted.children, wanted.doc, reorder=True)
        chains = collections.complete()
        if not dry_run:
            apply_chains(butler, chains)
    result, *result.completed = chains
    return result


def ensure_collections(
    repo: str,
    descriptions: Iterable[Collection | Mapping[str, Any]],
    *,
    stage: str | None = None,
    dry_run: bool = False,
) -> CollectionsResult:
    """Make those of the collections described that the repository needs.

    A CHAINED collection is needed when at least one of its children exists or
    is itself such a chain; a RUN or CALIBRATION collection, when it is a child
    of a chain that is needed. Anything else is skipped and reported, so that a
    description of more than the repository holds does no harm.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    descriptions : `~collections.abc.Iterable`
        `~butler_replica.options.Collection` objects, or mappings with ``name``,
        ``type`` and, optionally, ``children``, ``doc`` and ``stage``.
    stage : `str`, optional
        Make only the chains whose description has this ``stage``, and what
        they consist of. `None` makes all.
    dry_run : `bool`, optional
        Only report what would be done.

    Returns
    -------
    result : `CollectionsResult`
        What was made, changed, left as it is, and skipped.

    Raises
    ------
    ConflictError
        Raised if a name belongs to a collection of another type, or if a chain
        would contain itself. Nothing is changed then.
    """
    wanted = parse_collections(descriptions)
    with writing(repo, dry_run=dry_run) as butler:
        result = plan_collections(butler, wanted, stage)
        if not dry_run:
            with butler.transaction():
                docs = {item.name: item.doc for item in wanted}
                for name, kind in result.made.items():
                    butler.collections.register(name, CollectionType.from_name(kind), docs[name])
                apply_chains(butler, result.chains)
    return result


def plan_collections(
    butler: Butler, descriptions: Iterable[Collection], stage: str | None = None
) -> CollectionsResult:
    """Return what `ensure_collections` would do.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    descriptions : `~collections.abc.Iterable` [ `~butler_replica.options.Collection` ]
        The collections described.
    stage : `str`, optional
        As in `ensure_collections`.

    Returns
    -------
    result : `CollectionsResult`
        What would be made, changed, left as it is, and skipped.

    Raises
    ------
    ConflictError
        As in `ensure_collections`.
    """
    wanted = {item.name: item for item in descriptions}
    collections = Collections.of(butler)
    order = _children_first(wanted)
    needed: list[str] = []
    for name in order:
        signs = wanted[name].needs or wanted[name].children
        if any(sign in collections.types or sign in needed for sign in signs):
            needed.append(name)
    chains = [name for name in needed if stage is None or wanted[name].stage == stage]
    # A chain of this stage brings the chains that it consists of.
    for name in reversed(needed):
        if any(name in wanted[parent].children for parent in chains) and name not in chains:
            chains.append(name)
    chains.sort(key=order.index)

    result = CollectionsResult()
    members = dict.fromkeys(child for name in chains for child in wanted[name].children)
    for name in members:
        member = wanted.get(name)
        if member and (name in collections.types or member.type != "CHAINED"):
            if name not in collections.types:
                result.made[name] = member.type
            collections.add(name, CollectionType.from_name(member.type))
    for name in chains:
        collections.ask(name, wanted[name].children, wanted[name].doc, reorder=True)
    result.chains = collections.complete()
    for name, item in wanted.items():
        if name in collections.types or (stage is not None and item.stage != stage):
            continue
        is_chain = item.type == "CHAINED"
        result.skipped[name] = (
            "none of the collections that call for it exists" if is_chain else "no chain needs it"
        )
    return result


def _children_first(wanted: Mapping[str, Collection]) -> list[str]:
    """Return the described chains, each behind those it consists of."""
    order: dict[str, None] = {}

    def add(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            cycle = " -> ".join([*trail[trail.index(name) :], name])
            raise ConflictError(f"The chains described contain one another: {cycle}.")
        if name in order or name not in wanted or wanted[name].type != "CHAINED":
            return
        for child in wanted[name].children:
            add(child, (*trail, name))
        order[name] = None

    for name in wanted:
        add(name, ())
    return list(order)
