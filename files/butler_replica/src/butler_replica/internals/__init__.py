"""Every use of private lsst-daf-butler API, each with its reason.

Nothing outside this package touches a private name. ``tests/internals/test_internals.py``
and ``tests/internals/test_bulk_dimensions.py`` fail where a release changes one of these.

Importing (`datasets`): the public API can neither keep the dataset ids of an
export, nor record a formatter that cannot be imported here, nor say which of
many ids a registry knows.

``Butler._datastore``
    The datastore. Its ``root``, ``templates``, ``constraints``, ``knows_these``
    and ``import_records`` are used; the public ``Butler.ingest`` overwrites
    artifacts that are in place, deletes them when it fails, and imports the
    formatter's class.
``FileDatastore.name``, ``FileDatastore._table.name``
    Keys of the records that ``import_records`` takes.
``FileDatastore.formatterFactory._mappingFactory._registry``, ``DatasetRef._lookupNames``
    Name of the formatter that a datastore would choose, where its class
    cannot be imported.
``Butler._registry._importDatasets``
    Inserts datasets with the ids of the export; ``insertDatasets`` makes new
    ones, ``Butler.ingest`` insists on artifacts. Its ``assume_new`` is used
    where ``Butler._registry._db.supports_temporary_tables`` is false, its
    ``expand`` where ``Butler._registry._managers.obscore`` is there.
``Butler._registry._managers.datasets._static.dataset``, ``Butler._registry._db.query``
    The table of dataset ids: one query says which of many ids are there, in
    whichever run. ``Butler.get_dataset`` asks for one at a time.

Comparing and inserting very many datasets (`staging`, `templates`):

``Butler._registry._db``: ``_engine``, ``_session_connection``, ``dialect``
    A connection that keeps temporary tables from the comparison to the end of
    the insertion, for which the butler's transaction gets it. The public API
    takes datasets one object at a time.
``Butler._registry._managers.datasets._static``, ``FileDatastore._table._table``, and the tables ``collection`` \
and ``dataset_location``
    Where datasets and datastore records are. Columns that are not the known
    ones say that a release is another, and the datasets are inserted with
    what is above.
``Butler._registry._managers.obscore``, ``Butler._registry._managers.datasets._renames``
    Whether a repository has more to keep than those tables, or names dataset
    types otherwise.
``FileDatastore.templates``, its ``templates`` and ``default``, ``FileTemplate.template``
    The template that says where an artifact goes; each of its fields is
    formatted once per value instead of once per dataset.

Where artifacts are (`locations`):

``lsst.daf.butler._location.LocationFactory``, ``StoredFileInfo.file_location``
    How the butler turns the path of a datastore record into that of a file,
    and a formatted template into the path of a record. ``Butler.getURI``
    says it of a dataset that has a record already, one at a time, and of
    nothing where ``butler.yaml`` has lost its name.

Looking at, exporting and forgetting datasets (`rows`, `details`):

``Butler._registry._managers.datasets._static.dataset_type``, ``.collections.lookup_name_sql``, \
``.collections.getRunForeignKeyName``, ``FileDatastore._table._table``
    The tables of datasets and datastore records. One joined query streams a
    million datasets in seconds; the public queries make a `DatasetRef` with
    its data ID of each and ask for the records one by one.
``Butler._registry._db``: ``_engine``, ``query``; the tables of associations that ``dataset_type`` names
    Data ID, TAGGED and CALIBRATION collections of given datasets. The public
    ``Registry.queryDatasetAssociations`` goes through all of a dataset type.
``FileDatastore.forget``, ``Butler._registry._managers.datasets.delete``
    Remove rows and nothing else. ``Butler.pruneDatasets`` empties the trash
    after it, which deletes files.

Reading every table (`tables`):

``Butler._registry._db``: ``_engine``, ``namespace``
    Which database it is; everything else is asked of its catalogue. The
    public queries show neither summaries nor overlaps, and make an object of
    each row.

Watching connections (`connections`):

``Butler._registry._db._engine``
    The engine of a butler, on which listeners give up a vanished server, let
    no table be half made, and know the sessions of this process. The public
    API has neither the engine nor a place for listeners.

Who else uses the database (`writers`):

``Butler._registry._db``: ``_engine``, ``dialect``, ``namespace``
    A connection of its own for the lock that writers take in the database,
    and the encoding of its text. The public API has neither.
``Butler._registry._db._allow_temporary_tables``
    Is set to false where the login may make none, as ``butler.yaml`` can say.

Inserting very many dimension records with regions (`bulk_dimensions`):

``Butler._registry._managers.dimensions._tables``, ``._overlap_tables``
    Tables of the records and of their overlaps, which PostgreSQL gets by COPY.
``Butler._registry._db``: ``_transaction``, ``dialect``, ``insert``, ``getTimespanRepresentation``
    Connection of the transaction that the butler is in, and rows with a timespan.
"""

from __future__ import annotations

__all__ = [
    "AdvisoryLock",
    "ArtifactRecord",
    "DatasetDetails",
    "DatasetRow",
    "Locations",
    "RegistryTable",
    "StagedDataset",
    "StagedRow",
    "Staging",
    "State",
    "TemplatePaths",
    "UnsupportedError",
    "accepts",
    "advisory_lock",
    "artifact_path",
    "artifact_records",
    "associate",
    "count_orphan_records",
    "dataset_details",
    "dataset_rows",
    "datastore_root",
    "default_formatter",
    "file_datastore",
    "file_uri",
    "forget_artifacts",
    "forget_datasets",
    "insert_artifact_records",
    "insert_datasets",
    "is_plain",
    "keep_to_privileges",
    "known_dataset_ids",
    "recorded_paths",
    "registry_tables",
    "server_encoding",
    "staging",
    "stored_datasets",
    "template_path",
    "watch_butler",
    "watch_engine",
    "watching_new_engines",
]

from .connections import watch_butler, watch_engine, watching_new_engines
from .datasets import (
    accepts,
    associate,
    datastore_root,
    default_formatter,
    file_datastore,
    forget_artifacts,
    insert_artifact_records,
    insert_datasets,
    known_dataset_ids,
    recorded_paths,
    stored_datasets,
    template_path,
)
from .details import DatasetDetails, dataset_details
from .locations import Locations, artifact_path, file_uri, is_plain
from .rows import (
    ArtifactRecord,
    DatasetRow,
    artifact_records,
    count_orphan_records,
    dataset_rows,
    forget_datasets,
)
from .staging import StagedDataset, StagedRow, Staging, State, UnsupportedError, staging
from .tables import RegistryTable, registry_tables
from .templates import TemplatePaths
from .writers import AdvisoryLock, advisory_lock, keep_to_privileges, server_encoding
