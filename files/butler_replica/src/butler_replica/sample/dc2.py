"""The instrument and the skymap of DC2."""

from __future__ import annotations

__all__ = ["INSTRUMENT", "SKYMAP"]

from ..dimensions.instruments import instrument_named
from ..dimensions.skymaps import skymap_named

INSTRUMENT = instrument_named("LSSTCam-imSim")
SKYMAP = skymap_named("DC2")
