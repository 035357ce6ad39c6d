"""Dataset types of DC2: their dimensions, storage classes and formatters."""

from __future__ import annotations

__all__ = ["DATASET_TYPES", "SampleDatasetType"]

from typing import NamedTuple

_EXPOSURE = "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"
_GENERIC = "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter"
_RAW = "lsst.obs.lsst.rawFormatter.LsstCamImSimRawFormatter"
_CONFIG = "lsst.pipe.base.formatters.pexConfig.PexConfigFormatter"
_LOG = "lsst.daf.butler.formatters.logs.ButlerLogRecordsFormatter"
_JSON = "lsst.daf.butler.formatters.json.JsonFormatter"
_PARQUET = "lsst.daf.butler.formatters.parquet.ParquetFormatter"
_PICKLE = "lsst.daf.butler.formatters.pickle.PickleFormatter"

_RAW_DIMENSIONS = ("instrument", "exposure", "detector")
_VISIT_DIMENSIONS = ("instrument", "visit", "detector")
_COADD_DIMENSIONS = ("skymap", "tract", "patch", "band")


class SampleDatasetType(NamedTuple):
    """A dataset type and how its artifacts are stored."""

    dimensions: tuple[str, ...]
    storage_class: str
    formatter: str
    extension: str
    is_calibration: bool = False


def _task(label: str, dimensions: tuple[str, ...]) -> dict[str, SampleDatasetType]:
    """Dataset types that every task of a pipeline writes beside its products."""
    return {
        f"{label}_config": SampleDatasetType((), "Config", _CONFIG, ".py"),
        f"{label}_log": SampleDatasetType(dimensions, "ButlerLogRecords", _LOG, ".json"),
        f"{label}_metadata": SampleDatasetType(dimensions, "TaskMetadata", _JSON, ".json"),
    }


DATASET_TYPES: dict[str, SampleDatasetType] = {
    "raw": SampleDatasetType(_RAW_DIMENSIONS, "Exposure", _RAW, ".fits"),
    "camera": SampleDatasetType(("instrument",), "Camera", _GENERIC, ".fits", is_calibration=True),
    "bfk": SampleDatasetType(
        ("instrument", "detector"), "BrighterFatterKernel", _GENERIC, ".fits", is_calibration=True
    ),
    "bias": SampleDatasetType(
        ("instrument", "detector"), "ExposureF", _EXPOSURE, ".fits", is_calibration=True
    ),
    "dark": SampleDatasetType(
        ("instrument", "detector"), "ExposureF", _EXPOSURE, ".fits", is_calibration=True
    ),
    "flat": SampleDatasetType(
        ("instrument", "detector", "physical_filter"), "ExposureF", _EXPOSURE, ".fits", is_calibration=True
    ),
    "sky": SampleDatasetType(
        ("instrument", "detector", "physical_filter"), "ExposureF", _EXPOSURE, ".fits", is_calibration=True
    ),
    "cal_ref_cat_2_2": SampleDatasetType(("htm7",), "SimpleCatalog", _GENERIC, ".fits"),
    "skyMap": SampleDatasetType(("skymap",), "SkyMap", _PICKLE, ".pickle"),
    "truth_summary": SampleDatasetType(("skymap", "tract"), "DataFrame", _PARQUET, ".parq"),
    "calexp": SampleDatasetType(_VISIT_DIMENSIONS, "ExposureF", _EXPOSURE, ".fits"),
    "calexpBackground": SampleDatasetType(_VISIT_DIMENSIONS, "Background", _GENERIC, ".fits"),
    "goodSeeingDiff_templateExp": SampleDatasetType(_VISIT_DIMENSIONS, "ExposureF", _EXPOSURE, ".fits"),
    "goodSeeingDiff_differenceExp": SampleDatasetType(_VISIT_DIMENSIONS, "ExposureF", _EXPOSURE, ".fits"),
    "goodSeeingDiff_diaSrcTable": SampleDatasetType(_VISIT_DIMENSIONS, "DataFrame", _PARQUET, ".parq"),
    "apdb_marker": SampleDatasetType(_VISIT_DIMENSIONS, "Config", _CONFIG, ".py"),
    **_task("isr", _RAW_DIMENSIONS),
    **_task("characterizeImage", _VISIT_DIMENSIONS),
    **_task("calibrate", _VISIT_DIMENSIONS),
    **_task("assembleCoadd", _COADD_DIMENSIONS),
}
"""Dataset types of the sample by name."""
