"""CHAINED collections, and the collections that a replica ends with."""

from __future__ import annotations

__all__ = [
    "ChainResult",
    "CollectionsResult",
    "ensure_collections",
    "merge_children",
    "plan_collections",
    "set_chain",
]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lsst.daf.butler import Butler, CollectionInfo, CollectionType
from rich.console import Console

from .connect import database_errors, open_butler
from .errors import ConflictError
from .internals import datastore_root
from .lock import repository_lock
from .sets import Collection, parse_collections


def merge_children(existing: Sequence[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Insert missing children into a chain without reordering what is there.

    Parameters
    ----------
    existing : `~collections.abc.Sequence` [ `str` ]
        Children of the chain now, in search order.
    wanted : `~collections.abc.Iterable` [ `str` ]
        Children that the chain is to have. One that is missing comes right
        behind its predecessor here; the first ones, before their successor.

    Returns
    -------
    children : `tuple` [ `str`, ... ]
        All of ``existing`` in their order, and the missing ones between them.
    """
    children = list(dict.fromkeys(existing))
    wanted = list(dict.fromkeys(wanted))
    for position, child in enumerate(wanted):
        if child in children:
            continue
        if position:
            children.insert(children.index(wanted[position - 1]) + 1, child)
        else:
            successors = [children.index(other) for other in wanted if other in children]
            children.insert(min(successors, default=len(children)), child)
    return tuple(children)


@dataclass
class ChainResult:
    """What became, or would become, of one chain."""

    name: str
    before: tuple[str, ...] | None
    """Children it had, in search order; `None` if there was no such chain."""

    after: tuple[str, ...]
    """Children it has now."""

    open: tuple[str, ...] = ()
    """Wanted children that are left out because there is no such collection."""

    doc_before: str = ""
    doc: str = ""

    @property
    def changed(self) -> bool:
        """Whether the chain was made, or its children or documentation changed."""
        return self.before != self.after or self.doc_before != self.doc

    def to_dict(self) -> dict[str, Any]:
        """Return the chain as plain JSON data."""
        return asdict(self)

    def diff(self) -> list[dict[str, str]]:
        """Return the children before and after, one a line."""
        if not self.changed:
            return []
        return [
            {
                "before_header": f"chain {self.name}",
                "after_header": f"chain {self.name}",
                "before": _as_text(self.before, self.doc_before),
                "after": _as_text(self.after, self.doc),
            }
        ]

    def show(self, console: Console) -> None:
        """Print the chain for a reader."""
        state = "unchanged" if not self.changed else "made" if self.before is None else "changed"
        console.print(f"{self.name} ({state}) -> {', '.join(self.after) or 'no children'}", markup=False)
        if self.open:
            console.print(f"  open, no such collection: {', '.join(self.open)}", markup=False)


def _as_text(children: tuple[str, ...] | None, doc: str) -> str:
    lines = [*(children or ()), *([f"doc: {doc}"] if doc else [])]
    return "".join(f"{line}\n" for line in lines)


@dataclass
class CollectionsResult:
    """What became, or would become, of the collections described."""

    made: dict[str, str] = field(default_factory=dict)
    """Type by name of the RUN, CALIBRATION and TAGGED collections that were made."""

    chains: list[ChainResult] = field(default_factory=list)
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

    def diff(self) -> list[dict[str, str]]:
        """Return the collections made, and each chain before and after."""
        made = "".join(f"{name} ({kind})\n" for name, kind in self.made.items())
        new = [{"before_header": "collections", "after_header": "collections", "before": "", "after": made}]
        return (new if made else []) + [entry for chain in self.chains for entry in chain.diff()]

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
    end. A child that does not exist is left out and reported as open.

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
        Only say what would be done.

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
    wanted = Collection(name=name, type=CollectionType.CHAINED, children=tuple(children), doc=doc)
    butler = open_butler(repo, writeable=not dry_run)
    with database_errors(repo):
        if dry_run:
            return _plan_chain(_Collections.of(butler), wanted)
        with repository_lock(datastore_root(butler)):
            result = _plan_chain(_Collections.of(butler), wanted)
            with butler.transaction():
                _apply_chain(butler, result)
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
        `~butler_replica.sets.Collection` objects, or mappings with ``name``,
        ``type`` and, optionally, ``children``, ``doc`` and ``stage``.
    stage : `str`, optional
        Make only the chains whose description has this ``stage``, and what
        they consist of. `None` makes all.
    dry_run : `bool`, optional
        Only say what would be done.

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
    butler = open_butler(repo, writeable=not dry_run)
    with database_errors(repo):
        if dry_run:
            return plan_collections(butler, wanted, stage)
        with repository_lock(datastore_root(butler)):
            result = plan_collections(butler, wanted, stage)
            with butler.transaction():
                docs = {item.name: item.doc for item in wanted}
                for name, kind in result.made.items():
                    butler.collections.register(name, CollectionType.from_name(kind), docs[name])
                for chain in result.chains:
                    _apply_chain(butler, chain)
    return result


class _Collections:
    """The collections of a repository while a change of them is planned."""

    def __init__(self, known: Iterable[CollectionInfo]) -> None:
        self.types: dict[str, CollectionType] = {}
        self.children: dict[str, tuple[str, ...]] = {}
        self.docs: dict[str, str] = {}
        for info in known:
            self.types[info.name] = info.type
            self.docs[info.name] = info.doc
            if info.type is CollectionType.CHAINED:
                self.children[info.name] = info.children

    @classmethod
    def of(cls, butler: Butler) -> _Collections:
        return cls(butler.collections.query_info("*", include_doc=True))

    def check_type(self, wanted: Collection) -> None:
        found = self.types.get(wanted.name, wanted.type)
        if found is not wanted.type:
            raise ConflictError(
                f"Collection '{wanted.name}' is {found.name} in the repository, and {wanted.type.name} is "
                "wanted. "
                "Give the one that is wanted another name, or remove the other (butler remove-collections)."
            )

    def check_cycle(self, name: str) -> None:
        trail: list[str] = []

        def follow(chain: str) -> None:
            trail.append(chain)
            for child in self.children.get(chain, ()):
                if child == name:
                    raise ConflictError(
                        f"Chain '{name}' would contain itself: {' -> '.join([*trail, name])}."
                    )
                if child not in trail:
                    follow(child)
            trail.pop()

        follow(name)


def _plan_chain(collections: _Collections, wanted: Collection) -> ChainResult:
    """Say what a chain would be, and let ``collections`` know."""
    name = wanted.name
    collections.check_type(wanted)
    before = collections.children.get(name)
    children = dict.fromkeys(
        child for child in wanted.children if child == name or child in collections.types
    )
    after = (*children, *(child for child in before or () if child not in children))
    doc_before = collections.docs.get(name, "")
    doc = doc_before if wanted.doc is None else wanted.doc
    collections.types[name] = CollectionType.CHAINED
    collections.children[name] = after
    collections.docs[name] = doc
    collections.check_cycle(name)
    left_out = tuple(dict.fromkeys(child for child in wanted.children if child not in collections.types))
    return ChainResult(name, before, after, left_out, doc_before, doc)


def _apply_chain(butler: Butler, chain: ChainResult) -> None:
    if chain.before is None:
        butler.collections.register(chain.name, CollectionType.CHAINED, chain.doc or None)
    elif chain.doc != chain.doc_before:
        butler.registry.setCollectionDocumentation(chain.name, chain.doc or None)
    if chain.after != (chain.before or ()):
        butler.collections.redefine_chain(chain.name, chain.after)


def plan_collections(
    butler: Butler, descriptions: Iterable[Collection], stage: str | None = None
) -> CollectionsResult:
    """Say what `ensure_collections` would do.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    descriptions : `~collections.abc.Iterable` [ `~butler_replica.sets.Collection` ]
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
    collections = _Collections.of(butler)
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
        if member:
            collections.check_type(member)
        if member and member.type is not CollectionType.CHAINED and name not in collections.types:
            collections.types[name] = member.type
            result.made[name] = member.type.name
    result.chains = [_plan_chain(collections, wanted[name]) for name in chains]
    for name, item in wanted.items():
        if name in collections.types or (stage is not None and item.stage != stage):
            continue
        is_chain = item.type is CollectionType.CHAINED
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
        if name in order or name not in wanted or wanted[name].type is not CollectionType.CHAINED:
            return
        for child in wanted[name].children:
            add(child, (*trail, name))
        order[name] = None

    for name in wanted:
        add(name, ())
    return list(order)
