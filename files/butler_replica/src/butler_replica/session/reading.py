"""Opening a repository to read it: the one way in which every verb does that writes nothing."""

from __future__ import annotations

__all__ = ["reading"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsst.daf.butler import Butler

from ..interrupts import ended_by_signals
from .opening import database_errors, open_butler


@contextmanager
def reading(repo: str | Path) -> Iterator[Butler]:
    """Open a repository read-only; nothing is locked.

    As for `~butler_replica.session.writing.opened`, signals end the work, and
    what the database says is an error in words.

    Parameters
    ----------
    repo : `str` or `pathlib.Path`
        The repository: folder, ``butler.yaml`` or label.

    Yields
    ------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Raises
    ------
    RepositoryError
        Raised if there is no repository, or its database cannot be used.
    """
    with database_errors(repo), ended_by_signals():
        yield open_butler(repo)
