"""Paths of artifacts, formatted field by field, are those of the datastore's own file templates."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lsst.daf.butler import Butler, DatasetRef, DatasetType
from lsst.daf.butler.datastore.file_templates import FileTemplate

from butler_replica.internals import TemplatePaths

RUN = "u/so me/run 1.0#2"

TEMPLATES = {
    "all": "{run:/}/{datasetType}/{id}",
    "optional": "{run}/{datasetType}.{component:?}/{tract:?}/{patch:?}_{visit:?}-{detector.purpose:?}/x",
    "alternatives": "{run:/}/{day_obs|visit.day_obs|exposure.day_obs:?}/{exposure.obs_id|group|tract:?}_{datasetType}",
    "specs": "{run:/}/{datasetType:>12}_{detector:03d?}_{exposure:>08d?}_{physical_filter:.3?}",
    "slashes": "{run:/}/{physical_filter:/?}/{detector.full_name:/?}/{group:/?}/{datasetType}",
    "conversion": "{run:/}/{datasetType!r}_{physical_filter!s:?}_{detector!r:?}",
    "attributes": "{run:/}/{exposure.obs_id:?}/{exposure.exposure_time:?}/{exposure.no_such:?}/{tract.tract_id:?}/f",
    "skypix": "{run:/}/{skypix:?}_{htm7:?}/{instrument|skypix:?}/{skypix.id:?}",
    "absolute": "/{subfilter:?}/{band:?}.x/{run}.{datasetType}#1",
    "dots": "{run:/}/./{datasetType}//{band:?}//{skymap:?}.a.b",
    "end": "{run:/}/{datasetType}_{detector:?}_end",
    "not there": "{run:/}/{datasetType}/{detector}",
    "no record": "{run:/}/{datasetType}/{exposure.no_such}",
}
"""Beside those that the butler has by default."""

DIMENSIONS = {
    "none": (),
    "camera": ("instrument",),
    "detector": ("instrument", "detector"),
    "raw": ("instrument", "detector", "exposure"),
    "group": ("instrument", "group"),
    "filter": ("instrument", "physical_filter", "detector"),
    "coadd": ("skymap", "tract", "patch", "band"),
    "subfilter": ("band", "subfilter"),
    "shard": ("htm7",),
    "shards": ("htm7", "htm9"),
    "warp": ("instrument", "skymap", "tract", "exposure"),
}

ODD = ("a/b.c d", "#1", "..", "plain")
GROUPS = ("a<b>", 'c:d"e|f', "g\\h?*", "i j")
"""Not every release replaces all of these."""


@pytest.fixture(scope="module")
def root(empty_repository: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with odd names, and with a template for each dataset type."""
    import shutil

    root = Path(shutil.copytree(empty_repository("sqlite"), tmp_path_factory.mktemp("templates") / "repo"))
    butler = Butler.from_config(root, writeable=True)
    insert = butler.registry.insertDimensionData
    for name in ("Cam", "Other"):
        limits = {"detector_max": 9, "visit_max": 9, "exposure_max": 99}
        insert("instrument", {"name": name, "class_name": "no.such.Cam", **limits})
        for group in GROUPS:
            insert("group", {"instrument": name, "name": group})
        for n, odd in enumerate(ODD):
            insert("physical_filter", {"instrument": name, "name": odd, "band": "gr"[n % 2]})
            insert("detector", {"instrument": name, "id": n, "full_name": f"D {odd}", "purpose": None})
        insert("day_obs", {"instrument": name, "id": 20220101})
        for n, odd in enumerate(ODD):
            record = {"obs_id": f"obs {odd}", "physical_filter": odd, "group": GROUPS[n], "day_obs": 20220101}
            insert("exposure", {"instrument": name, "id": n, "exposure_time": n / 3, **record})
    insert("subfilter", *({"band": "g", "id": n} for n in range(3)))
    insert("skymap", {"name": "sky/1", "hash": b"1", "tract_max": 9, "patch_nx_max": 2, "patch_ny_max": 2})
    insert("tract", *({"skymap": "sky/1", "id": n} for n in range(3)))
    insert(
        "patch",
        *(
            {"skymap": "sky/1", "tract": t, "id": p, "cell_x": p, "cell_y": 0}
            for t in range(3)
            for p in (0, 1)
        ),
    )
    config = yaml.safe_load((root / "butler.yaml").read_text())
    config["datastore"]["templates"] = {
        f"{kind}_{number}": template
        for kind in DIMENSIONS
        for number, template in enumerate(TEMPLATES.values())
    }
    (root / "butler.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module")
def butler(root: Path) -> Butler:
    return Butler.from_config(root)


def data_ids(dimensions: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Every data ID of some dimensions, in no order."""
    values = {
        "instrument": ("Cam", "Other"),
        "detector": range(4),
        "exposure": range(4),
        "physical_filter": ODD,
        "group": GROUPS,
        "skymap": ("sky/1",),
        "tract": range(3),
        "patch": range(2),
        "band": ("g",),
        "subfilter": range(3),
        "htm7": (131072, 140000),
        "htm9": (2097152, 2100000),
    }
    combined = list(itertools.product(*(values[name] for name in dimensions)))
    random.Random(1).shuffle(combined)
    for one in combined:
        yield dict(zip(dimensions, one, strict=True))


def check(butler: Butler, name: str, kind: str) -> None:
    """Compare all paths of a dataset type, twice, with those of the datastore."""
    dataset_type = DatasetType(name, DIMENSIONS[kind], "StructuredDataDict", universe=butler.dimensions)
    paths = TemplatePaths(butler, dataset_type, RUN, butler.registry.expandDataId)
    for data_id in [*data_ids(DIMENSIONS[kind])] * 2:
        coordinate = butler.registry.expandDataId(data_id, dimensions=dataset_type.dimensions)
        ref = DatasetRef(dataset_type, coordinate, RUN)
        try:
            expected = butler._datastore.templates.getTemplate(ref).format(ref)
        except KeyError:
            with pytest.raises(KeyError):
                paths.path(coordinate.required_values, ref.id.bytes)
        else:
            assert paths.path(coordinate.required_values, ref.id.bytes) == expected


@pytest.mark.parametrize("template", [*TEMPLATES, "default"])
def test_same_as_the_template(butler: Butler, template: str) -> None:
    number = list(TEMPLATES).index(template) if template in TEMPLATES else template
    for kind in DIMENSIONS:
        check(butler, f"{kind}_{number}", kind)


@pytest.mark.parametrize(("kind", "most"), [("raw", 24), ("coadd", 6), ("shard", 2), ("filter", 16)])
def test_values_are_formatted_once(
    butler: Butler, monkeypatch: pytest.MonkeyPatch, kind: str, most: int
) -> None:
    """The default templates: their own method is asked for new values, not for each data ID."""
    calls = []
    original = FileTemplate.format
    monkeypatch.setattr(FileTemplate, "format", lambda *of: calls.append(of) or original(*of))
    check(butler, f"{kind}_default", kind)
    expected = 2 * len([*data_ids(DIMENSIONS[kind])])
    assert 0 < len(calls) - expected <= most < expected


@pytest.mark.parametrize("kind", ["raw", "coadd", "none"])
def test_a_release_that_formats_otherwise(butler: Butler, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    original = FileTemplate.format
    monkeypatch.setattr(FileTemplate, "format", lambda *of: original(*of).replace("a", "A"))
    check(butler, f"{kind}_default", kind)


def test_instruments_with_templates_of_their_own(root: Path) -> None:
    config = yaml.safe_load((root / "butler.yaml").read_text())
    config["datastore"]["templates"] = {"instrument<Other>": {"raw": "{run:/}/other/{detector}_{exposure}"}}
    (root / "other.yaml").write_text(yaml.safe_dump(config))
    check(Butler.from_config(root / "other.yaml"), "raw", "raw")
