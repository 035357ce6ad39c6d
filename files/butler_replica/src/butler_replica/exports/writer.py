"""Writing what an `ExportFile` says, in the form of the butler's own exporter; `read_export` is the inverse.

Most of an export are records of a few scalars. They are put together as text,
some ten times faster than a YAML emitter does it; whatever is not a plain scalar
goes through the emitter.
"""

from __future__ import annotations

__all__ = ["FORMAT_VERSION", "ExportDumper", "write_export"]

import functools
import re
import textwrap
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import astropy.time
import lsst.sphgeom
import yaml
from lsst.daf.butler import CollectionType, Timespan

from .model import CollectionItem, DatasetBlock, DatasetTypeItem, ExportFile
from .records import RecordChunk

FORMAT_VERSION = "1.0.2"
"""Version of the form of exports that is written."""

_EMITTED_AT_ONCE = 4096
"""Pieces of text that are joined before they are written."""

_CACHED_TEXTS = 65_536
"""Distinct texts whose YAML is remembered."""

_PLAIN_PATH = re.compile(r"(?=[^/]*/)[A-Za-z0-9_./][A-Za-z0-9_./+~%=@,-]*(?::[A-Za-z0-9_./+~%=@,-]+)*")
"""Paths and URIs that YAML takes for the text that they are."""


class ExportDumper(yaml.CSafeDumper):
    """Emits what exports have in them; the butler registers its representers with PyYAML's slow dumper only."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value as often as it occurs."""
        return True


_REGIONS = (
    lsst.sphgeom.ConvexPolygon,
    lsst.sphgeom.Ellipse,
    lsst.sphgeom.Circle,
    lsst.sphgeom.Box,
    lsst.sphgeom.UnionRegion,
    lsst.sphgeom.IntersectionRegion,
)
for _type in (uuid.UUID, Timespan, astropy.time.Time, *_REGIONS):
    ExportDumper.add_representer(_type, yaml.Dumper.yaml_representers[_type])


def write_export(export: ExportFile, stream: IO[str]) -> None:
    """Write an export file.

    Parameters
    ----------
    export : `ExportFile`
        What it says. The same content gives the same text.
    stream : `~typing.IO` [ `str` ]
        Where to write it, as UTF-8.
    """
    held: list[str] = []
    for piece in _pieces(export):
        held.append(piece)
        if len(held) >= _EMITTED_AT_ONCE:
            stream.write("".join(held))
            held.clear()
    stream.write("".join(held))


def _pieces(export: ExportFile) -> Iterator[str]:
    yield (
        "description: Butler Data Repository Export\n"
        f"version: {FORMAT_VERSION}\n"
        f"universe_version: {export.universe_version}\n"
        f"universe_namespace: {_text(export.universe_namespace)}\n"
    )
    items = _items(export)
    first = next(items, None)
    yield "data: []\n" if first is None else f"data:\n{first}"
    yield from items


def _items(export: ExportFile) -> Iterator[str]:
    for element, records in export.dimensions.items():
        if records:
            yield f"- type: dimension\n  element: {element}\n  records:\n"
            yield from map(_dimension_record, records)
    yield from map(_collection, export.collections.values())
    for kind in export.dataset_types.values():
        yield _dataset_type(kind)
        for block in export.blocks:
            if block.dataset_type == kind.name:
                yield from _block(block)
    for name, ids in export.tags.items():
        yield _association(name, CollectionType.TAGGED)
        yield f"  dataset_ids:{_ids(ids, 2)}\n"
    for name, certifications in export.certifications.items():
        yield _association(name, CollectionType.CALIBRATION)
        yield "  validity_ranges:\n" if certifications else "  validity_ranges: []\n"
        for one in certifications:
            yield f"  - timespan: {_timespan(one.timespan)}    dataset_ids:{_ids(one.ids, 4)}\n"


def _association(name: str, kind: CollectionType) -> str:
    return f"- type: associations\n  collection: {_text(name)}\n  collection_type: {kind.name}\n"


def _timespan(timespan: Timespan) -> str:
    return textwrap.indent(_emitted(timespan), "      ").lstrip()


def _ids(ids: Iterable[uuid.UUID], indent: int) -> str:
    margin = " " * indent
    return "".join(f"\n{margin}- !uuid '{one}'" for one in ids) or " []"


def _collection(item: CollectionItem) -> str:
    content: dict[str, Any] = {"type": "collection", "collection_type": item.type.name, "name": item.name}
    if item.doc:
        content["doc"] = item.doc
    if item.type is CollectionType.RUN:
        content |= {"host": None, "timespan_begin": None, "timespan_end": None}
    elif item.type is CollectionType.CHAINED:
        content["children"] = list(item.children)
    return _emitted([content])


def _dataset_type(kind: DatasetTypeItem) -> str:
    content = {
        "type": "dataset_type",
        "name": kind.name,
        "dimensions": list(kind.dimensions),
        "storage_class": kind.storage_class,
        "is_calibration": kind.is_calibration,
    }
    return _emitted([content])


def _block(block: DatasetBlock) -> Iterator[str]:
    yield f"- type: dataset\n  dataset_type: {_text(block.dataset_type)}\n  run: {_text(block.run)}\n"
    yield "  records:\n" if len(block.records) else "  records: []\n"
    for chunk in block.records.chunks():
        yield from _dataset_records(chunk)


def _dataset_records(chunk: RecordChunk) -> Iterator[str]:
    begin = 0
    for position, (path, formatter) in enumerate(zip(chunk.paths, chunk.formatters, strict=True)):
        end = begin + (1 if chunk.counts is None else chunk.counts[position])
        ids = "".join(f"    - !uuid '{_uuid(one)}'\n" for one in chunk.ids[begin:end])
        data_ids = "".join(
            f"    - {_data_id(chunk.keys, values)}\n" if values else "    - {}\n"
            for values in chunk.values[begin:end]
        )
        yield (
            f"  - dataset_id:\n{ids}    data_id:\n{data_ids}"
            f"    path: {_path(path)}\n    formatter: {_scalar(formatter)}\n"
        )
        begin = end


def _uuid(one: bytes) -> str:
    digits = one.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _data_id(keys: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return "\n      ".join(f"{key}: {_scalar(value)}" for key, value in zip(keys, values, strict=True))


def _dimension_record(record: Mapping[str, Any]) -> str:
    return f"  - {textwrap.indent(''.join(_member(*member) for member in record.items()), '    ')[4:]}"


def _member(key: str, value: Any) -> str:
    if isinstance(value, _REGIONS):
        encoded = value.encode().hex()
        # A text of digits alone would be read as a number.
        quoted = f"'{encoded}'" if encoded.isdigit() else encoded
        return f"{key}: !<lsst.sphgeom.{type(value).__name__}>\n  encoded: {quoted}\n"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{key}: {_scalar(value)}\n"
    return _emitted({key: value})


def _path(path: str | None) -> str:
    # Nearly every path is another one: they are not worth remembering.
    return path if path is not None and _PLAIN_PATH.fullmatch(path) else _emit_scalar(path)


def _scalar(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return _text(value) if type(value) is str else _emit_scalar(value)


@functools.lru_cache(_CACHED_TEXTS)
def _text(text: str) -> str:
    return _emit_scalar(text)


def _emit_scalar(value: Any) -> str:
    """Return a scalar on one line."""
    if isinstance(value, str) and not value.isprintable():
        # In double quotes alone can everything be written without a line break of its own.
        text = yaml.dump(value, Dumper=ExportDumper, default_style='"', width=_ONE_LINE)
    else:
        text = yaml.dump(value, Dumper=ExportDumper, allow_unicode=True, width=_ONE_LINE)
    return text.removesuffix("\n").removesuffix("\n...")


_ONE_LINE = 2**31 - 1
"""Width of a line that is never broken."""


def _emitted(value: Any) -> str:
    return yaml.dump(value, Dumper=ExportDumper, sort_keys=False, allow_unicode=True, width=_ONE_LINE)
