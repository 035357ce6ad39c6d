"""Datasets of a butler as the content of an export file."""

from __future__ import annotations

__all__ = ["Rename", "add_associations", "add_datasets"]

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from lsst.daf.butler import CollectionType, DatasetRef, Timespan

from ..exports.model import Certification, DatasetBlock, ExportFile
from ..exports.records import DatasetRecord
from ..internals import ArtifactRecord
from .model import Artifact
from .selection import Associations

Rename = Callable[[str], str]
"""Makes of a path that is recorded the one that an export has."""


def add_datasets(
    content: ExportFile,
    refs: Sequence[DatasetRef],
    recorded: Mapping[uuid.UUID, Sequence[ArtifactRecord]],
    rename: Rename,
) -> list[Artifact]:
    """Add datasets of one dataset type.

    Parameters
    ----------
    content : `ExportFile`
        What the file says so far.
    refs : `~collections.abc.Sequence` [ `lsst.daf.butler.DatasetRef` ]
        The datasets, those of a run side by side.
    recorded : `~collections.abc.Mapping`
        Datastore records of each.
    rename : `~collections.abc.Callable`
        Gives artifacts the path that the export has.

    Returns
    -------
    artifacts : `list` [ `Artifact` ]
        Theirs, each once.
    """
    artifacts: list[Artifact] = []
    for (name, run), members in itertools.groupby(refs, key=lambda ref: (ref.datasetType.name, ref.run)):
        block = DatasetBlock(name, run)
        for record, of_record in _records(members, recorded):
            renamed = [rename(one.path) for one in of_record]
            artifacts += [
                Artifact(path, None if one.size < 0 else one.size, one.checksum)
                for path, one in zip(renamed, of_record, strict=True)
            ]
            block.records.append(record if record.path is None else record._replace(path=renamed[0]))
        content.blocks.append(block)
    return artifacts


def add_associations(
    content: ExportFile, refs: Sequence[DatasetRef], associations: Sequence[Associations]
) -> None:
    """Add what TAGGED and CALIBRATION collections say of datasets.

    Parameters
    ----------
    content : `ExportFile`
        What the file says so far.
    refs : `~collections.abc.Sequence` [ `lsst.daf.butler.DatasetRef` ]
        Its datasets.
    associations : `~collections.abc.Sequence` [ `Associations` ]
        Those of their dataset type.
    """
    ids = np.array([ref.id.bytes for ref in refs], dtype="S16")
    for one in associations:
        found = one.of(ids)
        if not found:
            continue
        if one.type is CollectionType.TAGGED:
            content.tags[one.collection] = [refs[place].id for place, _ in found]
            continue
        members: defaultdict[Timespan, list[uuid.UUID]] = defaultdict(list)
        for place, validity in found:
            members[one.timespans[validity]].append(refs[place].id)
        content.certifications[one.collection] = [
            Certification(timespan, members[timespan]) for timespan in sorted(members, key=lambda t: t.nsec)
        ]


def _records(
    refs: Iterable[DatasetRef], recorded: Mapping[uuid.UUID, Sequence[ArtifactRecord]]
) -> Iterator[tuple[DatasetRecord, Sequence[ArtifactRecord]]]:
    """Yield one record for each artifact, which can be that of several datasets."""
    shared: defaultdict[Any, list[DatasetRef]] = defaultdict(list)
    for ref in refs:
        artifacts = recorded.get(ref.id, ())
        shared[(artifacts[0].path, artifacts[0].formatter) if len(artifacts) == 1 else ref.id].append(ref)
    for members in shared.values():
        artifacts = recorded.get(members[0].id, ())
        # A disassembled dataset has several artifacts, for which an export has no words.
        path, formatter = artifacts[0][:2] if len(artifacts) == 1 else (None, None)
        ids = tuple(ref.id for ref in members)
        yield (
            DatasetRecord(ids, tuple(dict(ref.dataId.required) for ref in members), path, formatter),
            artifacts,
        )
