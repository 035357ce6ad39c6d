"""The skymaps whose records can be made here: each is a file in ``data/skymaps``."""

from __future__ import annotations

__all__ = ["known_skymaps", "skymap_named"]

import functools
from collections.abc import Mapping

from pydantic import TypeAdapter

from .data import named, read_all
from .rings import RingsSkyMap


@functools.cache
def known_skymaps() -> Mapping[str, RingsSkyMap]:
    """Read the skymaps that are known.

    Returns
    -------
    skymaps : `~collections.abc.Mapping` [ `str`, `RingsSkyMap` ]
        Skymaps by name.
    """
    return read_all("skymaps", TypeAdapter(RingsSkyMap))


def skymap_named(name: str) -> RingsSkyMap:
    """Return a skymap that is known.

    Parameters
    ----------
    name : `str`
        Its name.

    Returns
    -------
    skymap : `RingsSkyMap`
        The skymap.

    Raises
    ------
    ReplicaError
        Raised if there is none of this name; the message says which there are.
    """
    return named(known_skymaps(), name, "skymap")
