"""Inserting datasets and telling the datastore of artifacts; see the package for what is private here."""

from __future__ import annotations

__all__ = [
    "accepts",
    "associate",
    "datastore_root",
    "default_formatter",
    "file_datastore",
    "forget_artifacts",
    "insert_artifact_records",
    "insert_datasets",
    "known_dataset_ids",
    "recorded_paths",
    "stored_datasets",
    "supports_temporary_tables",
    "template_path",
]

import contextlib
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler import Butler, DatasetRef, StorageClass
from lsst.daf.butler.datastore.record_data import DatastoreRecordData
from lsst.daf.butler.datastore.stored_file_info import NULLSTR, StoredFileInfo
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.registry.interfaces import FakeDatasetRef

from ..errors import RepositoryError

_CHUNK = 5000
"""Values in one SQL ``IN``; SQLite allows 32,766 parameters."""


def file_datastore(butler: Butler) -> FileDatastore:
    """Return the datastore of files that a repository has.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        A butler with direct access to its repository.

    Returns
    -------
    datastore : `FileDatastore`
        Its datastore.

    Raises
    ------
    RepositoryError
        Raised if the repository has another kind of datastore, or keeps its
        files elsewhere than in a local folder.
    """
    datastore = getattr(butler, "_datastore", None)
    if not isinstance(datastore, FileDatastore) or not datastore.root.isLocal:
        raise RepositoryError(
            f"The datastore of this repository is a {type(datastore).__name__} "
            f"({', '.join(getattr(datastore, 'names', ()))}); only a FileDatastore in a local folder is supported. "
            "Use the stock butler for it, or another repository."
        )
    return datastore


def accepts(butler: Butler, ref: DatasetRef) -> bool:
    """Return whether the datastore takes a dataset by the constraints that are configured for it.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ref : `lsst.daf.butler.DatasetRef`
        A dataset; its type and instrument decide.

    Returns
    -------
    accepted : `bool`
        Whether it does.
    """
    return file_datastore(butler).constraints.isAcceptable(ref)


def datastore_root(butler: Butler) -> Path:
    """Return the folder below which a repository keeps its artifacts.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    root : `pathlib.Path`
        Absolute path of the folder.
    """
    return Path(file_datastore(butler).root.ospath)


def template_path(butler: Butler, ref: DatasetRef) -> str:
    """Return where the datastore's template puts an artifact, without extension.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ref : `lsst.daf.butler.DatasetRef`
        A dataset whose data ID has dimension records.

    Returns
    -------
    path : `str`
        Path relative to the root of the datastore.
    """
    return file_datastore(butler).templates.getTemplate(ref).format(ref)


def default_formatter(butler: Butler, ref: DatasetRef) -> str:
    """Return the name of the formatter that the datastore would choose.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ref : `lsst.daf.butler.DatasetRef`
        A dataset of the type in question.

    Returns
    -------
    name : `str`
        Full name of the class, importable here or not.
    """
    factory = file_datastore(butler).formatterFactory
    registry = factory._mappingFactory._registry
    for key in ref._lookupNames():
        if key in registry:
            formatter = registry[key]["type"]
            return formatter if isinstance(formatter, str) else formatter.name()
    raise RepositoryError(
        f"No formatter is configured for dataset type {ref.datasetType.name!r} "
        f"(storage class {ref.datasetType.storageClass_name}), and the export names none. "
        "Add one under datastore.formatters in butler.yaml."
    )


def known_dataset_ids(butler: Butler, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of many dataset ids that the registry has, in whichever run.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Iterable` [ `uuid.UUID` ]
        Dataset ids.

    Returns
    -------
    known : `set` [ `uuid.UUID` ]
        Those that are registered.
    """
    registry = butler._registry  # type: ignore[attr-defined]
    table = registry._managers.datasets._static.dataset
    known: set[uuid.UUID] = set()
    for chunk in _batched(ids):
        query = sqlalchemy.select(table.columns.id).where(table.columns.id.in_(chunk))
        with registry._db.query(query) as rows:
            known.update(row[0] for row in rows)
    return known


def _batched(values: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    iterator = iter(values)
    while chunk := tuple(itertools.islice(iterator, _CHUNK)):
        yield chunk


def stored_datasets(butler: Butler, refs: Iterable[DatasetRef]) -> set[uuid.UUID]:
    """Return the ids of those datasets that the datastore has a record of.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    refs : `~collections.abc.Iterable` [ `lsst.daf.butler.DatasetRef` ]
        Datasets.

    Returns
    -------
    stored : `set` [ `uuid.UUID` ]
        Ids with a record; whether the artifact is on disk is not looked at.
    """
    stored: set[uuid.UUID] = set()
    for chunk in _batched(refs):
        known = butler._datastore.knows_these(chunk)
        stored.update(ref.id for ref, knows in known.items() if knows)
    return stored


def recorded_paths(butler: Butler, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return what the datastore has recorded of the artifacts of some datasets.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    ids : `~collections.abc.Iterable` [ `uuid.UUID` ]
        Dataset ids.

    Returns
    -------
    paths : `dict` [ `uuid.UUID`, `str` ]
        Path of each record that is that of a whole dataset.
    """
    records = getattr(file_datastore(butler), "_table", None)
    if records is None:
        return {}
    table = records._table
    database = butler._registry._db  # type: ignore[attr-defined]
    paths: dict[uuid.UUID, str] = {}
    for chunk in _batched(ids):
        query = sqlalchemy.select(table.columns.dataset_id, table.columns.path).where(
            table.columns.dataset_id.in_(chunk), table.columns.component == NULLSTR
        )
        with database.query(query) as rows:
            paths.update((row[0], row[1]) for row in rows)
    return paths


def forget_artifacts(butler: Butler, ids: Iterable[uuid.UUID]) -> None:
    """Remove what the datastore has recorded of some datasets, complete or not, and touch no artifact.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    ids : `~collections.abc.Iterable` [ `uuid.UUID` ]
        Dataset ids.
    """
    for chunk in _batched(ids):
        butler._datastore.forget([FakeDatasetRef(one) for one in chunk])  # type: ignore[misc]


def supports_temporary_tables(butler: Butler) -> bool:
    """Return whether the configuration of a repository, and what its login may do, allow temporary tables.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    allowed : `bool`
        Always true with releases that do not know this setting.
    """
    database = butler._registry._db  # type: ignore[attr-defined]
    return getattr(database, "supports_temporary_tables", True)


def insert_datasets(butler: Butler, refs: Sequence[DatasetRef]) -> None:
    """Insert datasets with the ids that they have.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    refs : `~collections.abc.Sequence` [ `lsst.daf.butler.DatasetRef` ]
        New datasets of one dataset type and one run; their dimension records
        are in the registry.
    """
    # The butler looks for datasets that are there in a temporary table, unless told that they are new.
    options = {} if supports_temporary_tables(butler) else {"assume_new": True}
    with _obscore_errors(butler):
        butler._registry._importDatasets(refs, expand=has_obscore(butler), **options)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _obscore_errors(butler: Butler) -> Iterator[None]:
    """Name the dataset of which the ObsCore table cannot make a row: any lack of its configuration shows here."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        if not has_obscore(butler):
            raise
        raise RepositoryError(
            f"The ObsCore table of this repository takes no row of a dataset: {type(error).__name__}: {error}. Its "
            "configuration (config:obscore.json in the table butler_attributes) does not fit; the stock butler "
            "cannot insert the dataset either."
        ) from error


def has_obscore(butler: Butler) -> bool:
    """Return whether a repository keeps an ObsCore table, which wants dimension records of each dataset.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.

    Returns
    -------
    has : `bool`
        Whether it does.
    """
    return butler._registry._managers.obscore is not None  # type: ignore[attr-defined]


def associate(butler: Butler, collection: str, refs: Sequence[DatasetRef]) -> None:
    """Put datasets into a TAGGED collection, and into an ObsCore table that follows it.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    collection : `str`
        The collection.
    refs : `~collections.abc.Sequence` [ `lsst.daf.butler.DatasetRef` ]
        Datasets that are registered.
    """
    if has_obscore(butler):
        refs = [ref.expanded(butler.registry.expandDataId(ref.dataId)) for ref in refs]
    with _obscore_errors(butler):
        butler.registry.associate(collection, refs)


def insert_artifact_records(butler: Butler, records: Mapping[uuid.UUID, tuple[str, str, str, int]]) -> None:
    """Record artifacts that are in place.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository, in a transaction.
    records : `~collections.abc.Mapping`
        By dataset id: the artifact's path (relative to the root, or a URI),
        the name of its formatter, the name of its storage class, and its size
        in bytes.
    """
    datastore = file_datastore(butler)
    table = datastore._table.name
    datastore.import_records(
        {
            datastore.name: DatastoreRecordData(
                records={
                    dataset_id: {
                        table: [
                            StoredFileInfo(
                                formatter=formatter,
                                path=path,
                                storageClass=StorageClass(storage_class),
                                component=None,
                                checksum=None,
                                file_size=size,
                            )
                        ]
                    }
                    for dataset_id, (path, formatter, storage_class, size) in records.items()
                }
            )
        }
    )
