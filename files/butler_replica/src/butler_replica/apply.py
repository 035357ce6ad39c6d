"""Doing what a plan says: artifacts, then the registry and the datastore in one transaction."""

from __future__ import annotations

__all__ = ["apply_plan"]

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lsst.daf.butler import Butler
from lsst.daf.butler.registry import ConflictingDefinitionError

from . import internals
from .datasets import Transferable
from .errors import ConflictError
from .plan import FilePlan
from .transfer import Transfer

_TOLD = 1_000
"""Artifacts between two calls of ``tell``."""


def apply_plan(
    butler: Butler, plan: FilePlan, transfer_mode: str, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Do what a plan says.

    Dataset types and collections are registered before the transaction, since
    a registry cannot do that within one, and after the artifacts are in place,
    since that can fail where other files are; without datasets they harm
    nothing, and the next run finds them. Where nothing is in the way,
    artifacts are brought while datasets are inserted. They are always in place
    before their datasets are there: what an interruption leaves is a file that
    no dataset knows, which the next run takes.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        A writeable butler of a repository whose lock is held.
    plan : `FilePlan`
        What there is to do.
    transfer_mode : `str`
        How artifacts are brought, one of `butler_replica.transfer.TRANSFER_MODES`.
    tell : `~collections.abc.Callable`, optional
        Called now and then, from another thread, with the number of artifacts
        that are in place.

    Raises
    ------
    ArtifactError
        Raised if an artifact cannot be brought; nothing of the file is kept.
    ConflictError
        Raised if another process wrote into the repository at the same time.
    """
    transfer = Transfer(transfer_mode, internals.datastore_root(butler))
    if transfer.needs_space:
        transfer.check_space(plan.datasets.transferables())
    free = plan.datasets.places_are_free
    committing = False
    try:
        with _brought(transfer, _counted(plan.datasets.transferables(), tell)) as bringing:
            if plan.dataset_types or plan.collections or plan.docs:
                if transfer.writes and not free:
                    bringing.wait()
                _register(butler, plan)
            with plan.datasets.transaction():
                _insert(butler, plan, bringing)
                committing = True
    except BaseException as error:
        # Whether a commit that failed has happened is unknown: artifacts
        # without datasets are harmless, datasets without artifacts are not.
        if not committing:
            transfer.undo()
        if isinstance(error, ConflictingDefinitionError):
            raise ConflictError(
                f"{plan.export}: the repository was changed by another process meanwhile ({error}). "
                "Nothing of this file was imported; run this again."
            ) from error
        raise


class _Bringing:
    """Artifacts that are brought by another thread."""

    def __init__(
        self, transfer: Transfer, artifacts: Iterable[Transferable], pool: ThreadPoolExecutor
    ) -> None:
        self._done = pool.submit(transfer.run, artifacts)

    def wait(self) -> None:
        """Wait until all are in place; raise what went wrong."""
        self._done.result()


@contextmanager
def _brought(transfer: Transfer, artifacts: Iterable[Transferable]) -> Iterator[_Bringing]:
    with ThreadPoolExecutor(1, "artifacts") as pool:
        try:
            yield _Bringing(transfer, artifacts, pool)
        except BaseException:
            transfer.stop()
            raise


def _counted(artifacts: Iterable[Transferable], tell: Callable[[int], None]) -> Iterator[Transferable]:
    for number, artifact in enumerate(artifacts):
        if number % _TOLD == 0:
            tell(number)
        yield artifact


def _register(butler: Butler, plan: FilePlan) -> None:
    for dataset_type in plan.dataset_types:
        butler.registry.registerDatasetType(dataset_type)
    for collection in plan.collections:
        # A RUN has two rows; with one of them nothing could ever be put into it.
        with butler.transaction():
            butler.collections.register(collection.name, collection.type, doc=collection.doc)
    for name, doc in plan.docs.items():
        butler.registry.setCollectionDocumentation(name, doc)


def _insert(butler: Butler, plan: FilePlan, bringing: _Bringing) -> None:
    for element, records in plan.dimension_records.items():
        butler.registry.insertDimensionData(element, *records, skip_existing=True)
    plan.datasets.insert()
    bringing.wait()
    plan.datasets.insert_artifact_records()
    for collection, refs in plan.tags.items():
        butler.registry.associate(collection, refs)
    for collection, certifications in plan.certifications.items():
        for timespan, refs in certifications:
            butler.registry.certify(collection, refs, timespan)
