"""Comparing and inserting very many datasets set by set.

The datasets of an export go into temporary tables of the repository's
database (`tables`). A handful of statements find out which of them are there
and which are in the way of others (`compare`), and insert the rest
(`insert`). What belongs to a collection and not to a dataset (its summary) is
left to the butler, which inserts the first dataset of each run itself; the
other rows are made after the pattern of those.
"""

from __future__ import annotations

__all__ = ["StagedDataset", "StagedRow", "Staging", "State", "UnsupportedError", "staging"]

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

from lsst.daf.butler import Butler

from .compare import StagedComparison
from .insert import StagedInsertion
from .model import StagedDataset, StagedRow, State, UnsupportedError
from .repository import RepositoryTables
from .tables import StagedTables


@dataclass(frozen=True)
class Staging:
    """Temporary tables of datasets, beside the tables of a repository, and what is done with them."""

    tables: StagedTables
    comparison: StagedComparison
    insertion: StagedInsertion

    def joined(self) -> AbstractContextManager[None]:
        """Keep transactions of the butler on the connection with the temporary tables."""
        return self.tables.repository.joined()


@contextmanager
def staging(butler: Butler) -> Iterator[Staging]:
    """Keep a connection on which datasets can be staged.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Yields
    ------
    staging : `Staging`
        Its temporary tables.

    Raises
    ------
    UnsupportedError
        Raised where the repository does not allow it.
    """
    try:
        repository = RepositoryTables(butler)
    except AttributeError as error:
        raise UnsupportedError(f"this release of lsst-daf-butler is another: {error}") from error
    with closing(repository):
        repository.check()
        staged = StagedTables(butler, repository)
        yield Staging(staged, StagedComparison(staged), StagedInsertion(butler, staged))
