"""Doing what a plan says: artifacts first, then the registry and the datastore in one transaction."""

from __future__ import annotations

__all__ = ["apply_plan"]

from lsst.daf.butler import Butler
from lsst.daf.butler.registry import ConflictingDefinitionError

from . import internals
from .artifacts import Transfer
from .errors import ConflictError
from .plan import FilePlan


def apply_plan(butler: Butler, plan: FilePlan, transfer_mode: str) -> None:
    """Do what a plan says.

    Dataset types and collections are registered before the transaction, since
    a registry cannot do that within one; without datasets they harm nothing,
    and the next run finds them. Artifacts are put in place before their
    datasets are inserted: what an interruption leaves is a file that no
    dataset knows, which the next run takes.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        A writeable butler of a repository whose lock is held.
    plan : `FilePlan`
        What there is to do.
    transfer_mode : `str`
        How artifacts are brought, one of `butler_replica.artifacts.TRANSFER_MODES`.

    Raises
    ------
    ArtifactError
        Raised if an artifact cannot be brought; nothing of the file is kept.
    ConflictError
        Raised if another process wrote into the repository at the same time.
    """
    transfer = Transfer(transfer_mode)
    artifacts = {artifact.target: (artifact.source, artifact.size) for artifact in plan.artifacts}
    transfer.check_space(artifacts, internals.datastore_root(butler))
    committing = False
    try:
        transfer.run(artifacts)
        _register(butler, plan)
        with butler.transaction():
            _insert(butler, plan)
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


def _register(butler: Butler, plan: FilePlan) -> None:
    for dataset_type in plan.dataset_types:
        butler.registry.registerDatasetType(dataset_type)
    for collection in plan.collections:
        butler.collections.register(collection.name, collection.type, doc=collection.doc)
    for name, doc in plan.docs.items():
        butler.registry.setCollectionDocumentation(name, doc)


def _insert(butler: Butler, plan: FilePlan) -> None:
    for element, records in plan.dimension_records.items():
        butler.registry.insertDimensionData(element, *records, skip_existing=True)
    for refs in plan.datasets.values():
        internals.insert_datasets(butler, refs)
    internals.insert_artifact_records(
        butler,
        {
            ref.id: (artifact.recorded, artifact.formatter, artifact.storage_class, artifact.size)
            for artifact in plan.artifacts
            for ref in artifact.refs
        },
    )
    for collection, refs in plan.tags.items():
        butler.registry.associate(collection, refs)
    for collection, certifications in plan.certifications.items():
        for timespan, refs in certifications:
            butler.registry.certify(collection, refs, timespan)
