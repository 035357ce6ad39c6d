"""Reading import sets and collections as users describe them, with every problem at once."""

from __future__ import annotations

__all__ = [
    "DataPlaces",
    "data_places",
    "load_description",
    "load_mapping",
    "parse_collections",
    "parse_options",
    "parse_sets",
]

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from .artifacts.rewriting import PathMapper
from .errors import ReplicaError
from .options import Collection, ImportOptions, ImportSet, options_of

D = TypeVar("D", ImportSet, Collection)


def parse_options(given: Mapping[str, Any]) -> ImportOptions:
    """Check options of an import.

    Parameters
    ----------
    given : `~collections.abc.Mapping`
        Options by name.

    Returns
    -------
    options : `~butler_replica.options.ImportOptions`
        The same, checked and complete.

    Raises
    ------
    ReplicaError
        Raised with every problem, by option.
    """
    try:
        return TypeAdapter(ImportOptions).validate_python(dict(given))
    except ValidationError as error:
        problems = [_problem(ImportOptions, detail) for detail in error.errors()]
        raise ReplicaError("; ".join(problems) + ".") from error


def parse_sets(sets: Iterable[ImportSet | Mapping[str, Any]]) -> list[ImportSet]:
    """Check import sets.

    Parameters
    ----------
    sets : `~collections.abc.Iterable`
        `ImportSet` objects or mappings as in ``dc2_import_sets``.

    Returns
    -------
    sets : `list` [ `ImportSet` ]
        The same, checked and complete.

    Raises
    ------
    ReplicaError
        Raised with every problem of every set, by set and key.
    """
    return _parse(ImportSet, sets, "import set")


def parse_collections(collections: Iterable[Collection | Mapping[str, Any]]) -> list[Collection]:
    """Check descriptions of collections.

    Parameters
    ----------
    collections : `~collections.abc.Iterable`
        `Collection` objects or mappings as in ``dc2_collections``.

    Returns
    -------
    collections : `list` [ `Collection` ]
        The same, checked and complete.

    Raises
    ------
    ReplicaError
        Raised with every problem of every description, by name and key.
    """
    return _parse(Collection, collections, "collection")


def load_description(path: Path) -> tuple[list[ImportSet], list[Collection]]:
    """Read import sets and collections from a YAML file.

    Parameters
    ----------
    path : `pathlib.Path`
        File with the keys ``dc2_import_sets`` and ``dc2_collections``; either
        may be absent. Templates are not resolved.

    Returns
    -------
    sets : `list` [ `ImportSet` ]
        The import sets.
    collections : `list` [ `Collection` ]
        The collections.

    Raises
    ------
    ReplicaError
        Raised if the file cannot be read or says something else.
    """
    content = load_mapping(path)
    keys = ("dc2_import_sets", "dc2_collections")
    if not {*keys} & {*content}:
        raise ReplicaError(f"{path}: has neither of the keys {' and '.join(sorted(keys))}.")
    for where, template in (found for key in keys for found in _templates(content.get(key), key)):
        raise ReplicaError(
            f"{path}: {where} is {template!r}, a template, which only Ansible resolves: write what it stands for, or "
            "run the playbook, where this is a tag (site.yml --tags verify, chains or repository)."
        )
    try:
        return (
            parse_sets(content.get("dc2_import_sets") or ()),
            parse_collections(content.get("dc2_collections") or ()),
        )
    except ReplicaError as error:
        raise ReplicaError(f"{path}: {error}") from error


def load_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    Returns
    -------
    mapping : `dict`
        What it says; nothing, where it is empty.

    Raises
    ------
    ReplicaError
        Raised if the file cannot be read or says something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReplicaError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content or {}, dict):
        raise ReplicaError(f"{path}: is to hold a mapping ('key: value'), and holds something else.")
    return content or {}


def _templates(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield where templates are in what a file says, and what is there."""
    if isinstance(value, str) and re.search(r"\{\{|\{%", value):
        yield where, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _templates(each, f"{where}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            name = each.get("name", number) if isinstance(each, Mapping) else number
            yield from _templates(each, f"{where}[{name}]")


class DataPlaces(NamedTuple):
    """Where the data of import sets are."""

    folders: tuple[str, ...] = ()
    """Exports and artifacts: folders, files and globs."""

    prefixes: tuple[str, ...] = ()
    """Folders below which there may be artifacts beside much else: new prefixes of rules, and ``roots``."""


def data_places(sets: Iterable[ImportSet]) -> DataPlaces:
    """Return where the data of import sets are.

    Parameters
    ----------
    sets : `~collections.abc.Iterable` [ `ImportSet` ]
        The sets.

    Returns
    -------
    places : `DataPlaces`
        Each place once.
    """
    sets = list(sets)
    folders = [
        str(place) for one in sets for place in (*one.exports, *([one.artifacts] if one.artifacts else []))
    ]
    prefixes = [str(place) for one in sets for place in (*one.roots, *_prefixes(one))]
    return DataPlaces(tuple(dict.fromkeys(folders)), tuple(dict.fromkeys(prefixes)))


def _prefixes(one: ImportSet) -> list[str]:
    """Return the folders that the rules of a set lead to, as the import finds them."""
    begins = [one.artifacts] if one.artifacts else [_folder_of(Path(export)) for export in one.exports]
    return [folder for begin in begins for folder in PathMapper(one.rewrite, begin).folders[1:]]


def _folder_of(export: Path) -> Path:
    return export if os.path.isdir(export) else export.parent  # noqa: PTH112 (no error for what is closed)


def _parse(model: type[D], items: Iterable[D | Mapping[str, Any]], kind: str) -> list[D]:
    if isinstance(items, (str, Mapping)) or not isinstance(items, Iterable):
        raise ReplicaError(f"The {kind}s are to be a list, not {items!r}.")
    parsed: list[D] = []
    problems: list[str] = []
    for position, item in enumerate(items, 1):
        if isinstance(item, model):
            parsed.append(item)
            continue
        name = item.get("name") if isinstance(item, Mapping) else None
        label = f"{kind} '{name}'" if name else f"{kind} number {position}"
        try:
            parsed.append(TypeAdapter(model).validate_python(item))
        except ValidationError as error:
            problems += [f"{label}: {_problem(model, detail)}" for detail in error.errors()]
    names = [item.name for item in parsed]
    problems += [
        f"{kind} '{name}': there are several" for name in dict.fromkeys(names) if names.count(name) > 1
    ]
    if problems:
        raise ReplicaError("; ".join(problems) + ".")
    return parsed


def _problem(model: type, detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "unexpected_keyword_argument":
        known = [option.name for option in options_of(model)]
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"perhaps '{close[0]}' is meant" if close else f"there are {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if detail["type"] == "missing":
        return f"key '{key}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return (
        f"{key}: {message}" + (f", not {detail['input']!r}" if detail["type"] == "literal_error" else "")
        if key
        else message
    )
