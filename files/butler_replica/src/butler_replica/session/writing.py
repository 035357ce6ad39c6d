"""Opening a repository to write to it: the one way in which every verb does."""

from __future__ import annotations

__all__ = ["OpenRepository", "opened", "writing"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lsst.daf.butler import Butler

from .. import internals
from ..errors import RepositoryError
from ..interrupts import ended_by_signals
from .lock import LOCK_WAIT_SECONDS, repository_lock
from .opening import database_errors, open_butler


@dataclass(frozen=True)
class OpenRepository:
    """A repository that a verb works on."""

    repo: str
    """As the user names it."""

    butler: Butler
    dry_run: bool
    """The butler is read-only."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the repository; wait for another writer. What others wrote meanwhile is known then."""
        if self.dry_run:
            self.butler.registry.refresh()
            yield
            return
        with repository_lock(
            internals.datastore_root(self.butler),
            wait_seconds=LOCK_WAIT_SECONDS,
            database_lock=internals.advisory_lock(self.butler),
        ):
            self.butler.registry.refresh()
            yield


@contextmanager
def opened(repo: str | Path, *, dry_run: bool = False) -> Iterator[OpenRepository]:
    """Open a repository for a verb that writes.

    SIGTERM, SIGHUP and Ctrl-C end the work by an exception, and what the
    database says is an error in words.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        Its folder, its ``butler.yaml``, or its label in the repository index.
    dry_run : `bool`, optional
        Open it read-only.

    Yields
    ------
    repository : `OpenRepository`
        The repository; its lock is not held yet.

    Raises
    ------
    RepositoryError
        Raised if there is no repository, or its database cannot be used.
    """
    with database_errors(repo), ended_by_signals():
        butler = open_butler(repo, writeable=not dry_run)
        _check_encoding(repo, butler)
        if not internals.keep_to_privileges(butler):
            raise RepositoryError(
                f"{repo}: the login of the registry's database may make no temporary tables, without which this "
                "release of lsst-daf-butler cannot work. GRANT TEMPORARY ON DATABASE to it, or use a newer release."
            )
        yield OpenRepository(str(repo), butler, dry_run)


@contextmanager
def writing(repo: str | Path, *, dry_run: bool = False) -> Iterator[Butler]:
    """Open a repository and be its only writer.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        The repository: folder, ``butler.yaml`` or label.
    dry_run : `bool`, optional
        As for `opened`.

    Yields
    ------
    butler : `lsst.daf.butler.Butler`
        The repository, locked for this process; with ``dry_run`` read-only, and not locked.

    Raises
    ------
    RepositoryError
        Raised as by `opened`, or if another process writes for too long.
    """
    with opened(repo, dry_run=dry_run) as repository, repository.locked():
        yield repository.butler


def _check_encoding(repo: str | Path, butler: Butler) -> None:
    encoding = internals.server_encoding(butler)
    if encoding != "UTF8":
        raise RepositoryError(
            f"{repo}: the registry's PostgreSQL database has the encoding {encoding}, which cannot hold the names of "
            "every export. Make a database with ENCODING 'UTF8' TEMPLATE template0, and the repository in it."
        )
