"""Dimension records that an import makes: compared by SQL with those that the stages register."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lsst.daf.butler import (
    Butler,
    DatasetRef,
    DatasetType,
    DimensionRecord,
    DimensionUniverse,
    FileDataset,
)
from lsst.sphgeom import Box

from butler_replica.cli import main
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.made import KNOWN_RECORDS
from butler_replica.dimensions.needed import RecordMaker
from butler_replica.dimensions.records import DataIdKey
from butler_replica.dimensions.rings import RingsSkyMap
from butler_replica.dimensions.skymap import register_skymap
from butler_replica.dimensions.skymap_records import skymap_record, tract_records
from butler_replica.errors import ArtifactError, ConflictError
from butler_replica.imports.importer import import_exports
from kit.exports import artifact_paths, make_artifacts
from kit.repositories import Repository
from kit.sameness import registry_tables

INSTRUMENT = "LSSTCam-imSim"

MADE = ("instrument", "detector", "physical_filter", "skymap", "tract", "patch")


def count(repository: Repository, table: str) -> int:
    return int(repository.sql(f"SELECT count(*) FROM {table}")[0][0])


def rows(repository: Repository, table: str) -> set[tuple[Any, ...]]:
    """Return a table's rows, regions as bytes."""
    return {
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in repository.sql(f"SELECT * FROM {table}")
    }


def without_dimensions(export: Path, *elements: str) -> Path:
    """Write a copy of an export without the records of some elements, or of all."""
    items = re.split(r"(?m)^(?=- type: )", export.read_text())
    kept = [
        item
        for item in items
        if not (found := re.match(r"- type: dimension\s+element: (\w+)", item))
        or (elements and found[1] not in elements)
    ]
    assert len(kept) < len(items)
    copy = export.with_name("without.yaml")
    copy.write_text("".join(kept))
    return copy


@pytest.fixture
def registered(make_repository: Callable[..., Repository], tmp_path: Path) -> Repository:
    """A repository with the instrument and two tracts as the stages register them."""
    repository = make_repository("sqlite", tmp_path / "registered")
    register_instrument(str(repository))
    register_skymap(str(repository), tracts=[3828, 3829])
    return repository


@pytest.fixture
def export(registered: Repository, tmp_path: Path) -> Path:
    """Flats of two detectors and coadds of two patches, exported by the stock butler."""
    butler = Butler.from_config(str(registered), writeable=True)
    butler.collections.register("run")
    refs = []
    for name, dimensions, data_ids in (
        ("flat", {"instrument", "detector", "physical_filter"}, [{"detector": 13}, {"detector": 94}]),
        ("coadd", {"skymap", "tract", "patch"}, [{"tract": 3828, "patch": 3}, {"tract": 3829, "patch": 48}]),
    ):
        kind = DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for data_id in data_ids:
            same = {"instrument": INSTRUMENT, "physical_filter": "i_sim_1.4", "skymap": "DC2"}
            full = {key: value for key, value in (same | data_id).items() if key in dimensions}
            path = tmp_path / f"{name}{len(refs)}.yaml"
            path.write_text(json.dumps(full))
            refs.append(DatasetRef(kind, butler.registry.expandDataId(full), "run"))
            butler.ingest(FileDataset(str(path), [refs[-1]]), transfer="copy")
    folder = tmp_path / "export"
    folder.mkdir()
    with butler.export(directory=str(folder), filename=str(folder / "e.yaml"), transfer="copy") as exporter:
        exporter.saveDatasets(refs)
    return folder / "e.yaml"


def test_what_is_needed_is_made_and_nothing_else(
    repository: Repository, registered: Repository, export: Path
) -> None:
    bare = without_dimensions(export)
    before = registry_tables(repository)
    planned = import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS, dry_run=True)
    assert planned.to_dict()["dimension_records"] == 9
    assert registry_tables(repository) == before

    result = import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS)
    assert result.to_dict()["dimension_records"] == 9
    assert set(result.files[0].notices) == {
        f"Made 1 instrument records of {INSTRUMENT}.",
        f"Made 2 detector records of {INSTRUMENT}.",
        f"Made 1 physical_filter records of {INSTRUMENT}.",
        "Made 1 skymap records of DC2.",
        "Made 2 tract records of DC2.",
        "Made 2 patch records of DC2.",
    }
    assert {table: count(repository, table) for table in MADE} == {
        "instrument": 1,
        "detector": 2,
        "physical_filter": 1,
        "skymap": 1,
        "tract": 2,
        "patch": 2,
    }
    for table in MADE:
        assert rows(repository, table) <= rows(registered, table)
    assert count(repository, "dataset") == 4
    assert not import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS).changed
    # What the stages register later goes with it, and completes it.
    register_instrument(str(repository))
    register_skymap(str(repository), tracts=[3828, 3829])
    for table in (*MADE, "patch_skypix_overlap", "tract_skypix_overlap"):
        assert rows(repository, table) == rows(registered, table)


def test_an_export_that_brings_some_of_them(
    repository: Repository, registered: Repository, export: Path
) -> None:
    """Records of an export need others, too."""
    bare = without_dimensions(export, "instrument", "skymap")
    with pytest.raises(ConflictError, match="2 dimension records are needed") as error:
        import_exports(repository, [bare], maker=KNOWN_RECORDS)
    assert "1 instrument records, for detector records: instrument=LSSTCam-imSim" in str(error.value)
    assert "1 skymap records, for tract records: skymap=DC2" in str(error.value)
    assert "2 of them can be made: --register" in str(error.value)
    import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS)
    for table in MADE:
        assert rows(repository, table) <= rows(registered, table)
    assert count(repository, "dataset") == 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "detector: 94",
            "detector: 189",
            f"1 detector records, for flat: instrument={INSTRUMENT}, detector=189",
        ),
        (
            "i_sim_1.4",
            "i_phosim",
            "1 physical_filter records, for flat: instrument=.*, physical_filter=i_phosim",
        ),
        ("tract: 3829", "tract: 18938", "1 tract records, for coadd: skymap=DC2, tract=18938"),
        ("patch: 48", "patch: 49", "1 patch records, for coadd: skymap=DC2, tract=3829, patch=49"),
        (
            f"instrument: {INSTRUMENT}",
            "instrument: HSC",
            "2 detector records, for flat: instrument=HSC, detector=13",
        ),
    ],
)
def test_what_cannot_be_made(
    make_repository: Callable[..., Repository], export: Path, old: str, new: str, said: str
) -> None:
    repository = make_repository()
    bare = without_dimensions(export)
    bare.write_text(bare.read_text().replace(old, new))
    before = registry_tables(repository)
    with pytest.raises(ConflictError, match=said) as error:
        import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS)
    assert "can be made" not in str(error.value)
    assert registry_tables(repository) == before


def test_another_skymap_of_that_name(make_repository: Callable[..., Repository], export: Path) -> None:
    repository = make_repository()
    other = RingsSkyMap("DC2", patch_border=200)
    with Butler.from_config(str(repository), writeable=True) as butler:
        butler.registry.insertDimensionData("skymap", skymap_record(other, butler.dimensions))
        butler.registry.insertDimensionData("tract", *tract_records(other, butler.dimensions, [3828]))
    before = registry_tables(repository)
    with pytest.raises(ConflictError, match="skymap DC2 that is there is another one") as error:
        import_exports(repository, [without_dimensions(export)], register=True, maker=KNOWN_RECORDS)
    assert "1 tract records, for coadd: skymap=DC2, tract=3829" in str(error.value)
    assert registry_tables(repository) == before


def test_nothing_is_left_of_a_file_that_fails(repository: Repository, export: Path) -> None:
    bare = without_dimensions(export)
    before = registry_tables(repository)
    (artifact, *_) = export.parent.rglob("coadd*.yaml")
    content = artifact.read_text()
    artifact.unlink()
    with pytest.raises(ArtifactError, match="1 of 4 artifacts are missing"):
        import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS)
    assert registry_tables(repository) == before
    artifact.write_text(content)
    # The database refuses the datasets, when the dimension records are in it.
    if repository.backend == "sqlite":
        repository.sql("CREATE TRIGGER no BEFORE INSERT ON dataset BEGIN SELECT RAISE(ABORT, 'refused'); END")
    else:
        repository.sql("ALTER TABLE dataset ADD CONSTRAINT refused CHECK (false)")
    with pytest.raises(ConflictError, match="constraint|refused"):
        import_exports(repository, [bare], register=True, maker=KNOWN_RECORDS)
    assert {table: count(repository, table) for table in MADE} == dict.fromkeys(MADE, 0)


@pytest.fixture
def ci_imsim(shared_exports: Path, tmp_path: Path) -> Path:
    """The export of ci_imsim, which has no dimension records; its artifacts are in ``artifacts``."""
    path = shared_exports / "ci_imsim.20250220.4c194b9.yaml"
    make_artifacts(artifact_paths(path), tmp_path / "artifacts")
    return path


def test_ci_imsim(repository: Repository, registered: Repository, ci_imsim: Path, tmp_path: Path) -> None:
    """A real export: what cannot be made is named, and inserted by the stock butler here."""
    arguments = ["import", str(repository), str(ci_imsim), "--artifacts", str(tmp_path / "artifacts")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "23 of them can be made: --register" in done.output
    done = CliRunner().invoke(main, [*arguments, "--register"])
    assert done.exit_code == 1
    assert "4 dimension records are needed" in done.output
    assert (
        "2 skymap records, for truth_summary: skymap=discrete/ci_imsim/2k; skymap=discrete/ci_imsim/4k"
        in (done.output)
    )
    assert "detector" not in done.output
    assert count(repository, "instrument") == 0

    butler = Butler.from_config(str(repository), writeable=True)
    for name in ("discrete/ci_imsim/2k", "discrete/ci_imsim/4k"):
        skymap = {"name": name, "hash": name.encode(), "tract_max": 1, "patch_nx_max": 1, "patch_ny_max": 1}
        butler.registry.insertDimensionData("skymap", skymap)
        butler.registry.insertDimensionData(
            "tract", {"skymap": name, "id": 0, "region": Box.fromDegrees(56, -37, 58, -36)}
        )
    done = CliRunner().invoke(main, [*arguments, "--register"])
    assert done.exit_code == 0, done.output
    assert f"Made 16 detector records of {INSTRUMENT}." in done.output
    assert (count(repository, "detector"), count(repository, "physical_filter")) == (16, 6)
    for table in ("instrument", "detector", "physical_filter"):
        assert rows(repository, table) <= rows(registered, table)
    assert count(repository, "dataset") == ci_imsim.read_text().count("path:")
    butler = Butler.from_config(str(repository))
    # By what only the records know: raft and band.
    where = "instrument = 'LSSTCam-imSim' AND band = 'r' AND detector.raft = 'R13'"
    flats = butler.query_datasets("flat", "*", where=where, find_first=False)
    assert {flat.dataId["detector"] for flat in flats} == {54}
    assert butler.getURI(flats[0]).exists()


class OneDetector(RecordMaker):
    """Knows nothing but detector 13 of an instrument that no release has heard of."""

    def make(
        self, universe: DimensionUniverse, element: str, wanted: Collection[DataIdKey]
    ) -> dict[DataIdKey, DimensionRecord]:
        columns: dict[str, dict[str, Any]] = {
            "instrument": {"name": "Cam", "class_name": "no.such.Cam", "detector_max": 99},
            "detector": {"instrument": "Cam", "id": 13, "full_name": "D13"},
        }
        if element not in columns:
            return {}
        record = universe[element].RecordClass(**columns[element])
        return {key: record for key in wanted if key == record.dataId.required_values}

    def others(self, *_: object) -> set[str]:
        return set()


def test_made_by_whoever_is_handed_in(repository: Repository, tmp_path: Path) -> None:
    """An import has no instrument and no sky map of its own."""
    export = tmp_path / "export.yaml"
    text = (
        "{description: Butler Data Repository Export, version: 1.0.2, universe_version: 7, "
        "universe_namespace: daf_butler, data: ["
        "{type: dataset_type, name: bias, dimensions: [instrument, detector], storage_class: Exposure}, "
        "{type: dataset, dataset_type: bias, run: r, records: ["
        "{dataset_id: [!uuid 'c4b1a9b6-0e0b-4f0c-8f5f-0f3a0c4de001'], "
        "data_id: [{instrument: Cam, detector: %d}], path: a, formatter: lsst.a.AFormatter}]}]}"
    )
    export.write_text(text % 14)
    with pytest.raises(ConflictError, match=r"1 detector records, for bias: instrument=Cam, detector=14"):
        import_exports(repository, [export], missing="register", register=True, maker=OneDetector())
    assert count(repository, "detector") == count(repository, "instrument") == 0
    export.write_text(text % 13)
    with pytest.raises(ConflictError, match="2 of them can be made: --register"):
        import_exports(repository, [export], missing="register", maker=OneDetector())
    with pytest.raises(TypeError, match="maker"):
        import_exports(repository, [export], missing="register", register=True)
    result = import_exports(repository, [export], missing="register", register=True, maker=OneDetector())
    assert result.files[0].notices == [
        "Made 1 instrument records of Cam.",
        "Made 1 detector records of Cam.",
    ]
    assert repository.sql("SELECT instrument, id, full_name FROM detector") == [("Cam", 13, "D13")]
