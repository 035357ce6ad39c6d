"""The instruments whose records can be made here, without ``obs_lsst``: each is a file in ``data/instruments``."""

from __future__ import annotations

__all__ = ["FilterSet", "FocalPlaneGeometry", "Instrument", "instrument_named", "known_instruments"]

import functools
from collections.abc import Mapping, Sequence

from lsst.daf.butler import DimensionRecord, DimensionUniverse
from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from ..errors import ReplicaError
from .data import named, read_all
from .records import make_record

Offset = tuple[float, float]
"""Where the centre of a part is relative to that of the whole: x and y, millimetres."""

FilterSet = str
"""``all``, or the name of one of the sets of physical filters of an instrument."""


class FieldAngle(BaseModel):
    """From the radius r on the focal plane to the field angle: plate scale x the sum of c_k r^k."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate_scale: float
    """Arcseconds per millimetre."""

    coefficients: tuple[float, ...]
    """Of the powers of r in millimetres, from 0."""


class FocalPlaneGeometry(BaseModel):
    """What has to be known of a focal plane for the regions of visits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_mm: float
    detector_box: tuple[int, int]
    """Width and height of a detector, pixels."""

    detector_reference_pixel: tuple[float, float]
    field_angle: dict[str, FieldAngle]
    """By the name of the model."""


class Instrument(BaseModel):
    """An instrument of rafts that have the same sensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    class_name: str
    visit_max: int
    exposure_max: int
    detector_max: int
    visit_system: int
    rafts: dict[str, Offset | None]
    """Offset of each raft on the focal plane, where it is known; detectors are numbered in this order."""

    sensors: dict[str, Offset | None]
    """Offset of each sensor in its raft, where it is known."""

    purpose: str = "SCIENCE"
    physical_filters: dict[str, str]
    """Band of each physical filter."""

    filter_sets: dict[str, tuple[str, ...]] = {}
    """Names of the physical filters of other times."""

    focal_plane: FocalPlaneGeometry | None = None

    @model_validator(mode="after")
    def _offsets_are_known(self) -> Instrument:
        if self.focal_plane is not None and None in (*self.rafts.values(), *self.sensors.values()):
            raise ValueError("where there is a focal plane, each raft and sensor has an offset")
        return self

    @property
    def detectors(self) -> Sequence[tuple[str, str]]:
        """Raft and sensor of each detector, in the order of their IDs."""
        return [(raft, sensor) for raft in self.rafts for sensor in self.sensors]

    def filters(self, chosen: FilterSet = "all") -> Mapping[str, str]:
        """Return physical filters and their bands.

        Parameters
        ----------
        chosen : `str`, optional
            ``all``, or the name of a set.

        Returns
        -------
        filters : `~collections.abc.Mapping` [ `str`, `str` ]
            Bands by physical filter.

        Raises
        ------
        ReplicaError
            Raised if there is no such set.
        """
        sets = {"all": tuple(self.physical_filters), **self.filter_sets}
        if chosen not in sets:
            raise ReplicaError(f"{self.name} has no set of filters '{chosen}'; there are: {', '.join(sets)}.")
        return {name: self.physical_filters[name] for name in sets[chosen]}

    def records(
        self, universe: DimensionUniverse, *, filters: FilterSet = "all"
    ) -> dict[str, list[DimensionRecord]]:
        """Make the dimension records of the instrument.

        Parameters
        ----------
        universe : `lsst.daf.butler.DimensionUniverse`
            Universe of the repository.
        filters : `str`, optional
            Set of physical filters.

        Returns
        -------
        records : `dict` [ `str`, `list` [ `lsst.daf.butler.DimensionRecord` ] ]
            One instrument, its detectors and physical filters, by dimension
            element, in the order in which they can be inserted.
        """
        return {
            "instrument": [
                make_record(
                    universe["instrument"],
                    **self.model_dump(
                        include={
                            "name",
                            "class_name",
                            "visit_max",
                            "exposure_max",
                            "detector_max",
                            "visit_system",
                        }
                    ),
                )
            ],
            "detector": [
                make_record(
                    universe["detector"],
                    instrument=self.name,
                    id=number,
                    full_name=f"{raft}_{sensor}",
                    name_in_raft=sensor,
                    raft=raft,
                    purpose=self.purpose,
                )
                for number, (raft, sensor) in enumerate(self.detectors)
            ],
            "physical_filter": [
                make_record(universe["physical_filter"], instrument=self.name, name=name, band=band)
                for name, band in self.filters(filters).items()
            ],
        }


@functools.cache
def known_instruments() -> Mapping[str, Instrument]:
    """Read the instruments that are known.

    Returns
    -------
    instruments : `~collections.abc.Mapping` [ `str`, `Instrument` ]
        Instruments by name.
    """
    return read_all("instruments", TypeAdapter(Instrument))


def instrument_named(name: str) -> Instrument:
    """Return an instrument that is known.

    Parameters
    ----------
    name : `str`
        Its name.

    Returns
    -------
    instrument : `Instrument`
        The instrument.

    Raises
    ------
    ReplicaError
        Raised if there is none of this name; the message says which there are.
    """
    return named(known_instruments(), name, "instrument")
