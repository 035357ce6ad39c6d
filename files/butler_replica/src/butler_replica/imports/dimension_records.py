"""What the dimension records of an export are to a repository."""

from __future__ import annotations

__all__ = ["PlannedRecords"]

from lsst.daf.butler import Butler, DimensionElement, DimensionRecord

from ..dimensions.compared import compare_records
from ..dimensions.lookup import RecordLookup, data_id_text
from ..dimensions.needed import NeededRecords
from ..errors import ConflictError
from ..exports.model import ExportFile


class PlannedRecords:
    """The dimension records of one export beside those of a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    export : `~butler_replica.exports.model.ExportFile`
        What the export says.
    needed : `~butler_replica.dimensions.needed.NeededRecords`
        Gets those that neither has.
    notices : `list` [ `str` ]
        Gets what a reader should know.

    Raises
    ------
    ExportError
        Raised if a record does not fit the repository's universe or tables.
    ConflictError
        Raised if a new record cannot stand beside another one.
    """

    def __init__(self, butler: Butler, export: ExportFile, needed: NeededRecords, notices: list[str]) -> None:
        self._universe = butler.dimensions
        self._export = export
        self._needed = needed
        compared = compare_records(butler, export)
        self._new = compared.new
        self._notices = notices
        self._notices += compared.notices
        self.lookup = RecordLookup(butler, compared.known, compared.others, needed)
        """Where datasets find theirs."""

        for name, new in self._new.items():
            element = self._universe[name]
            self._check_rivals(element, new)
            self.lookup.require_parents(element, new)

    def complete(self) -> dict[str, list[DimensionRecord]]:
        """Return the new records by element, in the order in which they can be inserted.

        Returns
        -------
        records : `dict` [ `str`, `list` [ `lsst.daf.butler.DimensionRecord` ] ]
            Those of the export that the repository lacks, and those that were
            made for datasets.

        Raises
        ------
        ConflictError
            Raised if a record is needed that nobody has.
        """
        self._needed.check(self._export.path)
        self._notices += self._needed.notices()
        made = self._needed.made
        return {
            element.name: [*self._new.get(element.name, ()), *made.get(element.name, ())]
            for element in self._universe.sorted({*self._new, *made})
        }

    def _check_rivals(self, element: DimensionElement, new: list[DimensionRecord]) -> None:
        for column, record, other in self.lookup.rivals(element, new):
            where = "the export" if other in new else "the repository"
            raise ConflictError(
                f"{self._export.path}: {element.name} {data_id_text(record.dataId)} has the {column} "
                f"{getattr(other, column)!r}, which {element.name} {data_id_text(other.dataId)} of {where} has; "
                "no two can have the same. Is it the same one under another name? Then give it that name in a copy "
                "of the export; or import into another repository."
            )
