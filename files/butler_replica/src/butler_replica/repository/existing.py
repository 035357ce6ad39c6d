"""Taking up the repository that is there, or refusing what is none, or another one."""

from __future__ import annotations

__all__ = ["check_room", "check_same_repository", "check_schema", "updated_config"]

import os
from pathlib import Path
from typing import Any

import sqlalchemy
import yaml
from lsst.daf.butler import ButlerConfig, Config

from ..errors import ReplicaError, RepositoryError
from ..local_paths import local_path
from ..wording import some
from .creation import movable
from .database import Database, DatabaseState, RegistryState
from .folder import FolderContent
from .target import CONFIG_NAME, Target, database_of, filled, namespace


def check_same_repository(target: Target, path: Path, error: type[ReplicaError]) -> None:
    """Refuse a folder whose ``butler.yaml`` describes another repository than the one asked for.

    Parameters
    ----------
    target : `Target`
        The repository.
    path : `pathlib.Path`
        The ``butler.yaml``, by the name that it has now.
    error : `type`
        What is raised.
    """
    try:
        found = ButlerConfig(path)
        facts = {
            "registry.db": (
                _without_options(database_of(target.root, found)),
                _without_options(target.database),
            ),
            "registry.namespace": (found.get(("registry", "namespace")) or "", namespace(target.config)),
            "datastore.root": (
                filled(target.root, found["datastore", "root"]),
                os.path.normpath(target.root / target.datastore),
            ),
            "datastore.records.table": (found["datastore", "records", "table"], target.records_table),
        }
    except (RuntimeError, LookupError, TypeError, ValueError, OSError, yaml.YAMLError) as problem:
        raise error(
            f"{path}: not the configuration of a repository: {problem}. Nothing was touched."
        ) from problem
    for key, (there, asked) in facts.items():
        if there != asked:
            raise error(
                f"{path}: {key} is {str(there)!r}, but {str(asked)!r} was asked for. This folder belongs to "
                "another repository; nothing was touched. Ask for the same, or take another folder.",
                arguments=["root", f"config.{key}"],
            )


def check_schema(target: Target, state: DatabaseState) -> None:
    """Refuse to put a registry among the tables of somebody else, or where names cannot be stored.

    Parameters
    ----------
    target : `Target`
        The repository.
    state : `DatabaseState`
        What is in its database.
    """
    if state.exists and state.registry is RegistryState.ABSENT and state.encoding != "UTF8":
        raise RepositoryError(
            f"{target.database.url}: the database has the encoding {state.encoding}; a registry needs UTF8. Nothing "
            "was touched. Let an administrator make it anew with TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' "
            "LC_CTYPE 'C', or take another database (registry.db).",
            arguments=["config.registry.db"],
        )
    if state.tables and state.registry is RegistryState.ABSENT:
        raise RepositoryError(
            f"{target.database.url}: the database holds tables that are no registry "
            f"({some(state.tables)}); nothing was touched. Take another database, or give the registry a "
            "schema of its own (registry.namespace).",
            arguments=["config.registry.db", "config.registry.namespace"],
        )


def check_room(target: Target, content: FolderContent, state: DatabaseState, *, has_config: bool) -> None:
    """Refuse to make a repository over half of one, or over somebody's files.

    Parameters
    ----------
    target : `Target`
        The repository.
    content : `FolderContent`
        What lies in its folder.
    state : `DatabaseState`
        What is in its database.
    has_config : `bool`
        Whether there is a ``butler.yaml``.
    """
    again = f"To remove what is left and make the replica anew, type confirm_destroy={target.name}."
    rest = content.without(target.housekeeping)
    if state.registry is RegistryState.INCOMPLETE:
        raise RepositoryError(f"{target.database.url}: the making of this registry was interrupted. {again}")
    if state.registry is RegistryState.COMPLETE:
        raise RepositoryError(
            f"{target.root}: there is no {CONFIG_NAME}, but {target.database.url} holds a registry: half of "
            f"a repository. Put {CONFIG_NAME} back to continue it. {again}"
        )
    if not rest.is_empty and has_config:
        raise RepositoryError(
            f"{target.root}: the folder holds a repository's files ({some(rest.names)}), but "
            f"{target.database.url} holds no registry: half of a repository. Restore the database to continue "
            f"it. {again}"
        )
    if not rest.is_empty:
        raise RepositoryError(
            f"{target.root}: the folder holds files that are no Butler repository ({some(rest.names)}). "
            "Nothing was touched. Take another folder, or move them away."
        )


def updated_config(target: Target) -> tuple[str, Config]:
    """Return what ``butler.yaml`` says, and what it must say.

    Parameters
    ----------
    target : `Target`
        The repository, which is there.

    Returns
    -------
    old : `str`
        Its text.
    config : `lsst.daf.butler.Config`
        The configuration, brought up to date.
    """
    config = Config(target.config_path)
    old = str(config.dump())
    if _is_root(config.get("root"), target.root):
        movable(config)  # a making that was interrupted at its end
    config.update(_without_location(target.config))
    if database_of(target.root, config).url.query != target.database.url.query:
        config["registry", "db"] = target.config["registry", "db"]
    return old, config


def _without_location(config: Config) -> dict[str, Any]:
    """Return a configuration without what is compared rather than updated.

    The same place may be written in more than one way, and managers cannot be
    changed once there are tables.
    """
    update = dict(config.toDict())
    for component, keys in (("registry", ("db", "namespace", "managers")), ("datastore", ("root",))):
        if component in update:
            update[component] = {k: v for k, v in update[component].items() if k not in keys}
    return update


def _without_options(database: Database) -> sqlalchemy.engine.URL:
    """Return where a database is, without how the connection to it is made (``?sslmode=...``)."""
    return database.url.set(query={})


def _is_root(written: object, root: Path) -> bool:
    return isinstance(written, str) and os.path.realpath(local_path(written)) == str(root)
