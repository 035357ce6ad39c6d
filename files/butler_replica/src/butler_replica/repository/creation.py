"""Making a repository: folder, database, registry and ``butler.yaml``."""

from __future__ import annotations

__all__ = ["create_repository", "make_folder", "movable", "replace_text"]

import gc
from pathlib import Path

from lsst.daf.butler import Butler, Config

from .. import internals
from ..errors import RepositoryError
from ..session.opening import database_errors
from .database import DatabaseState
from .sqlite import SqliteDatabase
from .target import NEW_CONFIG_NAME, Target


def create_repository(target: Target, state: DatabaseState) -> None:
    """Make database, registry and ``butler.yaml``.

    Parameters
    ----------
    target : `Target`
        The repository; its folder is there.
    state : `DatabaseState`
        What there is of the database.
    """
    target.database.create(target.root, state)
    with database_errors(target.root), internals.watching_new_engines():
        # A butler.yaml that is there was written by a making that was interrupted before there were tables.
        # Without its name, a root with a dot in its last part would be taken for that of a file.
        try:
            Butler.makeRepo(
                target.root,
                config=Config(target.config),
                forceConfigRoot=False,
                outfile=str(target.config_path),
                overwrite=True,
            )
        except OSError as error:
            raise RepositoryError(
                f"{target.root}: the repository cannot be made: {str(error).rstrip('.')}."
            ) from error
    _finish(target)
    # lsst-daf-butler 29 leaves its session with the database to the garbage collector.
    gc.collect()


def _finish(target: Target) -> None:
    """Make ``butler.yaml`` and the registry readable for whoever may read the folder, and the folder movable."""
    readers = target.root.stat().st_mode & 0o666
    config = Config(target.config_path)
    replace_text(target.config_path, str(movable(config).dump()), mode=0o600 | readers & 0o644)
    if isinstance(target.database, SqliteDatabase):
        target.database.path.chmod(0o600 | readers)


def movable(config: Config) -> Config:
    """Remove the root that the butler writes where it is given the name of the file.

    Parameters
    ----------
    config : `lsst.daf.butler.Config`
        A ``butler.yaml``.

    Returns
    -------
    config : `lsst.daf.butler.Config`
        The same.
    """
    if "root" in config:
        del config["root"]
    return config


def make_folder(root: Path) -> None:
    """Make the repository folder, unless it is there.

    Parameters
    ----------
    root : `pathlib.Path`
        The folder.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RepositoryError(
            f"{root}: the repository folder cannot be made: {error.strerror}. "
            "Make it as root and give it to the user who works with the repository."
        ) from error


def replace_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write a file so that a reader finds the old text or the new one.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.
    text : `str`
        Its new content.
    mode : `int`, optional
        Its new mode; as it is if not given.
    """
    new = path.with_name(NEW_CONFIG_NAME)
    new.unlink(missing_ok=True)
    with new.open("x") as stream:
        stream.write(text)
    new.chmod(path.stat().st_mode & 0o7777 if mode is None else mode)
    new.replace(path)
