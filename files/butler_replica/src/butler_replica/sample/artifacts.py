"""Artifacts of the sample: small real files of the format that their formatter reads."""

from __future__ import annotations

__all__ = ["make_artifact"]

import datetime
import io
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import astropy.time
import numpy as np
import pyarrow.parquet
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import DatasetRef
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.daf.butler.logging import ButlerLogRecord
from lsst.sphgeom import LonLat

_SIZE = 16
"""Pixels of an image, in x and y."""


def make_artifact(ref: DatasetRef) -> bytes:
    """Make the artifact of a dataset.

    Parameters
    ----------
    ref : `lsst.daf.butler.DatasetRef`
        The dataset; its data ID has dimension records.

    Returns
    -------
    content : `bytes`
        Content of the file, the same for the same dataset.
    """
    storage_class = ref.datasetType.storageClass_name
    return _MAKERS.get(storage_class, _image)(ref)


def _random(ref: DatasetRef) -> np.random.Generator:
    return np.random.default_rng(ref.id.int & 0xFFFFFFFF)


def _record(ref: DatasetRef, dimension: str) -> Any:
    """Return a dimension record, whose columns depend on the dimension."""
    return ref.dataId.records[dimension]


def _hdu_list(*hdus: fits.PrimaryHDU | fits.BinTableHDU) -> bytes:
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


def _header(ref: DatasetRef) -> fits.Header:
    """Make a header that says which dataset this is."""
    header = fits.Header()
    header["DATASET"] = (ref.datasetType.name, "dataset type")
    header["RUN"] = ref.run
    for dimension, value in ref.dataId.required.items():
        header[f"HIERARCH DATAID {dimension}"] = value
    if "detector" in ref.dataId:
        header["CHIPID"] = _record(ref, "detector").full_name
    return header


def _raw_header(ref: DatasetRef) -> fits.Header:
    """Make the header of a raw, with the keywords of imSim."""
    header = _header(ref)
    exposure, detector = _record(ref, "exposure"), _record(ref, "detector")
    band = _record(ref, "physical_filter").band
    header["OBSID"] = exposure.id
    header["RUNNUM"] = exposure.science_program
    header["TESTTYPE"] = "IMSIM"
    header["IMGTYPE"] = "SKYEXP"
    header["FILTER"] = band
    header["EXPTIME"] = exposure.exposure_time
    header["DARKTIME"] = exposure.dark_time
    header["TIMESYS"] = "TAI"
    header["DATE-OBS"] = astropy.time.Time(exposure.timespan.begin, precision=3).isot
    header["MJD-OBS"] = exposure.timespan.begin.mjd
    header["RADESYS"] = "ICRS"
    header["RATEL"] = exposure.tracking_ra
    header["DECTEL"] = exposure.tracking_dec
    header["ROTANGLE"] = exposure.sky_angle
    header["RAFTNAME"] = detector.raft
    header["SENSNAME"] = detector.name_in_raft
    header["OUTFILE"] = f"lsst_a_{exposure.id}_{detector.full_name}_{band}.fits"
    return header


def _raw(ref: DatasetRef) -> bytes:
    pixels = _random(ref).poisson(600, (_SIZE, _SIZE)).astype(np.int32)
    return _hdu_list(fits.PrimaryHDU(pixels, _raw_header(ref)))


def _image(ref: DatasetRef) -> bytes:
    pixels = _random(ref).normal(size=(_SIZE, _SIZE)).astype(np.float32)
    return _hdu_list(fits.PrimaryHDU(pixels, _header(ref)))


def _sources(ref: DatasetRef) -> Table:
    """Make a table of sources in the middle of the dataset's region."""
    region = ref.dataId.region
    if region is None:
        raise ValueError(f"{ref} has no region to put sources into.")
    center = LonLat(region.getBoundingCircle().getCenter())
    random, n = _random(ref), 5
    return Table(
        {
            "id": np.arange(1, n + 1, dtype=np.int64),
            "ra": center.getLon().asDegrees() + random.normal(scale=0.01, size=n),
            "dec": center.getLat().asDegrees() + random.normal(scale=0.01, size=n),
            "flux": random.lognormal(8.0, size=n),
        }
    )


def _catalog(ref: DatasetRef) -> bytes:
    return _hdu_list(fits.PrimaryHDU(header=_header(ref)), fits.BinTableHDU(_sources(ref)))


def _parquet(ref: DatasetRef) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(astropy_to_arrow(_sources(ref)), stream)
    return stream.getvalue()


def _config(ref: DatasetRef) -> bytes:
    task = ref.datasetType.name.removesuffix("_config")
    return f"# Configuration of {task}: all defaults.\n".encode()


def _log(ref: DatasetRef) -> bytes:
    task = ref.datasetType.name.removesuffix("_log")
    record = ButlerLogRecord(
        name=f"lsst.{task}",
        asctime=datetime.datetime(2022, 5, 21, 4, 23, 55, tzinfo=datetime.UTC),
        message=f"Execution of task '{task}' on quantum {ref.dataId.required} took 1.0 seconds",
        levelno=20,
        levelname="INFO",
        filename="singleQuantumExecutor.py",
        pathname="lsst/ctrl/mpexec/singleQuantumExecutor.py",
        lineno=1,
        funcName="execute",
        process=1,
        processName="MainProcess",
        MDC={"LABEL": task},
    )
    return f"[{record.model_dump_json(exclude_unset=True)}]".encode()


def _metadata(ref: DatasetRef) -> bytes:
    """Make task metadata: three kinds of values, as `lsst.pipe.base.TaskMetadata` stores them."""
    quantum: dict[str, Any] = {
        "scalars": {"__version__": 1},
        "arrays": {"startUtc": ["2022-05-21T04:23:55"], "endUtc": ["2022-05-21T04:23:56"]},
        "metadata": {},
    }
    return json.dumps({"scalars": {}, "arrays": {}, "metadata": {"quantum": quantum}}).encode()


_SKYMAP_CONFIG = """\
import lsst.skymap.ringsSkyMap
assert type(config) is lsst.skymap.ringsSkyMap.RingsSkyMapConfig
config.tractBuilder.name = 'legacy'
config.tractBuilder['legacy'].patchInnerDimensions = [4000, 4000]
config.tractBuilder['legacy'].patchBorder = 100
config.tractOverlap = 1/60
config.pixelScale = 0.2
config.projection = 'TAN'
config.rotation = 0.0
config.numRings = 120
config.raStart = 0.0
"""


def _skymap(ref: DatasetRef) -> bytes:
    """Make the pickle of the skymap DC2.

    It is what ``RingsSkyMap`` pickles itself to, ``RingsSkyMap(unreduceConfig(RingsSkyMapConfig, text), 1)``,
    assembled from opcodes because the classes cannot be imported here; the full stack loads it.
    """
    config = _SKYMAP_CONFIG.encode()
    return b"".join(
        [
            pickle.PROTO + b"\x03",
            pickle.GLOBAL + b"lsst.skymap.ringsSkyMap\nRingsSkyMap\n",
            pickle.MARK,
            pickle.GLOBAL + b"lsst.pex.config.config\nunreduceConfig\n",
            pickle.MARK,
            pickle.GLOBAL + b"lsst.skymap.ringsSkyMap\nRingsSkyMapConfig\n",
            pickle.BINBYTES + struct.pack("<I", len(config)) + config,
            pickle.TUPLE + pickle.REDUCE,
            pickle.BININT1 + b"\x01",
            pickle.TUPLE + pickle.REDUCE,
            pickle.STOP,
        ]
    )


_MAKERS: dict[str, Callable[[DatasetRef], bytes]] = {
    "ButlerLogRecords": _log,
    "Config": _config,
    "DataFrame": _parquet,
    "Exposure": _raw,
    "SimpleCatalog": _catalog,
    "SkyMap": _skymap,
    "TaskMetadata": _metadata,
}
