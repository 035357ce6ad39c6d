"""Whether a database will take what a plan has for it.

Dataset types and collections are registered before the transaction, so that a
value that a table refuses would leave them behind: it is found beforehand.
"""

from __future__ import annotations

__all__ = ["check_artifact", "check_formatter", "check_plan", "check_records", "data_id_value"]

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from lsst.daf.butler import CollectionType, DimensionRecord, Location, Timespan
from lsst.sphgeom import Region
from lsst.utils.doImport import doImportType

from ..errors import ExportError

if TYPE_CHECKING:
    from .plan import FilePlan

_REMEDY = "Correct it in a copy of the export."

_LONGEST = 2_000
"""Bytes of a name, a path or a value: PostgreSQL has no entry in an index for much more."""

_LONGEST_DOC = 1 << 20

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
                        remedy=_REMEDY,
                    )


def check_plan(plan: FilePlan) -> None:
    """Check the names of a plan.

    Parameters
    ----------
    plan : `~butler_replica.imports.plan.FilePlan`
        A plan whose dataset types and collections are known.

    Raises
    ------
    ExportError
        Raised if a table cannot hold one of them, or if a chain contains
        itself.
    """

    def check(what: str, value: str, longest: int = _LONGEST) -> None:
        if problem := _text_problem(value, longest):
            raise ExportError(plan.export, f"{what} {problem}.", remedy=_REMEDY)

    for item in plan.collections:
        check(f"the name of collection {_short(item.name)}", item.name)
        if item.type is CollectionType.RUN and _leads_out(item.name):
            raise ExportError(
                plan.export, f"the run {item.name!r} leads out of the repository.", remedy=_REMEDY
            )
    for name, children in plan.chains.items():
        check(f"the name of chain {_short(name)}", name)
        if name in children:
            raise ExportError(plan.export, f"chain {name!r} has itself as a child.", remedy=_REMEDY)
    for doc in (*(item.doc for item in plan.collections), *plan.docs.values()):
        check("the documentation of a collection", doc or "-", _LONGEST_DOC)
    for dataset_type in plan.dataset_types:
        check(f"the name of dataset type {_short(dataset_type.name)}", dataset_type.name)
        storage_class = dataset_type.storageClass_name
        check(f"the storage class of {dataset_type.name}", storage_class)


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
            remedy=_REMEDY,
        )
    if problem := _text_problem(recorded):
        raise ExportError(export, f"the path {_short(recorded)} in the repository {problem}.", remedy=_REMEDY)


@functools.lru_cache(maxsize=1_000)
def _extension_problem(formatter: str, extension: str) -> str:
    """Say why a formatter takes no files of an extension, where it is one of the butler's own."""
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
    if problem := _text_problem(formatter):
        raise ExportError(export, f"the formatter {_short(formatter)} {problem}.", remedy=_REMEDY)


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
        raise TypeError(f"{_short(value)} is no value of a dimension")
    try:
        value = kind(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if isinstance(value, int) and not _is_storable(value):
        raise ValueError(f"no database can hold {_short(value)}")
    if isinstance(value, str) and (problem := _text_problem(value)):
        raise ValueError(f"{_short(value)} {problem}")
    return value


def _column_problem(column: Any, value: Any) -> str:
    if value is None:
        return "" if column.nullable else "has no value"
    if not _fits(column.type, value):
        return f"is {_short(value)}, which is no {column.type}"
    problem = ""
    if column.type == "string":
        bounded = column.length <= _BOUNDED
        if bounded and len(value) > column.length:
            problem = f"has {len(value)} characters; {column.length} are allowed"
        elif value or bounded or not column.nullable:
            problem = _text_problem(value)
        problem = problem and f"{_short(value)} {problem}"
    elif column.type == "int" and not _is_storable(value):
        problem = f"is {_short(value)}, which no database can hold"
    elif column.type == "hash" and len(value) > column.nbytes:
        problem = f"has {len(value)} bytes; {column.nbytes} are allowed"
    return problem


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _KINDS.get(kind, (object,)))


def _leads_out(path: str) -> bool:
    """Say whether a path leads upwards, however often the butler takes ``%2E`` for a character."""
    while "%" in path and (unquoted := unquote(path)) != path:
        path = unquoted
    return ".." in path and ".." in PurePosixPath(path).parts


def _is_storable(value: int) -> bool:
    return -(1 << 63) <= value < 1 << 63


def _text_problem(value: str, longest: int = _LONGEST) -> str:
    if not value:
        return "is empty"
    if "\0" in value:
        return "has a NUL character in it"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "has characters that are no Unicode"
    return f"has {size} bytes; {longest} are allowed" if size > longest else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]} ..."
