"""Opening a repository, and saying in plain words why it cannot be opened."""

from __future__ import annotations

__all__ = ["database_errors", "open_butler"]

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
import sqlalchemy.exc
from lsst.daf.butler import Butler
from lsst.utils.db_auth import DbAuth, DbAuthError

from .. import internals
from ..errors import RepositoryError
from ..local_paths import local_path

_REMEDIES = {
    "password authentication failed": "Check user and password in ~/.lsst/db-auth.yaml (or LSST_DB_AUTH).",
    "no password supplied": "Name user and password in ~/.lsst/db-auth.yaml (or LSST_DB_AUTH).",
    "does not exist": "Is the name in butler.yaml right, was the repository made?",
    "no such table": "Was the repository made?",
    "no pg_hba.conf entry": "The server does not admit this host and user: see pg_hba.conf there.",
    "connection refused": "Is the PostgreSQL server running there, and does it listen on that address?",
    "could not translate host name": "Is the host in butler.yaml right?",
    "timeout expired": "Does the PostgreSQL server answer from this host?",
    "has no equivalent in encoding": "The database is not UTF8: make it anew with ENCODING 'UTF8'.",
    "no space left": "The disk of the database is full.",
    "could not extend file": "The disk of the database is full.",
    "database or disk is full": "The disk of the database is full.",
    "database is locked": "Another process is writing to this SQLite registry; try again when it has finished.",
    "readonly database": "The SQLite file, or its folder, cannot be written by this user.",
    "server closed the connection": "The server was stopped or the connection cut. Run this again: it continues.",
    "terminating connection": "The server was stopped or the connection cut. Run this again: it continues.",
    "connection already closed": "The server was stopped or the connection cut. Run this again: it continues.",
}


@contextmanager
def database_errors(repo: str | Path) -> Iterator[None]:
    """Turn what a database server says into a `RepositoryError` with a remedy.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        The repository, for the message.
    """
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        said = " ".join(str(_cause(error).orig).split())
        remedy = next((r for sign, r in _REMEDIES.items() if sign in said.lower()), "")
        raise RepositoryError(f"{repo}: the database says: {said}. {remedy}".rstrip()) from error
    except (DbAuthError, TypeError, AttributeError) as error:
        if not _is_about_credentials(error):
            raise
        said = "what is there is no list of url, username and password"
        if isinstance(error, DbAuthError):
            said = str(error)
        raise RepositoryError(
            f"{repo}: no database credentials: {said}. "
            "They are read from ~/.lsst/db-auth.yaml or the file that LSST_DB_AUTH names."
        ) from error


def _is_about_credentials(error: Exception) -> bool:
    """Return whether the butler's reader of credentials failed, which takes any YAML for a list of mappings."""
    frames = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, DbAuthError) or frames[-1:] == [DbAuth.__module__]


def _cause(error: sqlalchemy.exc.DBAPIError) -> sqlalchemy.exc.DBAPIError:
    """Return the error after which a transaction was no more than aborted."""
    found: BaseException | None = error
    while "current transaction is aborted" in str(error.orig) and found is not None:
        found = found.__context__
        if isinstance(found, sqlalchemy.exc.DBAPIError):
            error = found
    return error


def open_butler(repo: str | Path, *, writeable: bool = False) -> Butler:
    """Open a repository.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        Its folder, its ``butler.yaml``, or its label in the repository index.
    writeable : `bool`, optional
        Open it for writing.

    Returns
    -------
    butler : `lsst.daf.butler.Butler`
        The butler; the caller closes it where the release can.

    Raises
    ------
    RepositoryError
        Raised if there is no repository, or its database cannot be used.
    """
    with database_errors(repo):
        try:
            with internals.watching_new_engines():
                butler = Butler.from_config(_meant(repo), writeable=writeable)
        except DbAuthError:
            raise
        except FileNotFoundError as error:
            raise RepositoryError(
                f"{repo}: no Butler repository is there ({error}). "
                "Make it first (butler-replica repository, or butler create)."
            ) from error
        except sqlalchemy.exc.SQLAlchemyError as error:
            if isinstance(error, sqlalchemy.exc.DBAPIError):
                raise
            raise RepositoryError(
                f"{repo}: the registry cannot be opened: {str(error).rstrip('.')}."
            ) from error
        except ImportError as error:
            raise RepositoryError(
                f"{repo}: what its butler.yaml or its registry names is not installed here: {error}. Install the "
                "package that has it beside lsst-daf-butler, or correct butler.yaml."
            ) from error
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OSError) as error:
            if _is_about_credentials(error):
                raise
            raise RepositoryError(
                f"{repo}: cannot be opened as a Butler repository: {str(error).rstrip('.')}. See its butler.yaml."
            ) from error
    internals.watch_butler(butler)
    return butler


def _meant(repo: str | Path) -> str:
    """Return what the butler finds: it knows labels and paths, and no ``~``."""
    text = str(repo)
    return str(local_path(text)) if text.startswith(("~", "file:")) else text
