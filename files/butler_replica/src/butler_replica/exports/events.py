"""The YAML of an export as a stream of events, and the values that they make.

The file is never held as a document. What a value means is as in
`lsst.daf.butler.transfers.YamlRepoImportBackend`.
"""

from __future__ import annotations

__all__ = ["NOT_AN_EXPORT", "TRUNCATED", "YamlEvents"]

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import lsst.daf.butler.transfers  # noqa: F401  (registers the constructors of the tags)
import yaml
from lsst.sphgeom import Region

from ..errors import ExportError
from .canonical import CanonicalRecords
from .records import Records, Spool
from .text import ExportText

TRUNCATED = "Is the file complete? Copy or export it again."
NOT_AN_EXPORT = "Butler exports begin with 'description: Butler Data Repository Export'."

_MAX_ALIASED = 1_000_000
"""Values that may be repeated by aliases; a few lines could stand for billions."""

_MAX_KNOWN = 200_000
"""Scalars of which the values are kept."""

_LONGEST_KNOWN = 40
"""Characters of a scalar from which on its value is not kept."""

_YAML = "tag:yaml.org,2002:"
_OBJECT = f"{_YAML}python/object"


class _Loader(yaml.CSafeLoader):
    """The fast loader, with every constructor the butler gave to the slow one."""


_Loader.yaml_constructors = {**yaml.CSafeLoader.yaml_constructors, **yaml.SafeLoader.yaml_constructors}


def _pickled_region(loader: Any, _suffix: str, node: Any) -> Region:
    """Make a region of the form that it had until May 2020: its own encoding, in what looks like a pickle."""
    return Region.decode(loader.construct_mapping(node)["state"])


_Loader.add_multi_constructor(f"{_OBJECT}/new:lsst.sphgeom.", _pickled_region)


class YamlEvents:
    """The events of one file, taken one after the other.

    Parameters
    ----------
    path : `pathlib.Path`
        The file, for messages.
    text : `ExportText`
        Its content.
    spool : `Spool`
        Where dataset records in the exporter's form go, which do not pass
        through the parser.
    """

    def __init__(self, path: Path, text: ExportText, spool: Spool) -> None:
        self._path = path
        self._resolver = _Loader("")
        self._canonical = CanonicalRecords(text, self._plain, spool)
        self._n_taken = 0
        # Any: the types of the C loader's events are not described anywhere.
        self._loader: Any = _Loader(self._canonical)
        self._anchors: dict[str, Any] = {}
        self._weights: dict[str, int] = {}
        self._values = 0
        self._aliased = 0
        # Plain scalars and times repeat from record to record: instrument
        # names, detectors, dates.
        self._known: dict[tuple[str | None, str], Any] = {}
        self.get = self._loader.get_event
        """Return the next event, and go on."""

        self.peek = self._loader.peek_event
        """Return the next event."""

    def line(self, mark: Any) -> int:
        """Return the number that a mark's line has in the file."""
        return self._canonical.original_line(mark.line) + 1

    def end(self) -> None:
        """Check that nothing was mistaken for dataset records, and let go of the parser."""
        self._loader.dispose()
        if self._n_taken != len(self._canonical.runs):
            self.fail(
                "has what looks like dataset records within another value.",
                remedy="Take that text out of a copy of the file.",
            )

    def canonical_records(self, event: Any) -> Records | None:
        """Return the dataset records that were taken out where an event stands, if there are any."""
        if not isinstance(event, yaml.ScalarEvent) or event.tag != self._canonical.tag:
            return None
        self._n_taken += 1
        return self._canonical.runs[int(event.value)]

    def keys_of_mapping(self) -> Iterator[str]:
        """Yield the keys of a mapping that has begun; the caller takes each value."""
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            key = self.value(event)
            if not isinstance(key, str):
                self.fail(f"has the key {key!r}, which is no text.", event)
            yield key

    def value(self, event: Any) -> Any:
        """Return the value that begins with an event."""
        kind = type(event)
        value: Any
        before = self._values
        self._values += 1
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                self.fail(f"refers to the unknown anchor {event.anchor!r}.", event)
            self._values += self._weights[event.anchor]
            self._aliased += self._weights[event.anchor]
            if self._aliased > _MAX_ALIASED:
                self.fail("repeats values by aliases without end.", event, remedy=NOT_AN_EXPORT)
            return self._anchors[event.anchor]
        elif event.tag is not None and (event.tag.startswith(_OBJECT) or not event.tag.startswith(_YAML)):
            value = self._construct(self._node(event), event)
        elif kind is yaml.SequenceStartEvent:
            value = []
            get_event = self._loader.get_event
            while type(item := get_event()) is not yaml.SequenceEndEvent:
                value.append(self.value(item))
        else:
            value = {}
            get_event = self._loader.get_event
            while type(item := get_event()) is not yaml.MappingEndEvent:
                key = self.value(item)
                try:
                    value[key] = self.value(get_event())
                except TypeError:
                    self.fail(f"has the key {key!r}, which is no text.", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
            self._weights[event.anchor] = self._values - before
        return value

    def _scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag == "!uuid":
            try:
                return uuid.UUID(hex=text)
            except ValueError:
                self.fail(f"has {text!r} where a UUID is expected.", event, remedy=TRUNCATED)
        if tag is None and not event.implicit[0]:
            return text
        key = (tag, text)
        if key in self._known:
            return self._known[key]
        value = self._construct(self._scalar_node(event), event)
        if len(text) < _LONGEST_KNOWN and len(self._known) < _MAX_KNOWN:
            self._known[key] = value
        return value

    def _plain(self, text: str) -> Any:
        """Return what YAML makes of a plain scalar."""
        resolver: Any = self._resolver
        node = yaml.ScalarNode(resolver.resolve(yaml.ScalarNode, text, (True, False)), text)
        try:
            return resolver.construct_object(node)
        except Exception:
            # The parser says what is wrong, and where.
            return None

    def _scalar_node(self, event: Any) -> yaml.ScalarNode:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        return yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)

    def _node(self, event: Any) -> Any:
        """Compose the node that a tagged object, such as a region, is made from."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self._scalar_node(event)
        if kind is yaml.AliasEvent:
            self.fail("has an alias inside a tagged object, which is not supported.", event)
        get_event = self._loader.get_event
        if kind is yaml.SequenceStartEvent:
            tag = event.tag or self._loader.resolve(yaml.SequenceNode, None, event.implicit)
            items: list[Any] = []
            while not isinstance(item := get_event(), yaml.SequenceEndEvent):
                items.append(self._node(item))
            return yaml.SequenceNode(tag, items, event.start_mark)
        tag = event.tag or self._loader.resolve(yaml.MappingNode, None, event.implicit)
        pairs = []
        while not isinstance(item := get_event(), yaml.MappingEndEvent):
            pairs.append((self._node(item), self._node(get_event())))
        return yaml.MappingNode(tag, pairs, event.start_mark)

    def _construct(self, node: yaml.Node, event: Any) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
        except yaml.constructor.ConstructorError as error:
            self.fail(f"has a value that is not known here: {error.problem}.", event)
        except Exception as error:
            self.fail(f"has a value that makes no sense: {error}.", event, remedy=TRUNCATED)

    def fail(self, problem: str, event: Any = None, *, record: str = "", remedy: str = "") -> NoReturn:
        """Raise an `ExportError` that names the line of an event."""
        line = f"line {self.line(event.start_mark)}" if event is not None else ""
        where = ", ".join(part for part in (record, line) if part)
        raise ExportError(self._path, problem, where=where, remedy=remedy)
