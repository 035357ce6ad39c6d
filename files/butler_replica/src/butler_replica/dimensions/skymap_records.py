"""The dimension records of a ring skymap."""

from __future__ import annotations

__all__ = ["patch_records", "skymap_record", "tract_records"]

from collections.abc import Iterable, Iterator

from lsst.daf.butler import DimensionRecord, DimensionUniverse

from .geometry import polygons
from .records import make_record
from .rings import RingsSkyMap


def skymap_record(skymap: RingsSkyMap, universe: DimensionUniverse) -> DimensionRecord:
    """Make the record of the skymap itskymap.

    Parameters
    ----------
    skymap : `RingsSkyMap`
        The skymap.
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.

    Returns
    -------
    record : `lsst.daf.butler.DimensionRecord`
        Record of the dimension ``skymap``.
    """
    n_x, n_y = skymap.n_patches
    return make_record(
        universe["skymap"],
        name=skymap.name,
        hash=skymap.sha1,
        tract_max=skymap.n_tracts,
        patch_nx_max=n_x,
        patch_ny_max=n_y,
    )


def tract_records(
    skymap: RingsSkyMap, universe: DimensionUniverse, tracts: Iterable[int]
) -> list[DimensionRecord]:
    """Make the records of tracts.

    Parameters
    ----------
    skymap : `RingsSkyMap`
        The skymap.
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    tracts : `~collections.abc.Iterable` [ `int` ]
        Tract IDs.

    Returns
    -------
    records : `list` [ `lsst.daf.butler.DimensionRecord` ]
        Records of the dimension ``tract``.
    """
    ids = list(tracts)
    record_class = universe["tract"].RecordClass
    return [
        record_class(skymap=skymap.name, id=tract, region=region)
        for tract, region in zip(ids, polygons(skymap.tract_vertices(ids)), strict=True)
    ]


def patch_records(
    skymap: RingsSkyMap, universe: DimensionUniverse, tracts: Iterable[int]
) -> Iterator[DimensionRecord]:
    """Make the records of all patches of tracts.

    Parameters
    ----------
    skymap : `RingsSkyMap`
        The skymap.
    universe : `lsst.daf.butler.DimensionUniverse`
        Universe of the repository.
    tracts : `~collections.abc.Iterable` [ `int` ]
        Tract IDs.

    Yields
    ------
    record : `lsst.daf.butler.DimensionRecord`
        Record of the dimension ``patch``, tract by tract.
    """
    ids = list(tracts)
    record_class = universe["patch"].RecordClass
    n_x = skymap.n_patches[0]
    for tract, patches in zip(ids, skymap.patch_vertices(ids), strict=True):
        for patch, region in enumerate(polygons(patches)):
            cell_y, cell_x = divmod(patch, n_x)
            yield record_class(
                skymap=skymap.name,
                tract=tract,
                id=patch,
                cell_x=cell_x,
                cell_y=cell_y,
                region=region,
            )
