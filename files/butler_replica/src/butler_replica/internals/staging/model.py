"""Datasets on their way through temporary tables, and what is known of them."""

from __future__ import annotations

__all__ = ["INSERTED_STATES", "StagedDataset", "StagedRow", "State", "UnsupportedError"]

import uuid
from enum import IntEnum
from typing import Any, NamedTuple


class State(IntEnum):
    """What is known of a staged dataset."""

    NEW = 0
    STORED = 1
    """In the registry, with a datastore record."""

    REGISTERED = 2
    """In the registry, without a datastore record, or with one that is to be made anew."""

    TAKEN = 3
    """Its ID is that of something else in the registry."""

    LEFT_OUT = 4
    """Not there and not wanted: its artifact is missing."""

    BARE = 5
    """New, and without artifact."""


INSERTED_STATES = f"{State.NEW:d}, {State.BARE:d}"
"""States of datasets that are inserted, as SQL lists them."""


class StagedRow(NamedTuple):
    """A dataset on its way into a temporary table."""

    number: int
    """Position in the export."""

    block: int
    id: str
    """32 hexadecimal digits."""

    values: tuple[Any, ...]
    """Values of the required dimensions."""


class StagedDataset(NamedTuple):
    """A dataset in a temporary table."""

    number: int
    block: int
    id: uuid.UUID
    state: State
    values: tuple[Any, ...]
    other: uuid.UUID | None = None
    """The dataset that is in its way."""


class UnsupportedError(Exception):
    """The release of lsst-daf-butler, or the database, is not what the statements here know; the text says why."""
