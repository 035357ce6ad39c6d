"""Import sets and collections as a user describes them."""

from __future__ import annotations

__all__ = [
    "STAGES",
    "Collection",
    "DataPlaces",
    "ImportSet",
    "data_places",
    "load_description",
    "parse_collections",
    "parse_sets",
]

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import yaml
from lsst.daf.butler import CollectionType
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .artifacts.listing import Placeholders
from .artifacts.rewriting import PathMapper, parse_rewrite
from .artifacts.transfer import TRANSFER_MODES
from .errors import ReplicaError
from .imports.formatters import UnknownFormatters
from .local_paths import expanded

Stage = Literal["instrument", "skymap", "calib", "refcats", "raw", "visits", "products"]

STAGES: tuple[str, ...] = get_args(Stage)
"""Stages of a replication that import something, in their order."""


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1)


class ImportSet(_Description):
    """Exports of one kind and how to import them.

    Input is lenient: one export may stand for a list of one, and ``rewrite``
    may be a list of ``{old, new}``, of pairs or of ``OLD=NEW``, or a mapping.
    """

    stage: Stage | None = None
    """Stage of the replication that imports the set."""

    exports: tuple[str, ...] = Field(min_length=1)
    """Folders, files or globs of export files."""

    artifacts: str | None = None
    """Folder where relative paths start; `None` is the folder of each export file."""

    rewrite: tuple[tuple[str, str], ...] = ()
    """Old and new prefixes of artifact paths."""

    roots: tuple[str, ...] = ()
    """Further folders that artifacts may be in, beside those of the export, ``artifacts`` and ``rewrite``."""

    collections: Literal["keep", "drop-chains", "drop", "associations"] = "keep"
    missing: Literal["fail", "skip", "register"] = "fail"
    placeholders: Placeholders = "missing"
    """Whether an empty file or a Git LFS pointer in place of an artifact is missing."""

    formatters: tuple[str, ...] = ()
    """Packages whose formatters are trusted, beside ``lsst``."""

    unknown_formatters: UnknownFormatters = "notice"
    """What others do."""

    transfer: str = "symlink"
    runs: tuple[str, ...] = ()
    """Runs that are made whether datasets need them or not."""

    register_records: bool = Field(default=False, alias="register")
    """Make dimension records that are needed and that nobody has, where this project can."""

    exclusive: bool = False
    """Let others who use the database wait, which makes large imports faster."""

    instrument: Literal["LSSTCam-imSim"] | None = None
    """Instrument of the datasets that the stage ``instrument`` registers."""

    skymap: Literal["DC2"] | None = None
    """Skymap of the datasets that the stage ``skymap`` registers."""

    visits: str | None = None
    """Collection of raws for whose exposures the stage ``visits`` defines visits."""

    @field_validator("exports", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        values = [value] if isinstance(value, (str, Path)) else value
        return [str(v) if isinstance(v, Path) else v for v in values] if isinstance(values, list) else values

    @field_validator("roots", "formatters", mode="before")
    @classmethod
    def _none_or_many(cls, value: Any) -> Any:
        return cls._one_or_many(value or [])

    @field_validator("artifacts", mode="before")
    @classmethod
    def _no_folder(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value or None

    @field_validator("transfer")
    @classmethod
    def _known_transfer(cls, value: str) -> str:
        if value not in TRANSFER_MODES:
            raise ValueError(f"'{value}' is none of {', '.join(TRANSFER_MODES)}")
        return value

    @field_validator("rewrite", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not value:
            return ()
        if isinstance(value, Mapping):
            rules = [value] if set(value) == {"old", "new"} else list(value.items())
        else:
            rules = list(value) if isinstance(value, (list, tuple)) else [value]
        return tuple(_pair(rule) for rule in rules)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of `~butler_replica.imports.importer.import_exports`."""
        return self.model_dump(
            include={
                "artifacts",
                "rewrite",
                "roots",
                "collections",
                "missing",
                "placeholders",
                "formatters",
                "unknown_formatters",
                "transfer",
                "runs",
                "register_records",
                "exclusive",
            },
            by_alias=True,
        )


def _pair(rule: Any) -> tuple[str, str]:
    if isinstance(rule, str):
        try:
            return parse_rewrite(rule)
        except ReplicaError as error:
            raise ValueError(str(error).rstrip(".")) from error
    if isinstance(rule, Mapping):
        if set(rule) != {"old", "new"}:
            raise ValueError(f"a rule has the keys 'old' and 'new', this one has {sorted(map(str, rule))}")
        old, new = rule["old"], rule["new"]
    else:
        if not isinstance(rule, (list, tuple)) or len(rule) != 2:
            raise ValueError(f"'{rule}' is neither a pair nor a mapping with 'old' and 'new' nor OLD=NEW")
        old, new = rule
    if not (isinstance(old, str) and isinstance(new, str)):
        raise ValueError(f"prefixes are text, these are {old!r} and {new!r}")  # noqa: TRY004
    return old, new


class DataPlaces(NamedTuple):
    """Where the data of import sets are, as they are written there."""

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
    folders = [place for one in sets for place in (*one.exports, *([one.artifacts] if one.artifacts else []))]
    prefixes = [place for one in sets for place in (*one.roots, *_prefixes(one))]
    return DataPlaces(tuple(dict.fromkeys(folders)), tuple(dict.fromkeys(prefixes)))


def _prefixes(one: ImportSet) -> list[str]:
    """Return the folders that the rules of a set lead to, as the import finds them."""
    begins = [expanded(one.artifacts)] if one.artifacts else [_folder_of(export) for export in one.exports]
    return [folder for begin in begins for folder in PathMapper(one.rewrite, begin).folders[1:]]


def _folder_of(export: str) -> Path:
    path = expanded(export)
    return path if path.is_dir() else path.parent


class Collection(_Description):
    """A collection that a repository is to have."""

    type: CollectionType
    children: tuple[str, ...] = ()
    """Children in search order, for a CHAINED collection."""

    needs: tuple[str, ...] = ()
    """A chain is made where one of these exists; one of its children, if empty."""

    doc: str | None = None
    stage: str = "chains"
    """Stage of the replication that makes the collection."""

    @field_validator("type", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return CollectionType.from_name(value)
        except KeyError:
            raise ValueError(
                f"'{value}' is none of {', '.join(sorted(CollectionType.__members__))}"
            ) from None

    @field_validator("children", "needs", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or ()

    @model_validator(mode="after")
    def _only_chains_have_children(self) -> Collection:
        if self.children and self.type is not CollectionType.CHAINED:
            raise ValueError(f"a {self.type.name} collection has no children, only a CHAINED one has")
        return self


D = TypeVar("D", ImportSet, Collection)


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
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReplicaError(f"{path}: cannot be read as YAML: {error}") from error
    keys = {"dc2_import_sets", "dc2_collections"}
    if not isinstance(content, dict) or not keys & set(content):
        raise ReplicaError(f"{path}: has neither of the keys {' and '.join(sorted(keys))}.")
    try:
        return (
            parse_sets(content.get("dc2_import_sets") or ()),
            parse_collections(content.get("dc2_collections") or ()),
        )
    except ReplicaError as error:
        raise ReplicaError(f"{path}: {error}") from error


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
            parsed.append(model.model_validate(item))
        except ValidationError as error:
            problems += [f"{label}: {_problem(detail)}" for detail in error.errors()]
    names = [item.name for item in parsed]
    problems += [
        f"{kind} '{name}': there are several" for name in dict.fromkeys(names) if names.count(name) > 1
    ]
    if problems:
        raise ReplicaError("; ".join(problems) + ".")
    return parsed


def _problem(detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if detail["type"] == "missing":
        return f"key '{key}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return (
        f"{key}: {message}" + (f", not {detail['input']!r}" if detail["type"] == "literal_error" else "")
        if key
        else message
    )
