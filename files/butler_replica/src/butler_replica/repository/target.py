"""Which repository is asked for, and where it is."""

from __future__ import annotations

__all__ = [
    "CONFIG_NAME",
    "DOOMED_NAME",
    "NEW_CONFIG_NAME",
    "Target",
    "checked_root",
    "database_of",
    "describe",
    "filled",
    "namespace",
]

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler import ButlerConfig, Config
from lsst.resources import ResourcePath

from ..errors import RepositoryError
from ..local_paths import local_path
from ..session.lock import LOCK_NAME
from .database import Database, DatabaseState
from .databases import open_database
from .folder import FolderContent
from .postgres import PostgresDatabase
from .sqlite import SqliteDatabase

CONFIG_NAME = "butler.yaml"

DOOMED_NAME = "butler.being-destroyed.yaml"
"""Name of ``butler.yaml`` from the first step of a destruction to the last."""

NEW_CONFIG_NAME = "butler.new.yaml"
"""Name of a ``butler.yaml`` that is being written."""


@dataclass(frozen=True)
class Target:
    """The repository that is asked for."""

    root: Path
    config: Config
    name: str
    database: Database
    datastore: str
    """The datastore's root, relative to the folder."""

    records_table: str

    @classmethod
    def from_config(cls, root: Path, config: Mapping[str, Any], label: str) -> Target:
        """Return the repository that a configuration means.

        Parameters
        ----------
        root : `pathlib.Path`
            Its folder, as of `checked_root`.
        config : `~collections.abc.Mapping`
            What ``butler.yaml`` must say.
        label : `str`
            Its name on SQLite.

        Returns
        -------
        target : `Target`
            The repository.

        Raises
        ------
        RepositoryError
            Raised if the configuration cannot be that of a repository there.
        """
        given = Config(dict(config))
        if ("datastore", "root") not in given:
            given["datastore", "root"] = "<butlerRoot>"
        if not given.get(("registry", "db")):
            raise RepositoryError(f"{root}: the configuration asked for has no registry.db.")
        full = ButlerConfig(given)
        database = database_of(root, full)
        if database.url.password or database.url.username:
            raise RepositoryError(
                f"{root}: registry.db holds credentials. They belong in ~/.lsst/db-auth.yaml, not in "
                f"{CONFIG_NAME}."
            )
        if isinstance(database, SqliteDatabase) and database.path.parent != root:
            raise RepositoryError(
                f"{root}: the SQLite file {database.path} is not in the repository folder. "
                "Write it as sqlite:///<butlerRoot>/gen3.sqlite3."
            )
        name = database.name if isinstance(database, PostgresDatabase) else label
        if not name:
            raise RepositoryError(f"{root}: registry.db names no database ({database.url}).")
        datastore = os.path.relpath(filled(root, full["datastore", "root"]), root)
        if datastore.split("/")[0] == "..":
            raise RepositoryError(
                f"{root}: datastore.root is {full['datastore', 'root']}, outside the repository folder. The "
                "folder and its artifacts are kept and removed together: take a path below <butlerRoot>."
            )
        return cls(root, given, name, database, datastore, str(full["datastore", "records", "table"]))

    @property
    def config_path(self) -> Path:
        """Path of ``butler.yaml``."""
        return self.root / CONFIG_NAME

    @property
    def doomed_path(self) -> Path:
        """Path of ``butler.yaml`` while the repository is being destroyed."""
        return self.root / DOOMED_NAME

    @property
    def housekeeping(self) -> frozenset[str]:
        """Files of the repository that are no artifacts."""
        database = self.database.files if isinstance(self.database, SqliteDatabase) else frozenset()
        return frozenset({CONFIG_NAME, NEW_CONFIG_NAME, DOOMED_NAME, LOCK_NAME}) | database


def checked_root(given: Path) -> Path:
    """Return where a repository folder really is; refuse a path that the butler takes for another one.

    Parameters
    ----------
    given : `pathlib.Path`
        The folder, which need not exist.

    Returns
    -------
    root : `pathlib.Path`
        Without symbolic links.

    Raises
    ------
    RepositoryError
        Raised if no repository can be there.
    """
    root = Path(os.path.realpath(given))
    try:
        seen = {
            str(Path(ResourcePath(str(root / CONFIG_NAME)).ospath).parent),
            ResourcePath(str(root), forceDirectory=True).ospath.rstrip("/") or "/",
        }
        problem = "" if seen == {str(root)} else f"the butler takes this path for {max(seen - {str(root)})!r}"
    except (ValueError, OSError) as error:
        problem = f"the butler cannot use this path: {error}"
    if not problem and not str(root).isprintable():
        problem = "the path has control characters"
    if problem:
        raise RepositoryError(
            f"{str(root)!r}: {problem}. Take a folder without #, ?, $ and %41 in its path and those of the folders "
            "above it.",
            arguments=["root"],
        )
    return root


def database_of(root: Path, config: Config) -> Database:
    """Return the database that a configuration means.

    Parameters
    ----------
    root : `pathlib.Path`
        The repository folder.
    config : `lsst.daf.butler.Config`
        A ``butler.yaml``.

    Returns
    -------
    database : `Database`
        The database; nothing is connected to.

    Raises
    ------
    RepositoryError
        Raised if there can be no registry.
    """
    text = str(config["registry", "db"]).replace("<butlerRoot>", str(root).rstrip("/"))
    try:
        url = sqlalchemy.make_url(text)
    except sqlalchemy.exc.ArgumentError as error:
        raise RepositoryError(
            f"{root}: registry.db is not the URL of a database: {str(error).rstrip('.')}."
        ) from error
    if url.get_backend_name() == "postgresql" and url.port is None:
        url = url.set(port=5432)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        url = url.set(database=os.path.join(os.path.realpath(path.parent), path.name))  # noqa: PTH118
    return open_database(url, namespace(config), root)


def namespace(config: Config) -> str:
    """Return the schema of a registry's tables.

    Parameters
    ----------
    config : `lsst.daf.butler.Config`
        A ``butler.yaml``.

    Returns
    -------
    namespace : `str`
        Its name, or nothing.
    """
    return str(config.get(("registry", "namespace")) or "")


def filled(root: Path, path: str) -> str:
    """Return a path of a configuration, without links, the repository folder filled in.

    Parameters
    ----------
    root : `pathlib.Path`
        The repository folder.
    path : `str`
        As ``butler.yaml`` has it.

    Returns
    -------
    path : `str`
        Absolute path.
    """
    return os.path.realpath(local_path(str(path).replace("<butlerRoot>", str(root))))


def describe(target: Target, content: FolderContent, state: DatabaseState) -> dict[str, str]:
    """Return what there is of a repository, for a diff.

    Parameters
    ----------
    target : `Target`
        The repository.
    content : `FolderContent`
        What lies in its folder.
    state : `DatabaseState`
        What is in its database.

    Returns
    -------
    described : `dict` [ `str`, `str` ]
        Folder, database and ``butler.yaml``.
    """
    rest = content.without(target.housekeeping)
    folder = f"{len(rest.files)} files, {rest.links} links" if content.exists else "absent"
    described = {"folder": f"{folder}\n", "database": f"{state}\n"}
    if target.config_path.is_file():
        described[CONFIG_NAME] = target.config_path.read_text()
    return described
