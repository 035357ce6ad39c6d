"""Exposures of LSSTCam-imSim in a repository, for tests that define visits."""

from __future__ import annotations

from typing import Any

import astropy.time
import astropy.units as u
from lsst.daf.butler import Butler, DatasetType, DimensionRecord, DimensionUniverse, Timespan

INSTRUMENT = "LSSTCam-imSim"
RAW = "2.2i/raw/all"
POINTINGS = [(56.65, -36.45, 17.3), (61.9, -30.2, 211.0), (0.02, -45.0, 90.0), (70.1, -88.9, 300.0)]


def exposure_record(universe: DimensionUniverse, number: int, **other: Any) -> DimensionRecord:
    """Make the record of one exposure; ``other`` are columns that differ."""
    ra, dec, angle = POINTINGS[number % len(POINTINGS)]
    begin = astropy.time.Time("2022-10-01T05:00:00", scale="tai") + number * 40 * u.s
    columns = {
        "instrument": INSTRUMENT,
        "id": number,
        "obs_id": f"obs_{number}",
        "physical_filter": "r_sim_1.4",
        "group": str(number),
        "day_obs": 20221001,
        "timespan": Timespan(begin, begin + 30 * u.s),
        "exposure_time": 30.0,
        "dark_time": 30.25,
        "observation_type": "science",
        "observation_reason": "wfd",
        "science_program": "DC2",
        "target_name": "field",
        "seq_num": number,
        "seq_start": number,
        "seq_end": number,
        "tracking_ra": ra,
        "tracking_dec": dec,
        "sky_angle": angle,
        "azimuth": 123.5,
        "zenith_angle": 31.25,
        "has_simulated": True,
        "can_see_sky": True,
        **other,
    }
    return universe["exposure"].RecordClass(**columns)


def add_raws(repo: str, exposures: list[DimensionRecord]) -> None:
    """Register raw datasets (two detectors each, no artifacts) of exposures, whose instrument is there."""
    butler = Butler.from_config(repo, writeable=True)
    insert = butler.registry.insertDimensionData
    insert("day_obs", {"instrument": INSTRUMENT, "id": 20221001}, skip_existing=True)
    insert("group", *[{"instrument": INSTRUMENT, "name": exposure.group} for exposure in exposures])
    insert("exposure", *exposures)
    butler.collections.register(RAW)
    raw = DatasetType("raw", ["instrument", "exposure", "detector"], "Exposure", universe=butler.dimensions)
    butler.registry.registerDatasetType(raw)
    butler.registry.insertDatasets(
        raw,
        [
            {"instrument": INSTRUMENT, "exposure": exposure.id, "detector": detector}
            for exposure in exposures
            for detector in (0, 94)
        ],
        run=RAW,
    )
