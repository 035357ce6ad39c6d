"""The definition of what a user describes: import sets and collections, each option with its default.

Everybody takes the options from here: the importer, what verifies, the guard
and the command line when they run, and what is committed (documentation and
argument specifications of the modules and roles) by ``tools/derive.py``. Paths
are made absolute here, so that all of them speak of the same places. Nothing
here knows a repository.
"""

from __future__ import annotations

__all__ = [
    "STAGES",
    "Collection",
    "CollectionPolicy",
    "ImportOptions",
    "ImportSet",
    "MissingPolicy",
    "Option",
    "Placeholders",
    "Stage",
    "TransferMode",
    "UnknownFormatters",
    "options_of",
    "parse_rewrite",
]

import dataclasses
import glob
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from .errors import ReplicaError
from .local_paths import local_path

Stage = Literal["instrument", "skymap", "calib", "refcats", "raw", "visits", "products"]
STAGES: tuple[str, ...] = get_args(Stage)
"""Stages of a replication that import something, in their order."""

CollectionPolicy = Literal["keep", "drop-chains", "drop", "associations"]
MissingPolicy = Literal["fail", "skip", "register"]
Placeholders = Literal["missing", "accept"]
UnknownFormatters = Literal["notice", "refuse"]
TransferMode = Literal["symlink", "relsymlink", "copy", "hardlink", "link", "direct", "none"]

_CONFIG = ConfigDict(extra="forbid", str_strip_whitespace=True)


def parse_rewrite(text: str) -> tuple[str, str]:
    """Split ``OLD=NEW``.

    Parameters
    ----------
    text : `str`
        The rule.

    Returns
    -------
    rule : `tuple` [ `str`, `str` ]
        The old prefix and the new one.

    Raises
    ------
    ValueError
        Raised if there is no ``=``, or nothing before it.
    """
    old, separator, new = text.partition("=")
    if not separator or not old:
        raise ValueError(f"{text!r} is no rewriting rule; write OLD=NEW, two prefixes of paths")
    return old, new


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, (str, Path)) else tuple(value) if isinstance(value, list) else value


def _absolute(value: Any) -> Any:
    if not isinstance(value, (str, Path)):
        return value
    try:
        return _without_dots(local_path(value))
    except ReplicaError as error:
        raise ValueError(str(error).rstrip(".")) from error


def _without_dots(path: Path) -> Path:
    """Follow ``..`` as the file system does; links behind it stay what a user wrote."""
    last = max((place for place, part in enumerate(path.parts) if part == ".."), default=-1)
    begin = str(Path(*path.parts[: last + 1]))
    if last < 0 or glob.has_magic(begin):
        return path
    return Path(os.path.realpath(begin), *path.parts[last + 1 :])


def _folder(value: Any) -> Any:
    return _absolute(value) if value else None


def _folders(value: Any) -> Any:
    many = _one_or_many(value)
    return tuple(_absolute(each) for each in many) if isinstance(many, tuple) else many


def _patterns(value: Any) -> Any:
    many = _folders(value)
    return (
        tuple(str(each) if isinstance(each, Path) else each for each in many)
        if isinstance(many, tuple)
        else many
    )


def _rules(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = [value] if set(value) == {"old", "new"} else list(value.items())
    many = _one_or_many(value)
    return tuple(_rule(each) for each in (many if isinstance(many, tuple) else [many]))


def _rule(rule: Any) -> tuple[str, str]:
    if isinstance(rule, str):
        return parse_rewrite(rule)
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


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
Folder = Annotated[Path | None, BeforeValidator(_folder)]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_folders)]
Rules = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_rules)]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class _Described:
    """Whatever is described: an option that is `None` was not given."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_was_not_given(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {name: value for name, value in given.items() if value is not None}
        return given


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class ImportOptions(_Described):
    """How exports are imported.

    Input is lenient: one of something may stand for a list of one, and
    ``rewrite`` may be a list of ``{old, new}``, of pairs or of ``OLD=NEW``, or a
    mapping.
    """

    artifacts: Folder = Field(
        default=None,
        json_schema_extra={"metavar": "DIR"},
        description="Folder where relative artifact paths begin; the folder of each export file if not given.",
    )
    rewrite: Rules = Field(
        default=(),
        json_schema_extra={"metavar": "OLD=NEW"},
        description="Prefixes of artifact paths or URIs, and what stands in their place here. The longest that fits is "
        "used; names of collections are never rewritten.\n\n"
        "A list of ``{old, new}``, of pairs or of ``OLD=NEW``, or a mapping. What a rule makes of a path is where "
        "artifacts may be taken from.",
    )
    roots: Folders = Field(
        default=(),
        json_schema_extra={"metavar": "DIR"},
        description="Further folders that artifacts may be taken from, beside those of the export file, of "
        "``artifacts`` and of ``rewrite``. What lies elsewhere, links followed, counts as missing.",
    )
    collections: CollectionPolicy = Field(
        default="keep",
        description="Which collections of the exports are taken. ``keep`` takes all, ``drop-chains`` all but the "
        "CHAINED ones, ``drop`` none but the runs that the datasets need; ``associations`` brings nothing but "
        "associations with TAGGED and CALIBRATION collections, of datasets that are in the repository already.",
    )
    missing: MissingPolicy = Field(
        default="fail",
        description="What a dataset whose artifact is missing does. ``fail`` fails its export file, of which nothing "
        "is kept; ``skip`` leaves the dataset out; ``register`` has it in the registry only.",
    )
    placeholders: Placeholders = Field(
        default="missing",
        description="What an empty file or a Git LFS pointer in place of an artifact is, missing or taken as it is.",
    )
    formatters: Texts = Field(
        default=(),
        json_schema_extra={"metavar": "PACKAGE"},
        description="Packages whose formatters are trusted, beside ``lsst``. Whoever reads a dataset imports and calls "
        "its formatter, which is a name in the export.",
    )
    unknown_formatters: UnknownFormatters = Field(
        default="notice",
        description="What formatters of other packages do. ``notice`` names them in the result, ``refuse`` fails their "
        "export file.",
    )
    transfer: TransferMode = Field(
        default="symlink",
        description="How artifacts become the repository's. ``link`` makes hard links where the file system allows it "
        "and symbolic links elsewhere; ``direct`` records where the artifacts are; ``none`` expects them inside the "
        "repository.",
    )
    runs: Texts = Field(
        default=(),
        json_schema_extra={"metavar": "RUN"},
        description="Runs that are made whether datasets need them or not.",
    )
    register: bool = Field(
        default=False,
        description="Make the dimension records of known instruments and skymaps that datasets need and that "
        "neither the export nor the repository has. Without it their lack is an error, as that of any others is.",
    )
    exclusive: bool = Field(
        default=False,
        description="Take foreign keys away while many datasets are inserted, on PostgreSQL. Whoever else uses the "
        "database waits meanwhile, even to read; large imports are faster. Otherwise that is done where nobody else "
        "is connected to it.",
    )
    note: str = Field(
        default="",
        json_schema_extra={"metavar": "TEXT"},
        description="What a reader of the report should know of these exports, in your own words.",
    )


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class ImportSet(ImportOptions):
    """Exports of one kind and how to import them."""

    name: str = Field(min_length=1, description="Name of the set, for messages.")
    stage: Stage = Field(
        default="products",
        description="Stage of the replication, which is also the tag, that imports the set.",
    )
    exports: Patterns = Field(
        min_length=1,
        description="Export files, folders (their ``*.yaml``, compressed ones such as ``*.yaml.gz`` too), or globs; "
        "one, or a list.",
    )
    instrument: str | None = Field(
        default=None, description="Instrument of the datasets, which the stage ``instrument`` registers."
    )
    skymap: str | None = Field(
        default=None, description="Skymap of the datasets, which the stage ``skymap`` registers."
    )
    visits: str | None = Field(
        default=None,
        description="Collection of raws for whose exposures the stage ``visits`` defines visits.",
    )


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Collection(_Described):
    """A collection that a repository is to have."""

    name: str = Field(min_length=1, description="Name of the collection.")
    type: Annotated[
        Literal["RUN", "CALIBRATION", "TAGGED", "CHAINED"],
        BeforeValidator(_upper),
    ] = Field(description="Type of the collection.")
    children: Texts = Field(
        default=(), description="Children of a CHAINED collection, in search order. No other one has any."
    )
    needs: Texts = Field(
        default=(),
        description="A CHAINED collection is made where one of these exists. Its children, if not given.",
    )
    doc: str | None = Field(default=None, description="Documentation of the collection.")
    stage: str = Field(
        default="chains",
        description="Stage of the replication that makes the chain; ``refcats`` makes it in that stage, too.",
    )

    @model_validator(mode="after")
    def _only_chains_have_children(self) -> Collection:
        if self.children and self.type != "CHAINED":
            raise ValueError(f"a {self.type} collection has no children, only a CHAINED one has")
        return self


Kind = Literal["choice", "flag", "folder", "folders", "patterns", "rules", "text", "texts"]

_KINDS: dict[Any, Kind] = {
    bool: "flag",
    str: "text",
    Path: "folder",
    tuple[str, ...]: "texts",
    tuple[Path, ...]: "folders",
    tuple[tuple[str, str], ...]: "rules",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, as a command line or a documentation needs it."""

    name: str
    kind: Kind
    description: tuple[str, ...]
    """Paragraphs, the first one for those who have room for one; literals between double backquotes."""

    default: Any
    required: bool
    choices: tuple[str, ...]
    metavar: str | None


def options_of(definition: Any) -> list[Option]:
    """Return the options that something described has.

    Parameters
    ----------
    definition : `type`
        `ImportOptions`, `ImportSet` or `Collection`.

    Returns
    -------
    options : `list` [ `Option` ]
        Those without a default first, otherwise in the order of the definition.
    """
    fields = definition.__pydantic_fields__
    options = [_option(name, field) for name, field in fields.items()]
    return sorted(options, key=lambda option: not option.required)


def _option(name: str, field: Any) -> Option:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    is_choice = get_origin(annotation) is Literal
    kind: Kind = "choice" if is_choice else _KINDS[annotation]
    if any(getattr(each, "func", None) is _patterns for each in field.metadata):
        kind = "patterns"
    return Option(
        name,
        kind,
        tuple(field.description.split("\n\n")),
        default=None if field.is_required() else field.default,
        required=field.is_required(),
        choices=get_args(annotation) if is_choice else (),
        metavar=(field.json_schema_extra or {}).get("metavar"),
    )
