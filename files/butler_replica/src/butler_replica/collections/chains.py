"""CHAINED collections, and those of them that wait for children which are not there yet.

What a chain waits for stands in the repository itself, as the last line of
its documentation, and goes when the last child has come: whoever brings a
child, with whichever verb and whenever, the chain can be completed.
"""

from __future__ import annotations

__all__ = ["ChainResult", "Collections", "apply_chains", "merge_children", "read_note", "write_note"]

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from lsst.daf.butler import Butler, CollectionInfo, CollectionType
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from ..errors import ConflictError
from ..results import Difference, Result
from ..wording import visible

_LEAD = "Waits for collections that are not here yet: "


class _Note(BaseModel):
    """What stands behind the lead, as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    missing: tuple[str, ...] = Field(min_length=1)
    children: tuple[str, ...]


def read_note(doc: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Split the documentation of a chain.

    Parameters
    ----------
    doc : `str`
        The documentation in the repository.

    Returns
    -------
    own : `str`
        The documentation without the note.
    missing : `tuple` [ `str`, ... ]
        Children that the chain waits for; empty without a note.
    children : `tuple` [ `str`, ... ]
        All children that it is to have, in search order.
    """
    own, _, last = doc.rpartition("\n")
    if last.startswith(_LEAD):
        try:
            note = _Note.model_validate_json(last.removeprefix(_LEAD))
        except ValidationError:
            pass
        else:
            if set(note.missing) <= set(note.children):
                return own, note.missing, note.children
    return doc, (), ()


def write_note(own: str, missing: Sequence[str], children: Sequence[str]) -> str:
    """Return the documentation of a chain, of which `read_note` finds the parts.

    Parameters
    ----------
    own : `str`
        The documentation without the note.
    missing : `~collections.abc.Sequence` [ `str` ]
        Children that the chain waits for; without any there is no note.
    children : `~collections.abc.Sequence` [ `str` ]
        All children that it is to have, in search order.

    Returns
    -------
    doc : `str`
        The documentation for the repository.
    """
    if not missing:
        return own
    note = _LEAD + _Note(missing=tuple(missing), children=tuple(children)).model_dump_json()
    return f"{own}\n{note}" if own else note


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
class ChainResult(Result):
    """What became, or would become, of one chain."""

    name: str
    before: tuple[str, ...] | None
    """Children it had, in search order; `None` if there was no such chain."""

    after: tuple[str, ...]
    """Children it has now."""

    open: tuple[str, ...] = ()
    """Children that it waits for, because there is no such collection yet."""

    doc_before: str = ""
    """Its documentation in the repository, with the note of what it waits for."""

    doc: str = ""
    """The same, now."""

    completed: list[ChainResult] = field(default_factory=list)
    """Other chains that waited for something that is there now."""

    @property
    def changed(self) -> bool:
        """Whether a chain was made, or its children or documentation changed."""
        return self._differs or bool(self.completed)

    @property
    def _differs(self) -> bool:
        return self.before != self.after or self.doc_before != self.doc

    def to_dict(self) -> dict[str, Any]:
        """Return the chain as plain JSON data."""
        return asdict(self)

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        if self._differs:
            yield Difference(
                f"chain {self.name}",
                _as_text(self.before, self.doc_before),
                _as_text(self.after, self.doc),
            )
        for chain in self.completed:
            yield from chain.differences()

    def show(self, console: Console) -> None:
        """Print the chain for a reader."""
        state = "unchanged" if not self._differs else "made" if self.before is None else "changed"
        console.print(f"{self.name} ({state}) -> {', '.join(self.after) or 'no children'}", markup=False)
        if self.open:
            console.print(f"  open, no such collection: {', '.join(self.open)}", markup=False)
        for chain in self.completed:
            chain.show(console)


def _as_text(children: tuple[str, ...] | None, doc: str) -> str:
    lines = [*(children or ()), *(f"doc: {line}" for line in doc.splitlines())]
    return "".join(f"{visible(line)}\n" for line in lines)


class _Chain(NamedTuple):
    children: tuple[str, ...] = ()
    own_doc: str = ""
    missing: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    """All children in the order wanted, where any are missing."""

    @property
    def doc(self) -> str:
        return write_note(self.own_doc, self.missing, self.wanted)


class Collections:
    """The collections of a repository while a change of them is planned.

    Parameters
    ----------
    known : `~collections.abc.Iterable` [ `lsst.daf.butler.CollectionInfo` ]
        Every collection, with its documentation.
    """

    def __init__(self, known: Iterable[CollectionInfo]) -> None:
        self.types: dict[str, CollectionType] = {}
        """Type by name, of those that are there and those that are to be made."""

        self._chains: dict[str, _Chain] = {}
        for info in known:
            self.types[info.name] = info.type
            if info.type is CollectionType.CHAINED:
                self._chains[info.name] = _Chain(info.children, *read_note(info.doc))
        self._before = dict(self._chains)
        self._asked: dict[str, None] = {}

    @classmethod
    def of(cls, butler: Butler) -> Collections:
        """Query a butler for its collections, once."""
        return cls(butler.collections.query_info("*", include_doc=True))

    def add(self, name: str, kind: CollectionType) -> None:
        """Register a collection that is no chain.

        Parameters
        ----------
        name : `str`
            Its name.
        kind : `lsst.daf.butler.CollectionType`
            Its type.

        Raises
        ------
        ConflictError
            Raised if the name belongs to a collection of another type.
        """
        found = self.types.setdefault(name, kind)
        if found is not kind:
            raise ConflictError(
                f"Collection '{name}' is {found.name} in the repository, and {kind.name} is wanted. "
                "Give the one that is wanted another name, or remove the other (butler remove-collections)."
            )

    def ask(self, name: str, children: Iterable[str], doc: str | None = None, *, reorder: bool) -> None:
        """Set the children of a chain; those that are not there yet come later.

        Parameters
        ----------
        name : `str`
            The chain.
        children : `~collections.abc.Iterable` [ `str` ]
            The children in search order.
        doc : `str`, optional
            Its documentation; `None` leaves what is there.
        reorder : `bool`
            As a user asks: these children come first and in this order, and
            ``doc`` replaces what is there. Otherwise as an export asks:
            children and documentation that are there stay as they are.

        Raises
        ------
        ConflictError
            Raised if the name belongs to a collection of another type.
        """
        self.add(name, CollectionType.CHAINED)
        self._asked[name] = None
        chain = self._chains.get(name, _Chain())
        # An export of a chain that was open has the note.
        own_doc, missing, wanted = read_note(doc or "")
        given = tuple(dict.fromkeys(children))
        given = merge_children(given, [child for child in wanted if child in given or child in missing])
        there = chain.children
        if reorder:
            there = tuple(sorted(there, key=lambda c: given.index(c) if c in given else len(given)))
            wanted = tuple(dict.fromkeys((*given, *merge_children(there, chain.wanted))))
            own_doc = chain.own_doc if doc is None else own_doc
        else:
            wanted = merge_children(chain.wanted, given)
            own_doc = chain.own_doc or own_doc
        missing = tuple(
            child for child in wanted if child in chain.missing or (child in given and child not in there)
        )
        self._chains[name] = _Chain(there, own_doc, missing, wanted)

    def complete(self) -> list[ChainResult]:
        """Add to every chain the children that it waits for and that are there.

        Returns
        -------
        chains : `list` [ `ChainResult` ]
            The chains asked for since the last time, in this order; behind
            them the others that change.

        Raises
        ------
        ConflictError
            Raised if a chain that was asked for, or one that waits for it,
            would contain itself.
        """
        asked = self._asked
        for name in asked:
            self._take(name, self._chains[name].missing)
        for name in asked:
            if cycle := self._cycle(name):
                raise _contains_itself(cycle)
        for name in [name for name, chain in self._chains.items() if chain.missing and name not in asked]:
            for child in self._chains[name].missing:
                without = self._chains[name]
                self._take(name, [child])
                if cycle := self._cycle(name):
                    if asked.keys() & set(cycle):
                        raise _contains_itself(cycle, f", which waits for '{child}',")
                    # Made by somebody else: no reason to fail here, it stays open.
                    self._chains[name] = without
        changed = [name for name, chain in self._chains.items() if chain != self._before.get(name)]
        results = [self._result(name) for name in dict.fromkeys((*asked, *changed))]
        self._before = dict(self._chains)
        self._asked = {}
        return results

    def open(self) -> dict[str, list[str]]:
        """Return the children that are missing, by chain."""
        return {name: list(chain.missing) for name, chain in sorted(self._chains.items()) if chain.missing}

    def _take(self, name: str, missing: Iterable[str]) -> None:
        chain = self._chains[name]
        arrived = {child for child in missing if child in self.types}
        # Children that were there and are not any more were taken out by a user.
        order = [child for child in chain.wanted if child in arrived or child in chain.children]
        left = tuple(child for child in chain.missing if child not in arrived)
        self._chains[name] = chain._replace(
            children=merge_children(chain.children, order), missing=left, wanted=chain.wanted if left else ()
        )

    def _cycle(self, name: str) -> list[str]:
        """Return the way from a chain to itself, if there is one."""
        trail: list[str] = []
        seen: set[str] = set()

        def follow(chain: str) -> bool:
            seen.add(chain)
            trail.append(chain)
            for child in self._chains[chain].children:
                if child == name or (child in self._chains and child not in seen and follow(child)):
                    return True
            trail.pop()
            return False

        return [*trail, name] if follow(name) else []

    def _result(self, name: str) -> ChainResult:
        before, after = self._before.get(name), self._chains[name]
        return ChainResult(
            name,
            before=None if before is None else before.children,
            after=after.children,
            open=after.missing,
            doc_before="" if before is None else before.doc,
            doc=after.doc,
        )


def _contains_itself(cycle: Sequence[str], explanation: str = "") -> ConflictError:
    return ConflictError(
        f"Chain '{cycle[0]}'{explanation} would contain itself: {' -> '.join(cycle)}. "
        "Leave one of these chains out, or correct their children."
    )


def apply_chains(butler: Butler, chains: Sequence[ChainResult]) -> None:
    """Make chains what `Collections.complete` says, in one transaction.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        A writeable butler of a repository whose lock is held.
    chains : `~collections.abc.Sequence` [ `ChainResult` ]
        The chains.
    """
    chains = [chain for chain in chains if chain.changed]
    if not chains:
        return
    with butler.transaction():
        # They may be each other's children.
        for chain in chains:
            if chain.before is None:
                butler.collections.register(chain.name, CollectionType.CHAINED, chain.doc or None)
        for chain in chains:
            if chain.before is not None and chain.doc != chain.doc_before:
                butler.registry.setCollectionDocumentation(chain.name, chain.doc or None)
            if chain.after != (chain.before or ()):
                butler.collections.redefine_chain(chain.name, chain.after)
