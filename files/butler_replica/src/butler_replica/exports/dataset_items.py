"""Items of an export that hold datasets: their records become columns as they go by."""

from __future__ import annotations

__all__ = ["DatasetItems"]

import sys
import uuid
from collections.abc import Iterable
from datetime import date
from typing import Any

import astropy.time
import yaml

from .early import MOVED_FORMATTERS
from .events import TRUNCATED, YamlEvents
from .model import DatasetRecord
from .records import Records, Spool

_INTEGER_ID_NAMESPACE = uuid.UUID("4d4851f4-2890-4d41-8779-5f38a3f5062b")
"""Namespace of the UUIDs that the butler gives to the integer ids of old exports."""

_MOVED = "Formatters that moved in June 2020 get the names that they have had since."


class DatasetItems:
    """Dataset records of one file.

    Parameters
    ----------
    events : `YamlEvents`
        The file.
    spool : `Spool`
        Where the records go.
    notices : `list` [ `str` ]
        Gets what a reader should know.
    """

    def __init__(self, events: YamlEvents, spool: Spool, notices: list[str]) -> None:
        self._events = events
        self._spool = spool
        self._notices = notices
        self._last_formatters: tuple[str | None, str | None] = None, None

    def read(self, label: str) -> Records:
        """Take the records that follow.

        Parameters
        ----------
        label : `str`
            Their dataset type, for messages.

        Returns
        -------
        records : `Records`
            The records.
        """
        records = Records(spool=self._spool)
        event = self._events.get()
        if isinstance(event, yaml.ScalarEvent) and event.value in ("", "null", "~"):
            return records
        if not isinstance(event, yaml.SequenceStartEvent):
            self._events.fail(f"the records of {label} are no list.", event, remedy=TRUNCATED)
        while not isinstance(event := self._events.get(), yaml.SequenceEndEvent):
            if (taken := self._events.canonical_records(event)) is not None:
                records.extend(taken)
                self._last_formatters = "", ""
            else:
                self._append(records, self._record(self._events.value(event), label, len(records) + 1, event))
        return records

    def of_values(self, values: Iterable[Any], label: str, start: Any) -> Records:
        """Return records that were read already: their key stood before the type of their item.

        Parameters
        ----------
        values : `~collections.abc.Iterable`
            What YAML makes of them.
        label : `str`
            Their dataset type, for messages.
        start : `object`
            First event of the item.

        Returns
        -------
        records : `Records`
            The records.
        """
        records = Records(spool=self._spool)
        for number, value in enumerate(values, 1):
            self._append(records, self._record(value, label, number, start))
        return records

    def check_last(self, dataset_type: str, number: int, end: Any) -> None:
        """Refuse a file that was cut between the lines of its last record.

        Parameters
        ----------
        dataset_type : `str`
            Of the last records.
        number : `int`
            How many they are.
        end : `object`
            The event behind them.
        """
        before, last = self._last_formatters
        if number > 1 and last is None and before is not None:
            self._events.fail(
                "has no formatter, although the one before it has.",
                end,
                record=f"{dataset_type} record {number}",
                remedy=TRUNCATED,
            )

    def dataset_id(self, value: Any, event: Any) -> uuid.UUID:
        """Return the dataset id that a value stands for."""
        if isinstance(value, uuid.UUID):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return uuid.uuid3(_INTEGER_ID_NAMESPACE, str(value))
        return self._events.fail(f"has {value!r} where a dataset id is expected.", event, remedy=TRUNCATED)

    def _append(self, records: Records, record: DatasetRecord) -> None:
        records.append(record)
        self._last_formatters = self._last_formatters[1], record.formatter

    def _record(self, record: Any, label: str, number: int, event: Any) -> DatasetRecord:
        place = f"{label} record {number}"
        if not isinstance(record, dict):
            self._events.fail("is no mapping.", event, record=place, remedy=TRUNCATED)
        try:
            ids, data_ids = record["dataset_id"], record["data_id"]
        except KeyError as error:
            self._events.fail(f"has no {error}.", event, record=place, remedy=TRUNCATED)
        ids = ids if isinstance(ids, list) else [ids]
        data_ids = data_ids if isinstance(data_ids, list) else [data_ids]
        if len(ids) != len(data_ids) or not ids:
            self._events.fail(
                f"has {len(ids)} dataset ids and {len(data_ids)} data ids.",
                event,
                record=place,
                remedy=TRUNCATED,
            )
        for data_id in data_ids:
            if not isinstance(data_id, dict):
                self._events.fail(f"has the data id {data_id!r}, which is no mapping.", event, record=place)
            if data_id.keys() != data_ids[0].keys() or not all(isinstance(key, str) for key in data_id):
                self._events.fail(
                    f"has the data id {data_id!r}, whose keys are not those of the others.",
                    event,
                    record=place,
                )
            for key, value in data_id.items():
                if isinstance(value, date | astropy.time.Time):
                    data_id[key] = str(value)
                elif not isinstance(value, str | int | float | bytes | None):
                    self._events.fail(
                        f"has the data id value {value!r}.", event, record=place, remedy=TRUNCATED
                    )
        path, formatter = record.get("path"), record.get("formatter")
        if not isinstance(path, str | None) or not isinstance(formatter, str | None):
            self._events.fail("has a path or a formatter that is no text.", event, record=place)
        if formatter in MOVED_FORMATTERS:
            formatter = MOVED_FORMATTERS[formatter]
            if _MOVED not in self._notices:
                self._notices.append(_MOVED)
        return DatasetRecord(
            tuple(self.dataset_id(value, event) for value in ids),
            tuple(data_ids),
            path,
            None if formatter is None else sys.intern(formatter),
        )
