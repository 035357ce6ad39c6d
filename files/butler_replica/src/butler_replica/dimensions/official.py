"""Comparing our dimension records with those of the Science Pipelines, where these are importable.

Each function makes the official records in the way of the official command
(``butler register-instrument``, ``register-skymap``, ``define-visits``), without
writing to the repository.
"""

from __future__ import annotations

__all__ = ["Comparison", "compare_instrument", "compare_skymap", "compare_visits"]

import importlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsst.daf.butler import Butler, DimensionRecord, DimensionUniverse
from rich.console import Console

from ..errors import ReplicaError
from ..internals.bulk_dimensions import Records
from ..results import Result
from ..session.reading import reading
from .geometry import MILLIARCSEC, region_distance
from .instruments import FilterSet, instrument_named
from .records import difference, make_record
from .skymap import chosen_tracts
from .skymap_records import patch_records, skymap_record, tract_records
from .skymaps import skymap_named
from .visit_records import is_visit, visit_records
from .visits import exposures_with_raws


@dataclass
class Comparison(Result):
    """How our records differ from the official ones."""

    compared: dict[str, int] = field(default_factory=dict)
    """Official records by dimension element."""

    different: list[str] = field(default_factory=list)
    """What differs, record by record."""

    max_distance: float = 0.0
    """Largest distance of the outlines of two regions, milliarcseconds."""

    changed: bool = False
    """Nothing is ever written."""

    def add(self, ours: Records, official: Records) -> None:
        """Compare records.

        Parameters
        ----------
        ours, official : `~collections.abc.Mapping`
            Records by dimension element.
        """
        for element, records in official.items():
            self.compared[element] = self.compared.get(element, 0) + len(records)
            by_id = {record.dataId.required_values: record for record in ours[element]}
            for record in records:
                self._add_one(by_id.pop(record.dataId.required_values, None), record)
            self.different.extend(f"{_name(record)}: not an official record" for record in by_id.values())

    def _add_one(self, ours: DimensionRecord | None, official: DimensionRecord) -> None:
        if ours is None:
            self.different.append(f"{_name(official)}: missing here")
            return
        if "region" in official.definition.schema.names:
            distance = region_distance(ours.region, official.region) / MILLIARCSEC
            self.max_distance = max(self.max_distance, distance)
        for column, (here, there) in difference(ours, official).items():
            what = f"{distance:.3g} mas" if column == "region" else f"{here!r} here, {there!r} official"
            self.different.append(f"{_name(official)}: {column}: {what}")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON data."""
        return {
            "compared": self.compared,
            "different": self.different,
            "max_distance_mas": self.max_distance,
        }

    def show(self, console: Console) -> None:
        """Print the comparison for a reader."""
        for element, number in self.compared.items():
            console.print(f"{element}: {number} official records", markup=False)
        if self.max_distance:
            console.print(f"regions: at most {self.max_distance:.3g} mas apart", markup=False)
        for line in self.different:
            console.print(f"  {line}", markup=False)
        console.print(f"{len(self.different)} differences", markup=False)


def _name(record: DimensionRecord) -> str:
    return f"{record.definition.name} {dict(record.dataId.required)}"


def _official(module: str, *names: str) -> list[Any]:
    """Import objects of the Science Pipelines."""
    try:
        imported = importlib.import_module(module)
        return [getattr(imported, name) for name in names]
    except (ImportError, AttributeError) as error:
        raise ReplicaError(
            f"The official records cannot be made: {error}. A comparison needs the Science Pipelines: "
            "source their loadLSST.bash, 'setup lsst_distrib', and run this with their Python."
        ) from error


def compare_instrument(repo: str, *, name: str = "LSSTCam-imSim", filters: FilterSet = "all") -> Comparison:
    """Compare the records of the instrument.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository, whose universe counts.
    name : `str`, optional
        Name of the instrument.
    filters : `str`, optional
        Set of physical filters.

    Returns
    -------
    comparison : `Comparison`
        The differences.
    """
    instrument = instrument_named(name)
    module, _, of_class = instrument.class_name.rpartition(".")
    (instrument_class,) = _official(module, of_class)
    with reading(repo) as butler:
        universe = butler.dimensions
    ours = instrument.records(universe, filters=filters)
    with tempfile.TemporaryDirectory(prefix="butler-replica-") as folder:
        Butler.makeRepo(folder, dimensionConfig=universe.dimensionConfig)
        scratch = Butler.from_config(folder, writeable=True)
        instrument_class().register(scratch.registry)
        official = {element: scratch.query_dimension_records(element, instrument=name) for element in ours}
    comparison = Comparison()
    comparison.add(ours, official)
    return comparison


def compare_skymap(
    repo: str,
    *,
    name: str = "DC2",
    tracts: Iterable[int] | None = None,
    all_sky: bool = False,
) -> Comparison:
    """Compare the records of a skymap.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository, whose universe counts.
    name : `str`, optional
        Name of the skymap.
    tracts : `~collections.abc.Iterable` [ `int` ], optional
        Tract IDs; `None` are those of the skymap's footprint.
    all_sky : `bool`, optional
        All tracts.

    Returns
    -------
    comparison : `Comparison`
        The differences.
    """
    (official_class,) = _official("lsst.skymap.ringsSkyMap", "RingsSkyMap")
    skymap = skymap_named(name)
    ids = chosen_tracts(skymap, tracts, all_sky)
    with reading(repo) as butler:
        universe = butler.dimensions
    config = official_class.ConfigClass()
    config.numRings = skymap.num_rings
    config.raStart = skymap.ra_start
    config.projection = "TAN"
    config.pixelScale = skymap.pixel_scale
    config.tractOverlap = skymap.tract_overlap
    config.tractBuilder = "legacy"
    config.tractBuilder["legacy"].patchInnerDimensions = list(skymap.patch_inner_dimensions)
    config.tractBuilder["legacy"].patchBorder = skymap.patch_border
    official = official_class(config)
    comparison = Comparison()
    n_x, n_y = official[0].getNumPatches()
    record = make_record(
        universe["skymap"],
        name=skymap.name,
        hash=official.getSha1(),
        tract_max=len(official),
        patch_nx_max=n_x,
        patch_ny_max=n_y,
    )
    comparison.add({"skymap": [skymap_record(skymap, universe)]}, {"skymap": [record]})
    for tract in ids:
        ours = {
            "tract": tract_records(skymap, universe, [tract]),
            "patch": list(patch_records(skymap, universe, [tract])),
        }
        comparison.add(ours, _official_tract(universe, skymap.name, official[tract]))
    return comparison


def _official_tract(universe: DimensionUniverse, name: str, tract: Any) -> dict[str, list[DimensionRecord]]:
    key = {"skymap": name, "tract": tract.getId()}
    patches = []
    for patch in tract:
        cell_x, cell_y = patch.getIndex()
        patches.append(
            universe["patch"].RecordClass(
                **key,
                id=tract.getSequentialPatchIndex(patch),
                cell_x=cell_x,
                cell_y=cell_y,
                region=patch.getOuterSkyPolygon(tract.getWcs()),
            )
        )
    return {
        "tract": [
            universe["tract"].RecordClass(skymap=name, id=tract.getId(), region=tract.getOuterSkyPolygon())
        ],
        "patch": patches,
    }


def compare_visits(
    repo: str,
    collections: str | Sequence[str],
    *,
    instrument: str = "LSSTCam-imSim",
    visit_system: str = "one-to-one",
    focal_plane: str = "nominal",
    limit: int = 20,
) -> Comparison:
    """Compare the records of visits.

    Parameters
    ----------
    repo : `str`
        Root or label of the repository.
    collections : `str` or `~collections.abc.Sequence` [ `str` ]
        Collections with raw data.
    instrument : `str`, optional
        Name of the instrument.
    visit_system : `str`, optional
        Visit system of ours; the official task is configured alike.
    focal_plane : `str`, optional
        Focal plane model of ours; the official one is that of the stack.
    limit : `int`, optional
        Number of exposures to compare, evenly chosen.

    Returns
    -------
    comparison : `Comparison`
        The differences.
    """
    (task_class,) = _official("lsst.obs.base", "DefineVisitsTask")
    module, _, of_class = instrument_named(instrument).class_name.rpartition(".")
    (instrument_class,) = _official(module, of_class)
    comparison = Comparison()
    with reading(repo) as butler:
        exposures = [
            exposure
            for exposure in exposures_with_raws(butler, repo, collections, instrument=instrument)
            if is_visit(exposure)
        ]
        exposures = exposures[:: max(1, -(-len(exposures) // limit))]
        official_instrument = instrument_class()
        config = task_class.ConfigClass()
        official_instrument.applyConfigOverrides(task_class._DefaultName, config)
        config.groupExposures = visit_system
        task = task_class(config=config, butler=butler)
        # The task has no public method that makes the records and does not write them.
        for definition in task.groupExposures.group(exposures, official_instrument):
            made = task._buildVisitRecords(definition)
            official = {
                "visit": [made.visit],
                "visit_definition": made.visit_definition,
                "visit_system_membership": made.visit_system_membership,
                "visit_detector_region": made.visit_detector_region,
            }
            ours = visit_records(
                butler.dimensions,
                definition.exposures,
                visit_system=visit_system,
                model=focal_plane,
            )
            comparison.add(ours, official)
    return comparison
