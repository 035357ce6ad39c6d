"""Reading an export file, one event of the YAML stream at a time.

The file is never held as a document: dataset records, which are nearly all of
it, become compact columns as they go by (`Records`), and those in the form of
the exporter do not even pass through the parser (`CanonicalRecords`). Anything
that YAML allows (comments, flow style, anchors, keys in another order) is
read; what it means is as in `lsst.daf.butler.transfers.YamlRepoImportBackend`.
"""

from __future__ import annotations

__all__ = ["read_export"]

import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn

import astropy.time
import lsst.daf.butler.transfers  # noqa: F401  (registers the constructors of the tags)
import yaml
from lsst.daf.butler import CollectionType, Timespan
from lsst.sphgeom import Region

from ..errors import ExportError
from .canonical import CanonicalRecords
from .early import MOVED_FORMATTERS, modernize
from .model import Certification, CollectionItem, DatasetBlock, DatasetRecord, DatasetTypeItem, ExportFile
from .records import Records, Spool
from .text import ExportText

FORMAT_VERSION = (1, 0, 2)
"""Newest version of the export format that is known here."""

_INTEGER_ID_NAMESPACE = uuid.UUID("4d4851f4-2890-4d41-8779-5f38a3f5062b")
"""Namespace of the UUIDs that the butler gives to the integer ids of old exports."""

_TEXTS = ("type", "element", "name", "collection_type", "dataset_type", "run", "collection", "storage_class")
"""Keys of items whose values are text."""

_ALIASED = 1_000_000
"""Values that may be repeated by aliases; a few lines could stand for billions."""

_YAML = "tag:yaml.org,2002:"
_OBJECT = f"{_YAML}python/object"

_MOVED = "Formatters that moved in June 2020 get the names that they have had since."
_TRUNCATED = "Is the file complete? Copy or export it again."
_NOT_AN_EXPORT = "Butler exports begin with 'description: Butler Data Repository Export'."


class _Loader(yaml.CSafeLoader):
    """The fast loader, with every constructor the butler gave to the slow one."""


_Loader.yaml_constructors = {**yaml.CSafeLoader.yaml_constructors, **yaml.SafeLoader.yaml_constructors}


def _pickled_region(loader: Any, _suffix: str, node: Any) -> Region:
    """Make a region of the form that it had until May 2020: its own encoding, in what looks like a pickle."""
    return Region.decode(loader.construct_mapping(node)["state"])


_Loader.add_multi_constructor(f"{_OBJECT}/new:lsst.sphgeom.", _pickled_region)


def read_export(path: Path, tell: Callable[[int], None] = lambda _: None) -> ExportFile:
    """Read an export file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file, compressed or not; it is only read.
    tell : `~collections.abc.Callable`, optional
        Called with the number of bytes of the file that are read.

    Returns
    -------
    export : `ExportFile`
        Its content. Dimension records are those of the file's own universe,
        in the form that exports have since the end of 2020.

    Raises
    ------
    ExportError
        Raised if the file cannot be read, is truncated, is no export, or is
        of a newer format.
    """
    try:
        with ExportText(path, tell) as text:
            export = _Reader(path, text).read()
    except OSError as error:
        raise ExportError(path, f"cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExportError(
            path, f"no valid YAML: {' '.join(str(error).split())}.", remedy=_NOT_AN_EXPORT
        ) from error
    except RecursionError as error:
        raise ExportError(path, "is nested too deeply.", remedy=_NOT_AN_EXPORT) from error
    modernize(export)
    return export


def _as_time(value: Any) -> Any:
    """Make a time of YAML's own datetime, which old exports have; others stay as they are."""
    return astropy.time.Time(value, scale="utc") if isinstance(value, datetime) else value


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


class _Reader:
    """One pass over one file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file, for messages.
    text : `ExportText`
        Its content.
    """

    def __init__(self, path: Path, text: ExportText) -> None:
        self._path = path
        self._resolver = _Loader("")
        self._spool = Spool()
        self._canonical = CanonicalRecords(text, self._plain, self._spool)
        self._n_runs = 0
        self._runs: dict[Any, str] = {}
        # Any: the types of the C loader's events are not described anywhere.
        self._loader: Any = _Loader(self._canonical)
        self._anchors: dict[str, Any] = {}
        self._weights: dict[str, int] = {}
        self._values = 0
        self._aliased = 0
        # Plain scalars and times repeat from record to record: instrument
        # names, detectors, dates.
        self._known: dict[tuple[str | None, str], Any] = {}
        self._last_formatters: tuple[str | None, str | None] = None, None
        self._export = ExportFile(path, universe_version=0, universe_namespace="daf_butler")

    def read(self) -> ExportFile:
        try:
            return self._read()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {self._line(mark)}" if mark else ""
            raise ExportError(
                self._path, f"no valid YAML: {error.problem}.", where=where, remedy=_TRUNCATED
            ) from error

    def _line(self, mark: Any) -> int:
        return self._canonical.original_line(mark.line) + 1

    def _read(self) -> ExportFile:
        loader = self._loader
        loader.get_event()  # start of the stream
        if isinstance(loader.peek_event(), yaml.StreamEndEvent):
            self._fail("holds nothing.", remedy=_NOT_AN_EXPORT)
        loader.get_event()  # start of the document
        if not isinstance(loader.get_event(), yaml.MappingStartEvent):
            self._fail("is YAML, but no butler export.", remedy=_NOT_AN_EXPORT)
        header: dict[str, Any] = {}
        for key in self._keys():
            if key == "data":
                header[key] = True
                self._read_items()
            else:
                header[key] = self._value(loader.get_event())
        self._check_header(header)
        loader.get_event()  # end of the document
        if not isinstance(loader.peek_event(), yaml.StreamEndEvent):
            self._fail("holds more than one YAML document.", remedy="Split it: one export in each file.")
        loader.dispose()
        if self._n_runs != len(self._canonical.runs):
            self._fail(
                "has what looks like dataset records within another value.",
                remedy="Take that text out of a copy of the file.",
            )
        return self._export

    def _check_header(self, header: dict[str, Any]) -> None:
        if "version" not in header or "data" not in header:
            lacking = " and ".join(f"'{key}'" for key in ("version", "data") if key not in header)
            self._fail(f"is YAML, but no butler export: it has no {lacking}.", remedy=_NOT_AN_EXPORT)
        text = str(header["version"])
        try:
            version = (1, 0, 0) if text == "0" else tuple(int(part) for part in text.split("."))
        except ValueError:
            self._fail(f"has the format version {text!r}, which is no version.", remedy=_NOT_AN_EXPORT)
        if version[0] != FORMAT_VERSION[0] or version[:2] > FORMAT_VERSION[:2]:
            known = ".".join(map(str, FORMAT_VERSION))
            self._fail(
                f"is of export format {text}; this project reads format 1.0.0 to {known}.",
                remedy="Update dc2-replica, or export again with an older lsst-daf-butler.",
            )
        universe_version = header.get("universe_version") or 0
        if not isinstance(universe_version, int) or universe_version < 0:
            self._fail(f"has the universe version {universe_version!r}, which is no version.")
        self._export.universe_version = universe_version
        self._export.universe_namespace = str(header.get("universe_namespace") or "daf_butler")

    # Items

    def _read_items(self) -> None:
        event = self._loader.get_event()
        if isinstance(event, yaml.ScalarEvent) and event.value in ("", "null", "~"):
            return
        if not isinstance(event, yaml.SequenceStartEvent):
            self._fail("'data' is no list.", event, remedy=_NOT_AN_EXPORT)
        kind = None
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            if not isinstance(event, yaml.MappingStartEvent):
                self._fail("an item of 'data' is no mapping.", event, remedy=_NOT_AN_EXPORT)
            kind = self._read_item(event)
        if kind == "dataset":
            self._check_last_record(event)

    def _check_last_record(self, end: Any) -> None:
        """Refuse a file that was cut between the lines of its last record."""
        block = self._export.blocks[-1]
        before, last = self._last_formatters
        if len(block.records) > 1 and last is None and before is not None:
            self._fail(
                "has no formatter, although the one before it has.",
                end,
                record=f"{block.dataset_type} record {len(block.records)}",
                remedy=_TRUNCATED,
            )

    def _read_item(self, start: Any) -> str | None:
        item: dict[str, Any] = {}
        records: Records | None = None
        for key in self._keys():
            if key == "records" and item.get("type") == "dataset":
                records = self._read_dataset_records(str(item.get("dataset_type")))
            else:
                item[key] = self._value(self._loader.get_event())
        for key in _TEXTS:
            if not isinstance(item.get(key, ""), str):
                self._fail(f"an item has the {key} {item[key]!r}, which is no text.", start)
        kind: str | None = item.get("type")
        try:
            if kind == "dataset":
                if records is None:
                    # The key 'records' stood before the key 'type'.
                    label = str(item["dataset_type"])
                    records = Records(spool=self._spool)
                    for number, record in enumerate(item["records"] or [], 1):
                        self._append(records, self._dataset_record(record, label, number, start))
                self._export.blocks.append(
                    DatasetBlock(item["dataset_type"], self._run(item, start), records)
                )
            elif kind == "dimension":
                self._add_dimension(item, start)
            elif kind == "collection":
                self._add_collection(item, start)
            elif kind == "run":
                self._add_run(item)
            elif kind == "dataset_type":
                if not isinstance(item["dimensions"], list) or not _are_texts(item["dimensions"]):
                    self._fail(f"dataset type {item['name']!r} has dimensions that are no names.", start)
                self._export.dataset_types[item["name"]] = DatasetTypeItem(
                    item["name"],
                    tuple(item["dimensions"]),
                    item["storage_class"],
                    bool(item.get("is_calibration", False)),
                )
            elif kind == "associations":
                self._add_associations(item, start)
            else:
                self._fail(f"has an item of the unknown type {kind!r}.", start, remedy=_NOT_AN_EXPORT)
        except KeyError as error:
            self._fail(f"a {kind} item has no {error}.", start, remedy=_TRUNCATED)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            self._fail(f"a {kind} item is malformed ({error}).", start, remedy=_TRUNCATED)
        return kind

    def _add_run(self, item: dict[str, Any]) -> None:
        # Until early 2020 a run had a number, and the name of its collection.
        name = item["collection"] if "collection" in item and "name" not in item else item["name"]
        self._runs[item.get("id")] = name
        self._export.collections.setdefault(name, CollectionItem(name, CollectionType.RUN, None, ()))

    def _run(self, item: dict[str, Any], start: Any) -> str:
        """Return the run of a block of datasets."""
        if "run" in item or "run_id" not in item:
            run: str = item["run"]
            return run
        if item["run_id"] not in self._runs:
            self._fail(f"has datasets of run {item['run_id']}, and no such run before them.", start)
        return self._runs[item["run_id"]]

    def _add_dimension(self, item: dict[str, Any], start: Any) -> None:
        records = item["records"] or []
        for record in records:
            if not isinstance(record, dict):
                self._fail(f"a record of {item['element']} is no mapping.", start, remedy=_TRUNCATED)
            for key, value in record.items():
                record[key] = _as_time(value)
        self._export.dimensions.setdefault(item["element"], []).extend(records)

    def _add_collection(self, item: dict[str, Any], start: Any) -> None:
        try:
            collection_type = CollectionType.from_name(item["collection_type"])
        except KeyError:
            self._fail(
                f"collection {item['name']!r} is of the unknown type {item['collection_type']!r}.", start
            )
        children: tuple[str, ...] = ()
        if collection_type is CollectionType.CHAINED:
            # Old exports have pairs of a child and dataset type restrictions,
            # which butlers no longer know.
            children = tuple(c if isinstance(c, str) else c[0] for c in item["children"])
        if not _are_texts(children) or not isinstance(item.get("doc"), str | None):
            self._fail(f"collection {item['name']!r} has children or a doc that are no text.", start)
        self._export.collections[item["name"]] = CollectionItem(
            item["name"], collection_type, item.get("doc"), children
        )

    def _add_associations(self, item: dict[str, Any], start: Any) -> None:
        collection, kind = item["collection"], item["collection_type"]
        if kind == CollectionType.TAGGED.name:
            ids = [self._dataset_id(value, start) for value in item["dataset_ids"]]
            self._export.tags.setdefault(collection, []).extend(ids)
        elif kind == CollectionType.CALIBRATION.name:
            certifications = self._export.certifications.setdefault(collection, [])
            for entry in item["validity_ranges"]:
                # Old exports have begin and end in place of a timespan.
                timespan = (
                    entry["timespan"]
                    if "timespan" in entry
                    else Timespan(_as_time(entry["begin"]), _as_time(entry["end"]))
                )
                if not isinstance(timespan, Timespan):
                    self._fail(f"has the timespan {timespan!r}, which is none.", start)
                ids = [self._dataset_id(value, start) for value in entry["dataset_ids"]]
                certifications.append(Certification(timespan, ids))
        else:
            self._fail(f"has associations with {collection!r} of the type {kind!r}.", start)

    # Datasets

    def _read_dataset_records(self, label: str) -> Records:
        records = Records(spool=self._spool)
        event = self._loader.get_event()
        if isinstance(event, yaml.ScalarEvent) and event.value in ("", "null", "~"):
            return records
        if not isinstance(event, yaml.SequenceStartEvent):
            self._fail(f"the records of {label} are no list.", event, remedy=_TRUNCATED)
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.tag == self._canonical.tag:
                records.extend(self._canonical.runs[int(event.value)])
                self._n_runs += 1
                self._last_formatters = "", ""
            else:
                record = self._dataset_record(self._value(event), label, len(records) + 1, event)
                self._append(records, record)
        return records

    def _append(self, records: Records, record: DatasetRecord) -> None:
        records.append(record)
        self._last_formatters = self._last_formatters[1], record.formatter

    def _dataset_record(self, record: Any, label: str, number: int, event: Any) -> DatasetRecord:
        place = f"{label} record {number}"
        if not isinstance(record, dict):
            self._fail("is no mapping.", event, record=place, remedy=_TRUNCATED)
        try:
            ids, data_ids = record["dataset_id"], record["data_id"]
        except KeyError as error:
            self._fail(f"has no {error}.", event, record=place, remedy=_TRUNCATED)
        ids = ids if isinstance(ids, list) else [ids]
        data_ids = data_ids if isinstance(data_ids, list) else [data_ids]
        if len(ids) != len(data_ids) or not ids:
            self._fail(
                f"has {len(ids)} dataset ids and {len(data_ids)} data ids.",
                event,
                record=place,
                remedy=_TRUNCATED,
            )
        for data_id in data_ids:
            if not isinstance(data_id, dict):
                self._fail(f"has the data id {data_id!r}, which is no mapping.", event, record=place)
            if data_id.keys() != data_ids[0].keys() or not all(isinstance(key, str) for key in data_id):
                self._fail(
                    f"has the data id {data_id!r}, whose keys are not those of the others.",
                    event,
                    record=place,
                )
            for key, value in data_id.items():
                if isinstance(value, date | astropy.time.Time):
                    data_id[key] = str(value)
                elif not isinstance(value, str | int | float | bytes | None):
                    self._fail(f"has the data id value {value!r}.", event, record=place, remedy=_TRUNCATED)
        path, formatter = record.get("path"), record.get("formatter")
        if not isinstance(path, str | None) or not isinstance(formatter, str | None):
            self._fail("has a path or a formatter that is no text.", event, record=place)
        if formatter in MOVED_FORMATTERS:
            formatter = MOVED_FORMATTERS[formatter]
            if _MOVED not in self._export.notices:
                self._export.notices.append(_MOVED)
        return DatasetRecord(
            tuple(self._dataset_id(value, event) for value in ids),
            tuple(data_ids),
            path,
            None if formatter is None else sys.intern(formatter),
        )

    def _dataset_id(self, value: Any, event: Any) -> uuid.UUID:
        if isinstance(value, uuid.UUID):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return uuid.uuid3(_INTEGER_ID_NAMESPACE, str(value))
        return self._fail(f"has {value!r} where a dataset id is expected.", event, remedy=_TRUNCATED)

    # YAML

    def _keys(self) -> Iterator[str]:
        """Yield the keys of a mapping that has begun; the caller takes each value."""
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            key = self._value(event)
            if not isinstance(key, str):
                self._fail(f"has the key {key!r}, which is no text.", event)
            yield key

    def _value(self, event: Any) -> Any:
        kind = type(event)
        value: Any
        before = self._values
        self._values += 1
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                self._fail(f"refers to the unknown anchor {event.anchor!r}.", event)
            self._values += self._weights[event.anchor]
            self._aliased += self._weights[event.anchor]
            if self._aliased > _ALIASED:
                self._fail("repeats values by aliases without end.", event, remedy=_NOT_AN_EXPORT)
            return self._anchors[event.anchor]
        elif event.tag is not None and (event.tag.startswith(_OBJECT) or not event.tag.startswith(_YAML)):
            value = self._construct(self._node(event), event)
        elif kind is yaml.SequenceStartEvent:
            value = []
            get_event = self._loader.get_event
            while type(item := get_event()) is not yaml.SequenceEndEvent:
                value.append(self._value(item))
        else:
            value = {}
            get_event = self._loader.get_event
            while type(item := get_event()) is not yaml.MappingEndEvent:
                key = self._value(item)
                try:
                    value[key] = self._value(get_event())
                except TypeError:
                    self._fail(f"has the key {key!r}, which is no text.", event)
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
                self._fail(f"has {text!r} where a UUID is expected.", event, remedy=_TRUNCATED)
        if tag is None and not event.implicit[0]:
            return text
        key = (tag, text)
        if key in self._known:
            return self._known[key]
        value = self._construct(self._scalar_node(event), event)
        if len(text) < 40 and len(self._known) < 200_000:
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
            self._fail("has an alias inside a tagged object, which is not supported.", event)
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
            self._fail(f"has a value that is not known here: {error.problem}.", event)
        except Exception as error:
            self._fail(f"has a value that makes no sense: {error}.", event, remedy=_TRUNCATED)

    def _fail(self, problem: str, event: Any = None, *, record: str = "", remedy: str = "") -> NoReturn:
        line = f"line {self._line(event.start_mark)}" if event is not None else ""
        where = ", ".join(part for part in (record, line) if part)
        raise ExportError(self._path, problem, where=where, remedy=remedy)
