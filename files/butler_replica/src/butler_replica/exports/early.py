"""Bringing the exports of 2020 into the form that exports have had since.

What changed then is not told by a version of the dimension universe: the first
of which exports knew the number is that of 2022.
"""

from __future__ import annotations

__all__ = ["MOVED_FORMATTERS", "modernize"]

from ..errors import ExportError
from .calibration_labels import convert_calibration_labels
from .model import DatasetBlock, ExportFile
from .records import Records

_RENAMED = {"abstract_filter": "band"}
"""Dimensions that had another name, until September 2020."""

_AFW_FORMATTERS = "lsst.obs.base.formatters"

MOVED_FORMATTERS = {
    "lsst.daf.butler.formatters.fitsCatalogFormatter.FitsCatalogFormatter": (
        f"{_AFW_FORMATTERS}.fitsGeneric.FitsGenericFormatter"
    ),
    "lsst.daf.butler.formatters.fitsExposureFormatter.FitsExposureFormatter": (
        f"{_AFW_FORMATTERS}.fitsExposure.FitsExposureFormatter"
    ),
    "lsst.obs.base.fitsExposureFormatter.FitsExposureFormatter": (
        f"{_AFW_FORMATTERS}.fitsExposure.FitsExposureFormatter"
    ),
    "lsst.obs.base.fitsGenericFormatter.FitsGenericFormatter": (
        f"{_AFW_FORMATTERS}.fitsGeneric.FitsGenericFormatter"
    ),
    "lsst.daf.butler.formatters.pickleFormatter.PickleFormatter": (
        "lsst.daf.butler.formatters.pickle.PickleFormatter"
    ),
}
"""Names that formatters have, by those of before June 2020, which no stack can import any more."""


def modernize(export: ExportFile) -> None:
    """Bring an export of 2020 into the form that exports have had since.

    Parameters
    ----------
    export : `ExportFile`
        The export; it is changed in place if it is as old as that.

    Raises
    ------
    ExportError
        Raised if the file contradicts itself.
    """
    if export.universe_version:
        return
    _drop_components(export)
    try:
        _rename_dimensions(export)
        convert_calibration_labels(export)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ExportError(
            export.path,
            f"is as old as calibration labels, and malformed ({type(error).__name__}: {error}).",
            remedy="Is the file complete? Copy it again.",
        ) from error


def _drop_components(export: ExportFile) -> None:
    """Leave out the components of datasets: until May 2020 they were listed beside the datasets they are part of."""
    composites = {block.dataset_type for block in export.blocks}
    components = {name for name in composites if "." in name and name.partition(".")[0] in composites}
    if components:
        export.blocks = [block for block in export.blocks if block.dataset_type not in components]
        for name in components:
            export.dataset_types.pop(name, None)
        export.notices.append(
            f"{len(components)} dataset types are components of others ({min(components)} ...), which have them "
            "without being told: they were left out."
        )


def _rename_dimensions(export: ExportFile) -> None:
    for rows in export.dimensions.values():
        for row in rows:
            for old in _RENAMED.keys() & row.keys():
                row[_RENAMED[old]] = row.pop(old)
    renamed = set()
    for name, item in export.dataset_types.items():
        if not _RENAMED.keys().isdisjoint(item.dimensions):
            dimensions = tuple(_RENAMED.get(d, d) for d in item.dimensions)
            export.dataset_types[name] = item._replace(dimensions=dimensions)
            renamed.add(name)
    export.blocks = [
        DatasetBlock(
            block.dataset_type,
            block.run,
            Records(
                record._replace(
                    data_ids=tuple({_RENAMED.get(d, d): v for d, v in i.items()} for i in record.data_ids)
                )
                for record in block.records
            ),
        )
        if block.dataset_type in renamed
        else block
        for block in export.blocks
    ]
