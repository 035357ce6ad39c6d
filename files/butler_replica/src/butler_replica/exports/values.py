"""Whether a registry's database will take what an export says.

It is looked at before anything is written: what is registered before the
transaction would be left behind by a value that a table refuses.
"""

from __future__ import annotations

__all__ = [
    "LONGEST_DOC",
    "LONGEST_NAME",
    "REMEDY",
    "check_artifact",
    "check_formatter",
    "check_records",
    "data_id_value",
    "leads_out",
    "shortened",
    "text_problem",
]

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from lsst.daf.butler import DimensionRecord, Location, Timespan
from lsst.sphgeom import Region
from lsst.utils.doImport import doImportType

from ..errors import ExportError

REMEDY = "Correct it in a copy of the export."

LONGEST_NAME = 2_000
"""Bytes of a name, a path or a value: PostgreSQL has no entry in an index for much more."""

LONGEST_DOC = 1 << 20
"""Bytes of the documentation of a collection."""

_BOUNDED = 32
"""Strings of more characters have columns of any length (`lsst.daf.butler.ddl`)."""

_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "string": (str,),
    "hash": (bytes,),
    "bool": (bool,),
    "region": (Region,),
    "timespan": (Timespan,),
}
"""Python types of the values of a column, by the kind of the column."""


def check_records(export: Path, records: Mapping[str, Iterable[DimensionRecord]]) -> None:
    """Check dimension records, those that the repository has included.

    Parameters
    ----------
    export : `pathlib.Path`
        The export that they come from.
    records : `~collections.abc.Mapping`
        Records by element name, in the universe of the repository.

    Raises
    ------
    ExportError
        Raised if a column cannot hold the value that a record has for it.
    """
    for element, found in records.items():
        for number, record in enumerate(found, 1):
            for column in record.definition.schema.all:
                value = getattr(record, column.name)
                if problem := _column_problem(column, value):
                    raise ExportError(
                        export,
                        f"{column.name} {problem}.",
                        where=f"{element} record {number}",
                        remedy=REMEDY,
                    )


def leads_out(path: str) -> bool:
    """Return whether a path leads upwards, however often the butler takes ``%2E`` for a character."""
    while "%" in path and (unquoted := unquote(path)) != path:
        path = unquoted
    return ".." in path and ".." in PurePosixPath(path).parts


def check_artifact(export: Path, recorded: str, formatter: str) -> None:
    """Check what the datastore is to note of an artifact.

    Parameters
    ----------
    export : `pathlib.Path`
        The export that it comes from.
    recorded : `str`
        Path below the root of the datastore, or a URI.
    formatter : `str`
        Name of the formatter.

    Raises
    ------
    ExportError
        Raised if a column cannot hold it, or if the formatter takes no such file.
    """
    check_formatter(export, formatter)
    name = recorded.rpartition("/")[2]
    extension = name[start:] if (start := name.find(".")) >= 0 else ""
    if not recorded.startswith("file://") and (problem := _extension_problem(formatter, extension)):
        raise ExportError(
            export,
            f"the artifact that is to become {recorded} cannot be read with the formatter it has: {problem}.",
            remedy=REMEDY,
        )
    if problem := text_problem(recorded):
        raise ExportError(
            export, f"the path {shortened(recorded)} in the repository {problem}.", remedy=REMEDY
        )


@functools.lru_cache(maxsize=1_000)
def _extension_problem(formatter: str, extension: str) -> str:
    """Return why a formatter takes no files of an extension, where it is one of the butler's own."""
    if not formatter.startswith("lsst.daf.butler."):
        # Instruments have others, which are imported by those who read.
        return ""
    try:
        found: Any = doImportType(formatter)
        found.validate_extension(Location(None, f"file:///artifact{quote(extension)}"))
    except ValueError as error:
        return str(error)
    except (ImportError, TypeError, AttributeError):
        # Of another release.
        return ""
    return ""


def check_formatter(export: Path, formatter: str) -> None:
    """Check the name of a formatter.

    Parameters
    ----------
    export : `pathlib.Path`
        The export that it comes from.
    formatter : `str`
        The name.

    Raises
    ------
    ExportError
        Raised if a column cannot hold it.
    """
    if problem := text_problem(formatter):
        raise ExportError(export, f"the formatter {shortened(formatter)} {problem}.", remedy=REMEDY)


def data_id_value(value: Any, kind: type) -> Any:
    """Return a value of a data ID as the type that its dimension has.

    Parameters
    ----------
    value : `object`
        As the export has it.
    kind : `type`
        Python type of the dimension's values.

    Returns
    -------
    value : `object`
        A ``kind`` that a database can hold.

    Raises
    ------
    ValueError
        Raised if there is none. The message says why.
    TypeError
        Raised if the value is of no such kind.
    """
    if value is None or isinstance(value, bytes):
        raise TypeError(f"{shortened(value)} is no value of a dimension")
    try:
        value = kind(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if isinstance(value, int) and not _is_storable(value):
        raise ValueError(f"no database can hold {shortened(value)}")
    if isinstance(value, str) and (problem := text_problem(value)):
        raise ValueError(f"{shortened(value)} {problem}")
    return value


def _column_problem(column: Any, value: Any) -> str:
    if value is None:
        return "" if column.nullable else "has no value"
    if not _fits(column.type, value):
        return f"is {shortened(value)}, which is no {column.type}"
    problem = ""
    if column.type == "string":
        bounded = column.length <= _BOUNDED
        if bounded and len(value) > column.length:
            problem = f"has {len(value)} characters; {column.length} are allowed"
        elif value or bounded or not column.nullable:
            problem = text_problem(value)
        problem = problem and f"{shortened(value)} {problem}"
    elif column.type == "int" and not _is_storable(value):
        problem = f"is {shortened(value)}, which no database can hold"
    elif column.type == "hash" and len(value) > column.nbytes:
        problem = f"has {len(value)} bytes; {column.nbytes} are allowed"
    return problem


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _KINDS.get(kind, (object,)))


def _is_storable(value: int) -> bool:
    return -(1 << 63) <= value < 1 << 63


def text_problem(value: str, longest: int = LONGEST_NAME) -> str:
    """Return why a column cannot hold a text, or an empty string.

    Parameters
    ----------
    value : `str`
        The text.
    longest : `int`, optional
        Bytes that it may have.

    Returns
    -------
    problem : `str`
        What follows the name of the text in a sentence.
    """
    if not value:
        return "is empty"
    if "\0" in value:
        return "has a NUL character in it"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "has characters that are no Unicode"
    return f"has {size} bytes; {longest} are allowed" if size > longest else ""


def shortened(value: object) -> str:
    """Return a value as a message shows it.

    Parameters
    ----------
    value : `object`
        Of any kind.

    Returns
    -------
    text : `str`
        At most 104 characters.
    """
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]} ..."
