"""Dataset records of an export in columns, on disk where there are many.

A file with millions of datasets is read, compared and imported with some
thousand records in memory at a time.
"""

from __future__ import annotations

__all__ = ["DatasetRecord", "RecordChunk", "Records", "Spool"]

import itertools
import marshal
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

CHUNK = 10_000
"""Datasets in one chunk."""

_IN_MEMORY = 16 << 20
"""Bytes of compressed chunks that are kept in memory; more are on disk."""


class DatasetRecord(NamedTuple):
    """One artifact of an export and the datasets that it holds."""

    ids: tuple[uuid.UUID, ...]
    """Dataset IDs, one for each dataset of the artifact."""

    data_ids: tuple[dict[str, Any], ...]
    """Data IDs, required dimensions only, in the order of ``ids``."""

    path: str | None
    """The artifact's path as written in the export."""

    formatter: str | None
    """Full name of the formatter class; `None` leaves it to the datastore."""


class RecordChunk(NamedTuple):
    """Some thousand dataset records whose data IDs have the same keys."""

    keys: tuple[str, ...]
    """Keys of the data IDs."""

    ids: list[bytes]
    """Dataset IDs, 16 bytes each."""

    values: list[tuple[Any, ...]]
    """Values of the data IDs in the order of ``keys``; one for each of ``ids``."""

    paths: list[str | None]
    """Paths of the artifacts."""

    formatters: list[str | None]
    """Formatter of each of ``paths``."""

    counts: list[int] | None
    """How many of ``ids`` each of ``paths`` holds; `None` where that is one each."""

    def artifact_of_each(self) -> Iterable[int]:
        """Return the position in ``paths`` for each of ``ids``."""
        if self.counts is None:
            return range(len(self.paths))
        return itertools.chain.from_iterable(
            itertools.repeat(position, count) for position, count in enumerate(self.counts)
        )


class Spool:
    """A temporary file of compressed plain data, in memory while it is small."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (closed with the spool)
        self._end = 0

    def write(self, data: Any) -> tuple[int, int]:
        """Append what `marshal` can write; return where it is."""
        packed = zlib.compress(marshal.dumps(data), 1)
        self._file.seek(self._end)
        self._file.write(packed)
        place = self._end, len(packed)
        self._end += len(packed)
        return place

    def read(self, place: tuple[int, int]) -> Any:
        """Return what was written at a place."""
        self._file.seek(place[0])
        return marshal.loads(zlib.decompress(self._file.read(place[1])))  # noqa: S302 (written by this process)


class Records:
    """Dataset records of one block of an export; can be iterated again and again.

    Parameters
    ----------
    records : `~collections.abc.Iterable` [ `DatasetRecord` ], optional
        First records.
    spool : `Spool`, optional
        Where full chunks go; one of its own if not given.
    """

    def __init__(self, records: Iterable[DatasetRecord] = (), *, spool: Spool | None = None) -> None:
        self._spool = spool
        self._places: list[tuple[Spool, tuple[int, int]]] = []
        self._length = 0
        self.n_datasets = 0
        self._open = RecordChunk((), [], [], [], [], None)
        self._counts: list[int] = []
        for record in records:
            self.append(record)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[DatasetRecord]:
        for chunk in self.chunks():
            ids = [uuid.UUID(bytes=one) for one in chunk.ids]
            data_ids = [dict(zip(chunk.keys, values, strict=True)) for values in chunk.values]
            begin = 0
            for position, (path, formatter) in enumerate(zip(chunk.paths, chunk.formatters, strict=True)):
                end = begin + (1 if chunk.counts is None else chunk.counts[position])
                yield DatasetRecord(tuple(ids[begin:end]), tuple(data_ids[begin:end]), path, formatter)
                begin = end

    def chunks(self) -> Iterator[RecordChunk]:
        """Yield all records in chunks."""
        for spool, place in self._places:
            yield RecordChunk(*spool.read(place))
        if self._open.ids:
            yield self._close()

    @property
    def first(self) -> dict[str, Any]:
        """Data ID of the first dataset."""
        chunk = next(self.chunks())
        return dict(zip(chunk.keys, chunk.values[0], strict=True))

    @property
    def last(self) -> dict[str, Any]:
        """Data ID of the last dataset."""
        *_, chunk = self.chunks()
        return dict(zip(chunk.keys, chunk.values[-1], strict=True))

    def append(self, record: DatasetRecord) -> None:
        """Add a record.

        Parameters
        ----------
        record : `DatasetRecord`
            The record; its data IDs have the same keys.
        """
        keys = tuple(record.data_ids[0])
        if keys != self._open.keys or len(self._open.ids) >= CHUNK:
            self._begin(keys)
        chunk = self._open
        chunk.ids.extend(one.bytes for one in record.ids)
        chunk.values.extend(tuple(data_id[key] for key in keys) for data_id in record.data_ids)
        chunk.paths.append(record.path)
        chunk.formatters.append(record.formatter)
        self._counts.append(len(record.ids))
        self._length += 1
        self.n_datasets += len(record.ids)

    def extend(self, other: Records) -> None:
        """Add the records of another block, which is not used any more."""
        self._begin(())
        other._begin(())
        self._places += other._places
        self._length += len(other)
        self.n_datasets += other.n_datasets

    def extend_columns(
        self,
        keys: tuple[str, ...],
        ids: list[bytes],
        values: list[tuple[Any, ...]],
        paths: list[str],
        formatters: list[str],
    ) -> None:
        """Add records of one dataset each, in columns as in `RecordChunk`."""
        if keys != self._open.keys or len(self._open.ids) >= CHUNK:
            self._begin(keys)
        chunk = self._open
        chunk.ids.extend(ids)
        chunk.values.extend(values)
        chunk.paths.extend(paths)
        chunk.formatters.extend(formatters)
        self._counts.extend(itertools.repeat(1, len(ids)))
        self._length += len(ids)
        self.n_datasets += len(ids)

    def _begin(self, keys: tuple[str, ...]) -> None:
        """Close the open chunk and begin another one."""
        if self._open.ids:
            if self._spool is None:
                self._spool = Spool()
            self._places.append((self._spool, self._spool.write(tuple(self._close()))))
        self._open = RecordChunk(keys, [], [], [], [], None)
        self._counts = []

    def _close(self) -> RecordChunk:
        single = len(self._open.ids) == len(self._open.paths)
        return self._open._replace(counts=None if single else self._counts)
