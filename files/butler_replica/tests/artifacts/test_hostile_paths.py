"""Names that mean something to a URI, a shell or a file system: artifacts are where the stock butler has them."""

from __future__ import annotations

import json
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset

from butler_replica.errors import ExportError
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from butler_replica.repository.making import ensure_repository
from kit.repositories import Repository

NAMES = (
    *("a#b", "a#b/c#d", "x/#", "a%b", "%", "a%20b", "a%2e%2eb", "a%C3%A9b", "a%2Fb", "a%252Fb", "a%2525b"),
    *("a?b", "a:b", "c:/x", "file:x", "file:///tmp/x", "s3://bucket/x", "no-scheme://x", "resource://x/y"),
    *(
        "~nobody_here/x",
        "a~",
        "a b",
        " a",
        "a'b",
        'a"b',
        "a&b",
        "a;b",
        "a*b",
        "a[1]b",
        "a{1}b",
        "a\\b",
        "a|<b>",
    ),
    *("a\nb", "a\tb", "a%20\nb", "a.b", "a..b", "a.", "-a", "--", "a=b", "a+b", "a,b@c", "`a`", "!a", "a^b"),
    *(unicodedata.normalize(form, "a\u00e9") for form in ("NFC", "NFD")),
    *("\u202eabc", "\U0001f52d", "\u661f"),
)
"""Each is a run, and a value in data IDs. What the stock butler finds again is to be in the same place."""

REFUSED = {
    "../b": "leads out",
    "a/../../b": "leads out",
    "%2E%2E/x": "leads out",
    "%2E%2E/%2E%2E/%2E%2E/up": "leads out",
    "%2e%2e/%2e%2e/up": "leads out",
    "%252E%252E/x": "leads out",
    "~": "no path below",
    "~root/x": "no path below",
    "%2Fetc/x": "no path below",
    "a%00x": "NUL",
    "a%23b": "only a part|looked for",
    "$HOME/x": "variable",
    "a${HOME}": "variable",
    "$NOT_SET/x": "variable",
}
"""Runs that the butler would resolve outside the repository, or not to a file that it finds again, and the reason."""

TEMPLATES = {
    "in_name": "{run:/}/{datasetType}/x_{physical_filter}",
    "in_path": "{run:/}/{physical_filter:/}/{datasetType}",
}


class Named(NamedTuple):
    """A dataset with something hostile in its name."""

    kind: str
    run: str
    filter: str
    """Value of its data ID; empty for a dataset without dimensions."""

    @property
    def id(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, repr(self))

    @property
    def path(self) -> str:
        return f"{self.id}.yaml"


def in_runs(names: Iterable[str]) -> list[Named]:
    return [Named(f"kind_{n}", name, "") for n, name in enumerate(names)]


def in_data_ids(names: Iterable[str]) -> list[Named]:
    return [Named(f"{kind}_{n}", "run", name) for n, name in enumerate(names) for kind in TEMPLATES]


def export(folder: Path, datasets: Iterable[Named]) -> Path:
    """Write an export of some datasets and their artifacts, the data ID of each."""
    lines = [
        "{description: Butler Data Repository Export, version: 1.0.2, universe_version: 7, "
        "universe_namespace: daf_butler, data: [",
        "{type: dimension, element: instrument, records: [{name: Cam, visit_max: 9, exposure_max: 9, "
        "detector_max: 9, class_name: no.such.Cam}]},",
    ]
    text = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731
    for name in dict.fromkeys(one.filter for one in datasets if one.filter):
        record = f"{{instrument: Cam, name: {text(name)}, band: r}}"
        lines.append(f"{{type: dimension, element: physical_filter, records: [{record}]}},")
    folder.mkdir(parents=True, exist_ok=True)
    for one in datasets:
        (folder / one.path).write_text(f"kind: {one.kind}\n")
        dimensions = "[instrument, physical_filter]" if one.filter else "[]"
        data_id = f"{{instrument: Cam, physical_filter: {text(one.filter)}}}" if one.filter else "{}"
        lines += [
            f"{{type: collection, collection_type: RUN, name: {text(one.run)}, host: null, timespan_begin: null, "
            "timespan_end: null},",
            f"{{type: dataset_type, name: {one.kind}, dimensions: {dimensions}, storage_class: StructuredDataDict, "
            "is_calibration: false},",
            f"{{type: dataset, dataset_type: {one.kind}, run: {text(one.run)}, records: [{{dataset_id: "
            f"[!uuid '{one.id}'], data_id: [{data_id}], path: {one.path}, "
            "formatter: lsst.daf.butler.formatters.yaml.YamlFormatter}]},",
        ]
    path = folder / "export.yaml"
    path.write_text("\n".join(lines) + "]}")
    return path


def with_templates(repository: Repository, n: int) -> Repository:
    path = repository.root / "butler.yaml"
    config = yaml.safe_load(path.read_text())
    config["datastore"]["templates"] = {
        f"{kind}_{i}": template for kind, template in TEMPLATES.items() for i in range(n)
    }
    path.write_text(yaml.safe_dump(config))
    return repository


def stock(repository: Repository, folder: Path, datasets: Iterable[Named]) -> dict[Named, str | None]:
    """Ingest datasets with the stock butler: where each is, below the root; `None` where it is not found again."""
    butler = Butler.from_config(str(repository), writeable=True)
    universe = butler.dimensions
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "no.such.Cam"})
    places: dict[Named, str | None] = {}
    for one in datasets:
        data_id = {}
        if one.filter:
            data_id = {"instrument": "Cam", "physical_filter": one.filter}
            record = {"instrument": "Cam", "name": one.filter, "band": "r"}
            butler.registry.insertDimensionData("physical_filter", record, skip_existing=True)
        kind = DatasetType(one.kind, data_id.keys(), "StructuredDataDict", universe=universe)
        butler.registry.registerDatasetType(kind)
        butler.collections.register(one.run)
        coordinate = butler.registry.expandDataId(data_id, dimensions=kind.dimensions)
        ref = DatasetRef(kind, coordinate, one.run, id=one.id)
        places[one] = None
        try:
            butler.ingest(FileDataset(str(folder / one.path), [ref]), transfer="copy")
            found = butler.get(ref) == {"kind": one.kind}
        except (ValueError, RuntimeError, OSError, NotImplementedError):
            continue
        place = os.path.relpath(butler.getURI(ref).ospath, repository.root)
        places[one] = place if found and not place.startswith("../") else None
    return places


def ref_of(butler: Butler, one: Named) -> DatasetRef:
    found = butler.get_dataset(one.id)
    assert found is not None
    return found


@pytest.fixture
def way(request: pytest.FixtureRequest) -> int:
    """Return from how many datasets on they are compared set by set, instead of one by one."""
    return 1 if request.param == "staged" else 1_000


@pytest.fixture(scope="module")
def known_places() -> dict[str, dict[Named, str | None]]:
    """Where the stock butler has put datasets, by their maker: it takes as long as all three ways of ours."""
    return {}


@pytest.mark.parametrize("make", [in_runs, in_data_ids])
@pytest.mark.parametrize(
    ("way", "transfer"), [("by ref", "copy"), ("staged", "symlink"), ("staged", "direct")], indirect=["way"]
)
def test_in_the_place_of_the_stock_butler(
    make_repository: Callable[..., Repository],
    tmp_path: Path,
    way: int,
    transfer: str,
    make: Callable[[Iterable[str]], list[Named]],
    known_places: dict[str, dict[Named, str | None]],
) -> None:
    everything = make(NAMES)
    if make.__name__ not in known_places:
        path = export(tmp_path / "everything", everything)
        stocks = with_templates(make_repository(), len(NAMES))
        known_places[make.__name__] = stock(stocks, path.parent, everything)
    theirs = dict(known_places[make.__name__])
    repository = with_templates(make_repository(), len(NAMES))
    # Older releases let more characters through to where they cannot find them.
    for lost in [one for one, place in theirs.items() if place is None]:
        del theirs[lost]
        if transfer != "direct":
            with pytest.raises(ExportError):
                import_exports(
                    repository, [export(tmp_path / "lost", [lost])], transfer=transfer, staged_from=way
                )
    assert len(theirs) > 0.8 * len(everything)
    path = export(tmp_path / "export", theirs)
    import_exports(repository, [path], transfer=transfer, staged_from=way)
    butler = Butler.from_config(str(repository))
    for one, place in theirs.items():
        ref = ref_of(butler, one)
        ours = butler.getURI(ref).ospath
        assert ours == str(path.parent / one.path if transfer == "direct" else repository.root / place), one
        assert butler.get(ref) == {"kind": one.kind}, one
    assert verify(str(repository), [{"name": "all", "exports": str(path)}]).ok
    assert not prune(str(repository), dry_run=True).changed
    assert not import_exports(repository, [path], transfer=transfer, staged_from=way).changed


@pytest.mark.parametrize("make", [in_runs, in_data_ids])
def test_removed_with_the_repository(tmp_path: Path, make: Callable[[Iterable[str]], list[Named]]) -> None:
    """What the stock butler has put somewhere is known for an artifact there, and what it only refers to is not."""
    config = {
        "registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"},
        "datastore": {
            "templates": {f"{kind}_{n}": way for kind, way in TEMPLATES.items() for n in range(99)}
        },
    }
    root = tmp_path / "dc2"
    ensure_repository(root, config=config)
    datasets = make(NAMES)
    export(tmp_path / "export", datasets)
    places = stock(Repository(root, "sqlite", "dc2", ""), tmp_path / "export", datasets)
    for found in root.rglob("*.yaml"):
        # What the stock butler does not find again is nobody's.
        if (place := str(found.relative_to(root))) not in places.values() and place != "butler.yaml":
            found.unlink()
    result = ensure_repository(root, config=config, confirm_destroy="dc2")
    assert result.removed_files == sum(place is not None for place in places.values()) > 0.8 * len(datasets)
    assert {path.name for path in root.iterdir()} == {"butler.yaml", "gen3.sqlite3", ".dc2-replica.lock"}


@pytest.mark.parametrize("way", ["by ref", "staged"], indirect=True)
def test_refused(make_repository: Callable[..., Repository], tmp_path: Path, way: int) -> None:
    """Where the stock butler would leave the repository, lose the file, or depend on the environment."""
    place = tmp_path / "deep" / "er" / "repository"
    place.parent.mkdir(parents=True)
    repository = make_repository("sqlite", place)
    for one in in_runs(REFUSED):
        path = export(tmp_path / "export", [one])
        with pytest.raises(ExportError, match=REFUSED[one.run]):
            import_exports(repository, [path], transfer="copy", staged_from=way)
        for table in ("dataset", "collection", "dataset_type"):
            assert repository.sql(f"SELECT count(*) FROM {table}") == [(0,)], one
    assert [found.name for found in place.parent.rglob("*.yaml")] == ["butler.yaml"]


def test_what_is_refused_is_not_found_by_the_stock_butler(
    make_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    refused = in_runs(name for name, reason in REFUSED.items() if reason != "variable")
    export(tmp_path / "export", refused)
    (tmp_path / "stock" / "er").mkdir(parents=True)
    made = make_repository("sqlite", tmp_path / "stock" / "er" / "repository")
    assert stock(made, tmp_path / "export", refused) == dict.fromkeys(refused)
