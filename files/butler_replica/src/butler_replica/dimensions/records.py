"""What is common to the dimension records that this package makes itself."""

from __future__ import annotations

__all__ = [
    "InsertionResult",
    "difference",
    "existing_records",
    "make_record",
    "new_records",
    "prefetched",
]

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lsst.daf.butler import Butler, DimensionElement, DimensionRecord
from rich.console import Console

from ..errors import ConflictError
from ..internals.bulk_dimensions import Records
from ..results import Difference, Result
from .geometry import MILLIARCSEC, region_distance
from .identity import same_value

T = TypeVar("T")
S = TypeVar("S")

DataIdKey = tuple[Any, ...]


def make_record(element: DimensionElement, **columns: Any) -> DimensionRecord:
    """Make a dimension record from the columns that its universe has.

    Parameters
    ----------
    element : `lsst.daf.butler.DimensionElement`
        Dimension element of the repository's universe.
    **columns
        Values by column name; those that this universe does not have (an
        older one lacks, for example, ``instrument.visit_system``) are left out.

    Returns
    -------
    record : `lsst.daf.butler.DimensionRecord`
        The record.
    """
    known = element.schema.names
    return element.RecordClass(**{name: value for name, value in columns.items() if name in known})


@dataclass
class InsertionResult(Result):
    """Which dimension records were inserted, or would be, and which were there."""

    subject: str
    """What the records describe."""

    inserted: dict[str, int] = field(default_factory=dict)
    """New records by dimension element."""

    present: dict[str, int] = field(default_factory=dict)
    """Records that were there already, by dimension element."""

    @property
    def changed(self) -> bool:
        """Whether any record was inserted, or would be."""
        return any(self.inserted.values())

    def count(self, wanted: Records, new: Records) -> None:
        """Add to the numbers of records inserted and present.

        Parameters
        ----------
        wanted, new : `~collections.abc.Mapping`
            Records by dimension element: all, and those not yet there.
        """
        for element, records in wanted.items():
            n_new = len(new[element])
            self.inserted[element] = self.inserted.get(element, 0) + n_new
            self.present[element] = self.present.get(element, 0) + len(records) - n_new

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON data."""
        return {"inserted": dict(self.inserted), "present": dict(self.present)}

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        before = "".join(f"{name}: {count}\n" for name, count in self.present.items())
        after = "".join(
            f"{name}: {count + self.inserted.get(name, 0)}\n" for name, count in self.present.items()
        )
        yield Difference(f"dimension records of {self.subject}", before, after)

    def show(self, console: Console) -> None:
        """Print the numbers for a reader."""
        console.print(self.subject, markup=False, highlight=False)
        for name, new in self.inserted.items():
            console.print(f"  {name}: {new} new, {self.present.get(name, 0)} present", markup=False)


def difference(wanted: DimensionRecord, found: DimensionRecord) -> dict[str, tuple[Any, Any]]:
    """Compare two records of one data ID.

    Parameters
    ----------
    wanted, found : `lsst.daf.butler.DimensionRecord`
        The record that this package makes, and the one in the repository.

    Returns
    -------
    columns : `dict` [ `str`, `tuple` ]
        Wanted and found value of each column that differs. Regions are equal
        if their outlines are within a milliarcsecond.
    """
    # Records cannot be compared as a whole: in release 29 that compares their data IDs alone.
    columns = {}
    for name in wanted.definition.schema.names:
        value, other = getattr(wanted, name), getattr(found, name)
        if not same_value(value, other) and not (
            name == "region" and region_distance(value, other) <= MILLIARCSEC
        ):
            columns[name] = (value, other)
    return columns


def existing_records(
    butler: Butler, element: str, where: str = "", **data_id: Any
) -> dict[DataIdKey, DimensionRecord]:
    """Return records of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    element : `str`
        Dimension element.
    where : `str`, optional
        Expression in the butler's query language.
    **data_id
        Dimension values that the records must have.

    Returns
    -------
    records : `dict`
        Records by the values of their data ID.
    """
    with butler.query() as query:
        results = (
            query.dimension_records(element).where(data_id, where)
            if where
            else (query.dimension_records(element).where(data_id))
        )
        return {record.dataId.required_values: record for record in results}


def new_records(
    wanted: Iterable[DimensionRecord],
    found: Mapping[DataIdKey, DimensionRecord],
    *,
    repo: str,
    explanation: Callable[[DimensionRecord, dict[str, tuple[Any, Any]]], str] = lambda *_: "",
) -> list[DimensionRecord]:
    """Select the records that a repository does not have yet.

    Parameters
    ----------
    wanted : `~collections.abc.Iterable` [ `lsst.daf.butler.DimensionRecord` ]
        Records to be there.
    found : `~collections.abc.Mapping`
        Records that are there, as `existing_records` returns them.
    repo : `str`
        The repository, for the message.
    explanation : `~collections.abc.Callable`, optional
        Takes a wanted record and how it differs; says what that means and
        what to do.

    Returns
    -------
    records : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Those that are not there.

    Raises
    ------
    ConflictError
        Raised if a record is there with other values.
    """
    new = []
    for record in wanted:
        other = found.get(record.dataId.required_values)
        if other is None:
            new.append(record)
        elif columns := difference(record, other):
            name = record.definition.name
            data_id = ", ".join(f"{key}={value}" for key, value in record.dataId.required.items())
            said = "; ".join(
                f"{column} is {_brief(theirs)} there and {_brief(ours)} here"
                for column, (ours, theirs) in columns.items()
            )
            raise ConflictError(
                f"{repo}: the {name} record of {data_id} differs: {said}. "
                f"{explanation(record, columns) or 'Nothing was changed; a replica cannot mix the two.'}"
            )
    return new


def _brief(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def prefetched(
    make: Callable[[S], T], arguments: Iterable[S], prepare: Callable[[T], Any] = lambda made: made
) -> Iterator[Any]:
    """Make things one ahead of the consumer.

    Parameters
    ----------
    make : `~collections.abc.Callable`
        What to call, in a thread of its own.
    arguments : `~collections.abc.Iterable`
        What to call it with.
    prepare : `~collections.abc.Callable`, optional
        What to call with that which ``make`` returns, in the same thread.

    Yields
    ------
    result : `object`
        What came of each argument, in their order.
    """
    with ThreadPoolExecutor(max_workers=1) as worker:
        ahead: deque[Future[Any]] = deque()
        for argument in arguments:
            ahead.append(worker.submit(lambda it: prepare(make(it)), argument))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        for future in ahead:
            yield future.result()
