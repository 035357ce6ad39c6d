"""Reading an export file, one event of the YAML stream at a time.

The file is never held as a document: dataset records, which are nearly all of
it, become compact columns as they go by (`Records`), and those in the form of
the exporter do not even pass through the parser (`CanonicalRecords`). Anything
that YAML allows (comments, flow style, anchors, keys in another order) is
read; what it means is as in `lsst.daf.butler.transfers.YamlRepoImportBackend`.
"""

from __future__ import annotations

__all__ = ["read_export"]

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import astropy.time
import yaml
from lsst.daf.butler import CollectionType, Timespan

from ..errors import ExportError
from .dataset_items import DatasetItems
from .early import modernize
from .events import NOT_AN_EXPORT, TRUNCATED, YamlEvents
from .model import Certification, CollectionItem, DatasetBlock, DatasetTypeItem, ExportFile
from .records import Records, Spool
from .text import ExportText

FORMAT_VERSION = (1, 0, 2)
"""Newest version of the export format that is known here."""

_TEXTS = ("type", "element", "name", "collection_type", "dataset_type", "run", "collection", "storage_class")
"""Keys of items whose values are text."""


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
            path, f"no valid YAML: {' '.join(str(error).split())}.", remedy=NOT_AN_EXPORT
        ) from error
    except RecursionError as error:
        raise ExportError(path, "is nested too deeply.", remedy=NOT_AN_EXPORT) from error
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
        spool = Spool()
        self._events = YamlEvents(path, text, spool)
        self._export = ExportFile(path, universe_version=0, universe_namespace="daf_butler")
        self._datasets = DatasetItems(self._events, spool, self._export.notices)
        self._runs: dict[Any, str] = {}

    def read(self) -> ExportFile:
        try:
            return self._read()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {self._events.line(mark)}" if mark else ""
            raise ExportError(
                self._path, f"no valid YAML: {error.problem}.", where=where, remedy=TRUNCATED
            ) from error

    def _read(self) -> ExportFile:
        events = self._events
        events.get()  # start of the stream
        if isinstance(events.peek(), yaml.StreamEndEvent):
            self._events.fail("holds nothing.", remedy=NOT_AN_EXPORT)
        events.get()  # start of the document
        if not isinstance(events.get(), yaml.MappingStartEvent):
            self._events.fail("is YAML, but no butler export.", remedy=NOT_AN_EXPORT)
        header: dict[str, Any] = {}
        for key in self._events.keys_of_mapping():
            if key == "data":
                header[key] = True
                self._read_items()
            else:
                header[key] = self._events.value(events.get())
        self._check_header(header)
        events.get()  # end of the document
        if not isinstance(events.peek(), yaml.StreamEndEvent):
            self._events.fail(
                "holds more than one YAML document.", remedy="Split it: one export in each file."
            )
        events.end()
        return self._export

    def _check_header(self, header: dict[str, Any]) -> None:
        if "version" not in header or "data" not in header:
            lacking = " and ".join(f"'{key}'" for key in ("version", "data") if key not in header)
            self._events.fail(f"is YAML, but no butler export: it has no {lacking}.", remedy=NOT_AN_EXPORT)
        text = str(header["version"])
        try:
            version = (1, 0, 0) if text == "0" else tuple(int(part) for part in text.split("."))
        except ValueError:
            self._events.fail(f"has the format version {text!r}, which is no version.", remedy=NOT_AN_EXPORT)
        if version[0] != FORMAT_VERSION[0] or version[:2] > FORMAT_VERSION[:2]:
            known = ".".join(map(str, FORMAT_VERSION))
            self._events.fail(
                f"is of export format {text}; this project reads format 1.0.0 to {known}.",
                remedy="Update dc2-replica, or export again with an older lsst-daf-butler.",
            )
        universe_version = header.get("universe_version") or 0
        if not isinstance(universe_version, int) or universe_version < 0:
            self._events.fail(f"has the universe version {universe_version!r}, which is no version.")
        self._export.universe_version = universe_version
        self._export.universe_namespace = str(header.get("universe_namespace") or "daf_butler")

    # Items

    def _read_items(self) -> None:
        event = self._events.get()
        if isinstance(event, yaml.ScalarEvent) and event.value in ("", "null", "~"):
            return
        if not isinstance(event, yaml.SequenceStartEvent):
            self._events.fail("'data' is no list.", event, remedy=NOT_AN_EXPORT)
        kind = None
        while not isinstance(event := self._events.get(), yaml.SequenceEndEvent):
            if not isinstance(event, yaml.MappingStartEvent):
                self._events.fail("an item of 'data' is no mapping.", event, remedy=NOT_AN_EXPORT)
            kind = self._read_item(event)
        if kind == "dataset":
            block = self._export.blocks[-1]
            self._datasets.check_last(block.dataset_type, len(block.records), event)

    def _read_item(self, start: Any) -> str | None:
        item: dict[str, Any] = {}
        records: Records | None = None
        for key in self._events.keys_of_mapping():
            if key == "records" and item.get("type") == "dataset":
                records = self._datasets.read(str(item.get("dataset_type")))
            else:
                item[key] = self._events.value(self._events.get())
        for key in _TEXTS:
            if not isinstance(item.get(key, ""), str):
                self._events.fail(f"an item has the {key} {item[key]!r}, which is no text.", start)
        kind: str | None = item.get("type")
        try:
            if kind == "dataset":
                if records is None:
                    # The key 'records' stood before the key 'type'.
                    label = str(item["dataset_type"])
                    records = self._datasets.of_values(item["records"] or [], label, start)
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
                    self._events.fail(
                        f"dataset type {item['name']!r} has dimensions that are no names.", start
                    )
                self._export.dataset_types[item["name"]] = DatasetTypeItem(
                    item["name"],
                    tuple(item["dimensions"]),
                    item["storage_class"],
                    bool(item.get("is_calibration", False)),
                )
            elif kind == "associations":
                self._add_associations(item, start)
            else:
                self._events.fail(f"has an item of the unknown type {kind!r}.", start, remedy=NOT_AN_EXPORT)
        except KeyError as error:
            self._events.fail(f"a {kind} item has no {error}.", start, remedy=TRUNCATED)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            self._events.fail(f"a {kind} item is malformed ({error}).", start, remedy=TRUNCATED)
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
            self._events.fail(f"has datasets of run {item['run_id']}, and no such run before them.", start)
        return self._runs[item["run_id"]]

    def _add_dimension(self, item: dict[str, Any], start: Any) -> None:
        records = item["records"] or []
        for record in records:
            if not isinstance(record, dict):
                self._events.fail(f"a record of {item['element']} is no mapping.", start, remedy=TRUNCATED)
            for key, value in record.items():
                record[key] = _as_time(value)
        self._export.dimensions.setdefault(item["element"], []).extend(records)

    def _add_collection(self, item: dict[str, Any], start: Any) -> None:
        try:
            collection_type = CollectionType.from_name(item["collection_type"])
        except KeyError:
            self._events.fail(
                f"collection {item['name']!r} is of the unknown type {item['collection_type']!r}.", start
            )
        children: tuple[str, ...] = ()
        if collection_type is CollectionType.CHAINED:
            # Old exports have pairs of a child and dataset type restrictions,
            # which butlers no longer know.
            children = tuple(c if isinstance(c, str) else c[0] for c in item["children"])
        if not _are_texts(children) or not isinstance(item.get("doc"), str | None):
            self._events.fail(f"collection {item['name']!r} has children or a doc that are no text.", start)
        self._export.collections[item["name"]] = CollectionItem(
            item["name"], collection_type, item.get("doc"), children
        )

    def _add_associations(self, item: dict[str, Any], start: Any) -> None:
        collection, kind = item["collection"], item["collection_type"]
        if kind == CollectionType.TAGGED.name:
            ids = [self._datasets.dataset_id(value, start) for value in item["dataset_ids"]]
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
                    self._events.fail(f"has the timespan {timespan!r}, which is none.", start)
                ids = [self._datasets.dataset_id(value, start) for value in entry["dataset_ids"]]
                certifications.append(Certification(timespan, ids))
        else:
            self._events.fail(f"has associations with {collection!r} of the type {kind!r}.", start)
