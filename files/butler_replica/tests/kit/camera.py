"""An instrument class that can be imported, as those of a full stack can."""

from __future__ import annotations

import astropy.time


class Translator:
    """Says when the day of observation begins: at noon."""

    @classmethod
    def observing_date_to_offset(cls, date: astropy.time.Time) -> astropy.time.TimeDelta:
        return astropy.time.TimeDelta(43_200, format="sec", scale="tai")


class Camera:
    """What the butler's migrations ask of an instrument."""

    translatorClass = Translator  # noqa: N815 (the butler's name)
