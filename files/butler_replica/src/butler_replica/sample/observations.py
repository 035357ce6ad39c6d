"""The part of the sky and of the survey that the sample shows, as dimension records."""

from __future__ import annotations

__all__ = ["Observations", "observe", "selected_detectors"]

import math
from dataclasses import dataclass

import astropy.time
from lsst.daf.butler import DimensionRecord, DimensionUniverse, Timespan
from lsst.sphgeom import Region

from ..dimensions.records import make_record
from ..dimensions.skymap_records import patch_records, skymap_record, tract_records
from ..dimensions.visit_records import visit_records, visit_system_records
from .dc2 import INSTRUMENT, SKYMAP

_FIRST_ID = 204595
_FIRST_BEGIN = "2022-10-05T06:53:26.357"
_FIRST_POINTING = (55.67759885870274, -30.4423935708909)
_FIRST_SKY_ANGLE = 195.6243330026845
"""The first exposure is one of DC2 (TAI and degrees, from the header of its raws)."""

_BANDS = "irgzyu"
_PER_NIGHT = 3
_PER_FIELD = 18
_SECONDS_BETWEEN = 40
_EXPOSURE_TIME = 30.0
_DITHER = 0.7
"""Largest distance of a pointing from the centre of its field, degrees."""

_SITE = (-70.749417, -30.244639)
"""Longitude and latitude of the observatory, degrees."""


@dataclass(frozen=True)
class Observations:
    """What was observed, and where on the sky it lies."""

    records: dict[str, list[DimensionRecord]]
    """Dimension records by element, in the order in which they can be inserted."""

    @property
    def exposures(self) -> list[DimensionRecord]:
        """Records of the exposures, in the order of time."""
        return self.records["exposure"]

    def detector_regions(self) -> dict[tuple[int, int], Region]:
        """Return where each detector looked, by visit and detector."""
        return {
            (record.visit, record.detector): record.region for record in self.records["visit_detector_region"]
        }


def selected_detectors(number: int) -> list[int]:
    """Choose the detectors that have datasets, spread evenly over the focal plane.

    Parameters
    ----------
    number : `int`
        How many.

    Returns
    -------
    detectors : `list` [ `int` ]
        Detector IDs, ascending.
    """
    total = len(INSTRUMENT.detectors)
    return [(2 * k + 1) * total // (2 * number) for k in range(number)]


def observe(universe: DimensionUniverse, n_exposures: int) -> Observations:
    """Make the dimension records of a survey of a few exposures.

    Parameters
    ----------
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    n_exposures : `int`
        Number of exposures.

    Returns
    -------
    observations : `Observations`
        The instrument, exposures in several bands and nights, their visits,
        and the tracts and patches of the skymap that these touch.
    """
    records = INSTRUMENT.records(universe)
    exposures = [_exposure(universe, k) for k in range(n_exposures)]
    records["day_obs"] = [
        make_record(
            universe["day_obs"],
            instrument=INSTRUMENT.name,
            id=day,
            timespan=Timespan.from_day_obs(day, offset=0),
        )
        for day in sorted({exposure.day_obs for exposure in exposures})
    ]
    records["group"] = [
        make_record(universe["group"], instrument=INSTRUMENT.name, name=exposure.group)
        for exposure in exposures
    ]
    records["exposure"] = exposures
    records["visit_system"] = visit_system_records(universe, INSTRUMENT.name, "one-to-one")
    records.update(visit_records(universe, exposures))
    records["skymap"] = [skymap_record(SKYMAP, universe)]
    footprint = tract_records(SKYMAP, universe, SKYMAP.tracts_touching(SKYMAP.footprint))
    records["tract"] = [
        tract
        for tract in footprint
        if any(tract.region.intersects(visit.region) for visit in records["visit"])
    ]
    records["patch"] = list(patch_records(SKYMAP, universe, [tract.id for tract in records["tract"]]))
    return Observations(records)


def _exposure(universe: DimensionUniverse, k: int) -> DimensionRecord:
    """Make the record of exposure number ``k``."""
    night, of_night = divmod(k, _PER_NIGHT)
    number = _FIRST_ID + 902 * night + 2 * of_night
    begin = astropy.time.Time(_FIRST_BEGIN, scale="tai") + astropy.time.TimeDelta(
        night * 86400 + of_night * _SECONDS_BETWEEN, format="sec"
    )
    band = _BANDS[k % len(_BANDS)]
    ra, dec = _pointing(k)
    azimuth, zenith_angle = _horizontal(begin.mjd, ra, dec)
    return make_record(
        universe["exposure"],
        instrument=INSTRUMENT.name,
        id=number,
        obs_id=str(number),
        group=str(number),
        physical_filter=f"{band}_sim_1.4",
        day_obs=int(begin.strftime("%Y%m%d")),
        timespan=Timespan(begin, begin + astropy.time.TimeDelta(_EXPOSURE_TIME, format="sec")),
        exposure_time=_EXPOSURE_TIME,
        dark_time=_EXPOSURE_TIME,
        observation_type="science",
        observation_reason="science",
        seq_num=number,
        seq_start=number,
        seq_end=number,
        target_name="UNKNOWN",
        science_program=str(number),
        tracking_ra=ra,
        tracking_dec=dec,
        sky_angle=(_FIRST_SKY_ANGLE + 47.0 * k) % 360,
        azimuth=azimuth,
        zenith_angle=zenith_angle,
        has_simulated=True,
        can_see_sky=True,
    )


def _pointing(k: int) -> tuple[float, float]:
    """Boresight of exposure number ``k``, degrees: fields within the footprint, dithered on a spiral."""
    field, of_field = divmod(k, _PER_FIELD)
    ra, dec = _FIRST_POINTING if field == 0 else (54.0 + field * 7.3 % 16.0, -42.0 + field * 3.1 % 12.0)
    radius = _DITHER * math.sqrt(of_field / _PER_FIELD)
    angle = of_field * math.pi * (3 - math.sqrt(5))
    return ra + radius * math.cos(angle) / math.cos(math.radians(dec)), dec + radius * math.sin(angle)


def _horizontal(mjd: float, ra: float, dec: float) -> tuple[float, float]:
    """Azimuth and zenith angle at the observatory, degrees, good to a few arcminutes."""
    longitude, latitude = _SITE
    sidereal = 280.46061837 + 360.98564736629 * (mjd - 51544.5) + longitude
    hour_angle, phi, delta = (math.radians(value) for value in (sidereal - ra, latitude, dec))
    up = math.sin(phi) * math.sin(delta) + math.cos(phi) * math.cos(delta) * math.cos(hour_angle)
    east = -math.cos(delta) * math.sin(hour_angle)
    north = math.cos(phi) * math.sin(delta) - math.sin(phi) * math.cos(delta) * math.cos(hour_angle)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(math.acos(up))
