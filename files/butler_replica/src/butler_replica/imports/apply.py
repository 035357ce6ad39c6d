"""Doing what a plan says: artifacts, then the registry and the datastore in one transaction."""

from __future__ import annotations

__all__ = ["apply_plan"]

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import sqlalchemy.exc
from lsst.daf.butler import Butler, DatasetType
from lsst.daf.butler.registry import ConflictingDefinitionError, OrphanedRecordError

from .. import internals
from ..artifacts.transfer import Transfer
from ..collections.chains import ChainResult, apply_chains
from ..errors import ConflictError
from .datasets import PlannedDatasets, Transferable
from .file_plan import FilePlan

_REPORT_EVERY = 1_000
"""Artifacts between two calls of ``tell``."""


def apply_plan(
    butler: Butler,
    plan: FilePlan,
    way: PlannedDatasets,
    *,
    transfer_mode: str,
    chains: Sequence[ChainResult] = (),
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Do what a plan says.

    Artifacts are brought first, while nothing of the database is locked: that
    can take hours. They are always in place before their datasets are there:
    what an interruption leaves is a file that no dataset knows, which the
    next run takes. Then dataset types are registered, which a registry cannot
    do within a transaction, and everything else in one.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        A writeable butler of a repository whose lock is held.
    plan : `FilePlan`
        What there is to do.
    way : `~butler_replica.imports.datasets.PlannedDatasets`
        How it is done for the datasets.
    transfer_mode : `str`
        How artifacts are brought, a ``TransferMode`` of `butler_replica.options`.
    chains : `~collections.abc.Sequence` [ `~butler_replica.collections.chains.ChainResult` ], optional
        What chains become with it.
    tell : `~collections.abc.Callable`, optional
        Called now and then with the number of artifacts that are in place.

    Raises
    ------
    ArtifactError
        Raised if an artifact cannot be brought.
    ConflictError
        Raised if another process wrote into the repository at the same time.

    Notes
    -----
    After an error nothing of the file is kept: neither artifacts, nor what was
    registered. Where the database is out of reach, dataset types stay, and the
    next run takes them.
    """
    transfer = Transfer(transfer_mode, internals.datastore_root(butler), way.sources)
    if transfer.needs_space:
        transfer.check_space(way.transferables())
    made: list[str] = []
    committing = False
    try:
        transfer.bring(_counted(way.transferables(), tell))
        _register(butler, plan.definitions.dataset_types, made)
        with way.transaction():
            _insert(butler, plan, way)
            apply_chains(butler, chains)
            committing = True
    except BaseException as error:
        # Whether a commit that failed has happened is unknown: artifacts
        # without datasets are harmless, datasets without artifacts are not.
        if not committing:
            try:
                transfer.undo()
            finally:
                if not _is_cut_off(error):
                    _take_back(butler, made)
        if isinstance(error, ConflictingDefinitionError):
            raise ConflictError(
                f"{plan.export}: the repository was changed by another process meanwhile ({error}). "
                "Nothing of this file was imported; run this again."
            ) from error
        raise


def _counted(artifacts: Iterable[Transferable], tell: Callable[[int], None]) -> Iterator[Transferable]:
    for number, artifact in enumerate(artifacts):
        if number % _REPORT_EVERY == 0:
            tell(number)
        yield artifact


def _register(butler: Butler, dataset_types: Iterable[DatasetType], made: list[str]) -> None:
    for dataset_type in dataset_types:
        # Noted beforehand: it can be there although something went wrong.
        made.append(dataset_type.name)
        if not butler.registry.registerDatasetType(dataset_type):
            made.pop()


def _is_cut_off(error: BaseException | None) -> bool:
    """Whether the database is out of reach: to ask it once more could take minutes."""
    while error is not None:
        if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
            return True
        error = error.__context__
    return False


def _take_back(butler: Butler, made: Sequence[str]) -> None:
    """Remove dataset types that were registered for a file that then failed; used ones stay."""
    # Where the database is gone they stay; what the butler remembers of them, and of collections, is wrong.
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
        butler.registry.refresh()
        for name in made:
            with contextlib.suppress(OrphanedRecordError):
                butler.registry.removeDatasetType(name)


def _insert(butler: Butler, plan: FilePlan, way: PlannedDatasets) -> None:
    for collection in plan.definitions.collections:
        butler.collections.register(collection.name, collection.type, doc=collection.doc)
    for name, doc in plan.definitions.docs.items():
        butler.registry.setCollectionDocumentation(name, doc)
    for element, records in plan.dimension_records.items():
        butler.registry.insertDimensionData(element, *records, skip_existing=True)
    way.insert()
    way.insert_artifact_records()
    for collection_name, refs in plan.associations.tags.items():
        internals.associate(butler, collection_name, refs)
    for collection_name, certifications in plan.associations.certifications.items():
        for timespan, refs in certifications:
            butler.registry.certify(collection_name, refs, timespan)
