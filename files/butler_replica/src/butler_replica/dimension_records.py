"""What is common to the dimension records that this package makes itself."""

from __future__ import annotations

__all__ = ["make_record"]

from typing import Any

from lsst.daf.butler import DimensionElement, DimensionRecord


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
