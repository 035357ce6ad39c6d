"""The sample: layout, export files as the stock reader reads them, artifacts, determinism, refusals."""

from __future__ import annotations

import hashlib
import json
import pickletools
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.time
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from click.testing import CliRunner
from lsst.daf.butler import Butler, DatasetType, Timespan
from lsst.daf.butler.logging import ButlerLogRecords
from lsst.daf.butler.transfers import YamlRepoImportBackend

from butler_replica.cli import main
from butler_replica.collections.ensure import ensure_collections
from butler_replica.dimensions.instruments import instrument_named
from butler_replica.errors import ArtifactError, RefusedError, ReplicaError
from butler_replica.imports.importer import import_exports
from butler_replica.sample import SampleResult, make_sample
from butler_replica.sample.build import MANIFEST
from butler_replica.sets import load_description
from kit import PROJECT
from kit.stock import formatter_classes, stock_import

EXPOSURES, DETECTORS = 3, 2
FOREIGN = "/projects/HSC/repo/dc2/"
BACKUP = "dc2_ncsa_backup"
SCIENCE_RUN = "u/nsedaghat/Dataset0.1.1-sciCalexps/20220521T042355Z"
USER_RUNS = [
    SCIENCE_RUN,
    "u/nsedaghat/DLDataset0.0/20220108T003039Z",
    "u/nsedaghat/DLDataset0.0/20220112T182518Z",
    "u/nsedaghat/DLDataset0.0/20220119T010921Z",
    "u/nsedaghat/DLDataset0.0/20220119T130340Z",
    "u/nsedaghat/DLDataset0.1.1-diffs/20220522T064105Z",
    "u/nsedaghat/DLDataset0.1.1-templates/20220522T031531Z",
]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SampleResult:
    return make_sample(tmp_path_factory.mktemp("sample") / "repo", exposures=EXPOSURES, detectors=DETECTORS)


@pytest.fixture(scope="module")
def sample(result: SampleResult) -> Path:
    return result.directory


def contents(folder: Path) -> dict[str, str]:
    """Checksums of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def export_items(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    for item in yaml.safe_load(path.read_text())["data"]:
        if item["type"] == kind:
            yield item


def records(path: Path) -> Iterator[dict[str, Any]]:
    for item in export_items(path, "dataset"):
        for record in item["records"]:
            yield {"dataset_type": item["dataset_type"], "run": item["run"], **record}


@pytest.mark.parametrize(
    "pattern",
    [
        f"{BACKUP}/butler.yaml",
        f"{BACKUP}/2.2i/calib/DM-30694/curated/**/*.fits",
        f"{BACKUP}/2.2i/calib/DM-30694/unbounded/**/*.fits",
        f"{BACKUP}/2.2i/calib/PREOPS-301/unbounded/**/*.fits",
        f"{BACKUP}/2.2i/raw/all/raw/*/**/*.fits",
        *[f"{BACKUP}/{run}/**/*.fits" for run in USER_RUNS],
        "raw/_export_000.yaml",
        "raw/_export_001.yaml",
        "raw/_export_002.yaml",
        *[
            f"usdf_export_calib/{name}/{file}"
            for name in ("bfk", "camera")
            for file in ("_export_000.yaml", "_export_000.yaml.mod", "_files.txt")
        ],
        *[
            f"usdf_export_full_latest/{name}/_export_000.yaml"
            for name in (
                *("apdb_marker", "bfk", "bias", "calexp", "calexpBackground", "cal_ref_cat_2_2", "camera"),
                *(
                    f"{task}_{product}"
                    for task in ("assembleCoadd", "calibrate", "characterizeImage")
                    for product in ("config", "log", "metadata")
                ),
            )
        ],
        *[
            f"usdf_export/{name}/_export_000.yaml"
            for name in (
                *("flat", "dark", "bias", "calexp", "goodSeeingDiff_templateExp"),
                *("goodSeeingDiff_differenceExp", "goodSeeingDiff_diaSrcTable"),
            )
        ],
        "dp02_raws/export_raw.yaml",
        "dp02_raws/2.2i/raw/all/raw/2022????/**/*.fits",
    ],
)
def test_layout(sample: Path, pattern: str) -> None:
    assert any(path.is_file() for path in sample.glob(pattern))


def test_no_artifacts_beside_the_other_exports(sample: Path) -> None:
    for folder in ("raw", "usdf_export_calib", "usdf_export_full_latest", "usdf_export"):
        assert {path.suffix for path in (sample / folder).rglob("*") if path.is_file()} <= {
            ".yaml",
            ".mod",
            ".txt",
        }


def test_result_lists_what_is_there(result: SampleResult) -> None:
    exports = {str(p.relative_to(result.directory)) for p in result.directory.rglob("*export_*.yaml")}
    assert set(result.exports) == exports
    counts: dict[str, int] = {}
    for path in result.directory.glob("usdf_export_full_latest/*/*.yaml"):
        counts[path.parent.name] = sum(len(record["dataset_id"]) for record in records(path))
    assert result.datasets == counts
    assert result.datasets["raw"] == EXPOSURES * DETECTORS


def test_every_export_is_read_by_the_stock_importer(sample: Path, tmp_path: Path) -> None:
    Butler.makeRepo(tmp_path / "repo")
    butler = Butler.from_config(tmp_path / "repo", writeable=True)
    paths = sorted(sample.rglob("*export_*.yaml*"))
    assert len(paths) > 40
    for path in paths:
        with formatter_classes(path), path.open() as stream:
            backend = YamlRepoImportBackend(stream, butler)
        read = sum(len(dataset.refs) for datasets in backend.datasets.values() for dataset in datasets)
        assert read == sum(len(record["dataset_id"]) for record in records(path)) > 0, path
        with_chains = path.parts[-3].startswith("usdf_export_") and path.suffix == ".yaml"
        assert bool(backend.chains) == with_chains, path


def test_stock_import_of_raws_with_artifacts(sample: Path, tmp_path: Path) -> None:
    Butler.makeRepo(tmp_path / "repo")
    stock_import(tmp_path / "repo", sample / "dp02_raws/export_raw.yaml", sample / "dp02_raws", "symlink")
    butler = Butler.from_config(tmp_path / "repo")
    assert len(butler.query_datasets("raw", "2.2i/raw/all")) == 2 * DETECTORS
    assert len(butler.query_dimension_records("exposure")) == 2


@pytest.mark.parametrize(
    ("name", "dimensions", "storage_class", "formatter"),
    [
        (
            "raw",
            {"instrument", "exposure", "detector"},
            "Exposure",
            "lsst.obs.lsst.rawFormatter.LsstCamImSimRawFormatter",
        ),
        (
            "bfk",
            {"instrument", "detector"},
            "BrighterFatterKernel",
            "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter",
        ),
        (
            "flat",
            {"instrument", "detector", "physical_filter"},
            "ExposureF",
            "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter",
        ),
        (
            "cal_ref_cat_2_2",
            {"htm7"},
            "SimpleCatalog",
            "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter",
        ),
        ("skyMap", {"skymap"}, "SkyMap", "lsst.daf.butler.formatters.pickle.PickleFormatter"),
        (
            "goodSeeingDiff_diaSrcTable",
            {"instrument", "visit", "detector"},
            "DataFrame",
            "lsst.daf.butler.formatters.parquet.ParquetFormatter",
        ),
        (
            "assembleCoadd_log",
            {"skymap", "tract", "patch", "band"},
            "ButlerLogRecords",
            "lsst.daf.butler.formatters.logs.ButlerLogRecordsFormatter",
        ),
        ("calibrate_config", set(), "Config", "lsst.pipe.base.formatters.pexConfig.PexConfigFormatter"),
    ],
)
def test_dataset_types(
    sample: Path, name: str, dimensions: set[str], storage_class: str, formatter: str
) -> None:
    path = sample / "usdf_export_full_latest" / name / "_export_000.yaml"
    definition = next(export_items(path, "dataset_type"))
    assert dimensions <= set(definition["dimensions"])
    assert definition["storage_class"] == storage_class
    assert {record["formatter"] for record in records(path)} == {formatter}
    assert {frozenset(data_id) for record in records(path) for data_id in record["data_id"]} == {
        frozenset(dimensions)
    }


def test_paths_are_those_of_another_site(sample: Path) -> None:
    absolute, relative = set(), set()
    for path in sample.glob("raw/*.yaml"):
        for record in records(path):
            (absolute if record["path"].startswith(FOREIGN) else relative).add(record["path"])
    assert absolute and relative
    assert all(path.startswith("2.2i/raw/all/raw/2022") for path in relative)
    for path in sample.glob("usdf_export*/*/*.yaml"):
        assert all(record["path"].startswith(FOREIGN) for record in records(path))
    for path in sample.glob("usdf_export_calib/*/*.yaml"):
        listed = path.with_name("_files.txt").read_text().splitlines()
        assert sorted(listed) == sorted(record["path"] for record in records(path))
        modified = path.with_name(f"{path.name}.mod").read_text()
        assert FOREIGN not in modified and f"/repo/{BACKUP}/" in modified


def test_missing_artifacts_are_those_declared(result: SampleResult) -> None:
    missing: dict[str, list[str]] = {}
    for path in result.directory.glob("usdf_export_full_latest/*/*.yaml"):
        for record in records(path):
            relative = record["path"].removeprefix(FOREIGN)
            if not any((result.directory / folder / relative).exists() for folder in (BACKUP, "dp02_raws")):
                missing.setdefault(path.parent.name, []).append(relative)
    assert {name: sorted(paths) for name, paths in missing.items()} == {
        name: sorted(paths) for name, paths in result.missing.items()
    }
    assert {"raw", "bias", "calexp", "goodSeeingDiff_diaSrcTable"} <= set(missing)
    assert all(len(paths) < result.datasets[name] for name, paths in missing.items())
    assert json.loads((result.directory / MANIFEST).read_text())["missing"] == result.missing


def test_raws_of_the_user_are_in_the_pile_under_the_same_id(sample: Path) -> None:
    pile: dict[uuid.UUID, tuple[Any, ...]] = {}
    for path in sample.glob("raw/*.yaml"):
        for record in records(path):
            pile[record["dataset_id"][0]] = tuple(record["data_id"][0].items())
    assert len(pile) == EXPOSURES * DETECTORS
    user = {
        record["dataset_id"][0]: tuple(record["data_id"][0].items())
        for record in records(sample / "dp02_raws/export_raw.yaml")
    }
    assert 0 < len(user) < len(pile)
    assert user.items() <= pile.items()
    assert {dataset_id.version for dataset_id in pile} == {5}


def test_raws_say_what_the_exposure_records_say(sample: Path) -> None:
    export = sample / "dp02_raws/export_raw.yaml"
    exposures = {
        record["id"]: record
        for item in export_items(export, "dimension")
        if item["element"] == "exposure"
        for record in item["records"]
    }
    detectors = instrument_named("LSSTCam-imSim").detectors
    for record in records(export):
        data_id = record["data_id"][0]
        exposure = exposures[data_id["exposure"]]
        header = fits.getheader(sample / "dp02_raws" / record["path"])
        assert header["OBSID"] == exposure["id"]
        assert header["TESTTYPE"] == "IMSIM"
        assert header["CHIPID"] == "_".join(detectors[data_id["detector"]])
        assert header["FILTER"] == exposure["physical_filter"][0]
        assert header["RATEL"] == pytest.approx(exposure["tracking_ra"], abs=1e-12)
        assert header["ROTANGLE"] == pytest.approx(exposure["sky_angle"], abs=1e-12)
        begin = astropy.time.Time(header["DATE-OBS"], scale="tai")
        assert abs((begin - exposure["datetime_begin"]).sec) < 1e-6
        assert f"/{exposure['day_obs']}/" in record["path"]
        assert header["DATE-OBS"][:10].replace("-", "") == str(exposure["day_obs"])


def test_all_detectors_are_registered_for_visits(sample: Path) -> None:
    assert len({p.parent.name for p in (sample / "usdf_export").iterdir()}) == 1
    export = sample / "usdf_export/calexp/_export_000.yaml"
    elements = {item["element"]: item["records"] for item in export_items(export, "dimension")}
    # Newer butlers export the visit's definition and visit system, too.
    assert {"visit", "visit_detector_region"} <= set(elements)
    regions = {visit["id"]: visit["region"] for visit in elements["visit"]}
    for record in elements["visit_detector_region"]:
        assert regions[record["visit"]].contains(record["region"].getCentroid())


def test_artifacts_are_of_the_format_that_their_formatter_reads(sample: Path) -> None:
    backup = sample / BACKUP
    files = [path for path in backup.rglob("*") if path.is_file() and path.name != "butler.yaml"]
    assert {path.suffix for path in files} == {".fits", ".parq", ".pickle", ".json", ".py"}
    for path in files:
        if path.suffix == ".fits":
            with fits.open(path) as hdus:
                hdus.verify("exception")
                assert hdus[0].header["DATASET"] == path.name.split("_LSSTCam")[0].split("_14")[0]
        elif path.suffix == ".parq":
            assert pq.read_table(path).column_names == ["id", "ra", "dec", "flux"]
        elif path.name.startswith("skyMap"):
            names = [arg for _, arg, _ in pickletools.genops(path.read_bytes()) if isinstance(arg, str)]
            assert names == [
                "lsst.skymap.ringsSkyMap RingsSkyMap",
                "lsst.pex.config.config unreduceConfig",
                "lsst.skymap.ringsSkyMap RingsSkyMapConfig",
            ]
        elif "_log_" in path.name:
            assert len(ButlerLogRecords.from_file(str(path))) == 1
        elif path.suffix == ".json":
            assert set(json.loads(path.read_text())) == {"scalars", "arrays", "metadata"}


def test_collection_structure(sample: Path) -> None:
    export = sample / "usdf_export_full_latest/flat/_export_000.yaml"
    collections = {item["name"]: item for item in export_items(export, "collection")}
    assert collections["2.2i/calib"]["children"] == [
        "2.2i/calib/DM-30694",
        "2.2i/calib/gen2",
        "2.2i/calib/DM-30694/unbounded",
    ]
    assert collections["2.2i/defaults"]["children"] == [
        "2.2i/raw/all",
        "2.2i/calib",
        "skymaps",
        "refcats",
        "2.2i/truth_summary",
    ]
    assert collections["refcats"]["children"] == ["refcats/PREOPS-301"]
    types_ = {name: item["collection_type"] for name, item in collections.items()}
    assert types_["2.2i/calib/gen2"] == types_["2.2i/calib/DM-30694"] == "CALIBRATION"
    assert {types_[f"2.2i/calib/gen2/{t}T000000Z"] for t in ("20220101", "20220806", "20231201")} == {"RUN"}
    assert {types_[run] for run in USER_RUNS} == {"RUN"}
    [association] = export_items(export, "associations")
    [validity] = association["validity_ranges"]
    assert association["collection"] == "2.2i/calib/gen2"
    assert isinstance(validity["timespan"], Timespan)
    assert validity["timespan"].begin.isot.startswith("1995-03-22")
    assert len(validity["dataset_ids"]) == EXPOSURES * DETECTORS

    export = sample / "usdf_export/flat/_export_000.yaml"
    assert [item["name"] for item in export_items(export, "collection")] == [
        "2.2i/calib/gen2/20220806T000000Z"
    ]
    assert not list(export_items(export, "associations"))


@pytest.mark.slow
def test_equal_parameters_give_equal_samples(sample: Path, tmp_path: Path) -> None:
    again = make_sample(tmp_path / "again", exposures=EXPOSURES, detectors=DETECTORS)
    assert contents(again.directory) == contents(sample)


def test_rerun_changes_nothing(result: SampleResult) -> None:
    before = {p: p.stat().st_mtime_ns for p in result.directory.rglob("*")}
    again = make_sample(result.directory, exposures=EXPOSURES, detectors=DETECTORS)
    assert not again.changed and again.diff() == []
    assert {p: p.stat().st_mtime_ns for p in result.directory.rglob("*")} == before
    assert again.to_dict() == result.to_dict()


@pytest.mark.slow
def test_an_interrupted_sample_is_continued(sample: Path, tmp_path: Path) -> None:
    whole = contents(sample)
    folder = tmp_path / "part"
    shutil.copytree(sample, folder)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "complete": False}))
    next(folder.glob("dp02_raws/**/*.fits")).unlink()
    assert make_sample(folder, exposures=EXPOSURES, detectors=DETECTORS).changed
    assert contents(folder) == whole


def test_dry_run_writes_nothing(result: SampleResult, tmp_path: Path) -> None:
    planned = make_sample(tmp_path / "new", exposures=EXPOSURES, detectors=DETECTORS, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert planned.changed and planned.diff()
    assert (planned.datasets, planned.missing, planned.exports) == (
        result.datasets,
        result.missing,
        result.exports,
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("raw", "", "holds raw, which are not of a sample"),
        (MANIFEST, "{}", "does not describe a sample"),
        (
            MANIFEST,
            '{"layout": 1, "exposures": 9, "detectors": 2, "complete": true}',
            "sample of 9 exposures and 2 detectors",
        ),
    ],
)
def test_a_folder_with_anything_else_is_refused(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(RefusedError, match=said):
        make_sample(tmp_path, exposures=EXPOSURES, detectors=DETECTORS)
    assert contents(tmp_path).keys() == {file}
    assert (tmp_path / file).read_text() == text


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    for size in ({"exposures": 1}, {"detectors": 190}, {"detectors": 1}):
        with pytest.raises(ReplicaError, match="2 or more exposures and 2 to 189 detectors"):
            make_sample(tmp_path / "no", **size)
    assert not (tmp_path / "no").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError, match="is no folder"):
        make_sample(tmp_path / "file", exposures=2, detectors=2)
    with pytest.raises(ArtifactError, match="Not a directory"):
        make_sample(tmp_path / "file" / "below", exposures=2, detectors=2)


def test_command_line(result: SampleResult, tmp_path: Path) -> None:
    arguments = ["--exposures", str(EXPOSURES), "--detectors", str(DETECTORS)]
    done = CliRunner().invoke(main, ["sample", str(result.directory), *arguments, "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["changed"] is False
    assert said["datasets"] == result.datasets
    assert said["missing"] == {name: len(paths) for name, paths in result.missing.items()}
    (tmp_path / "dp02_raws").mkdir()
    done = CliRunner().invoke(main, ["sample", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds dp02_raws" in done.output


@pytest.fixture(scope="module")
def description(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ``group_vars/dc2_replica/dc2.yml`` with its templates resolved for the sample."""
    source = (PROJECT / "group_vars/dc2_replica/dc2.yml").read_text()
    backup = f"{{{{ dc2_data_root }}}}/{BACKUP}"
    content = yaml.safe_load(
        source.replace("{{ __dc2_backup }}", backup).replace("{{ dc2_data_root }}", str(sample))
    )
    for import_set in content["dc2_import_sets"]:
        if import_set["rewrite"]:
            assert import_set["rewrite"] == "{{ __dc2_rewrite }}"
            import_set["rewrite"] = content["__dc2_rewrite"]
    path = tmp_path_factory.mktemp("description") / "dc2.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_import_sets_find_the_sample(description: Path, sample: Path) -> None:
    sets, collections = load_description(description)
    assert [one.name for one in sets] == [
        *("skymap", "curated_bfk", "curated_camera", "refcats", "raw_with_artifacts", "raw_pile"),
        *("gen2_calibrations", "gen2_validity", "products"),
    ]
    for one in sets:
        for export in one.exports:
            assert Path(export).is_relative_to(sample) and Path(export).exists()
    chains = {item.name: item.children for item in collections if item.type == "CHAINED"}
    described = {item.name for item in collections}
    assert set(chains) == {"refcats", "2.2i/calib", "2.2i/defaults"}
    assert all(child in described for children in chains.values() for child in children)


def test_import_set_by_set(description: Path, result: SampleResult, tmp_path: Path) -> None:
    Butler.makeRepo(tmp_path / "repo")
    inputs = contents(result.directory)
    sets, collections = load_description(description)
    stored = 0
    for one in sets:
        done = import_exports(
            tmp_path / "repo",
            one.exports,
            artifacts=one.artifacts,
            rewrite=one.rewrite,
            collections=one.collections,
            missing=one.missing,
            transfer=one.transfer,
        )
        stored += done.to_dict()["datasets"]["stored"]
    butler = Butler.from_config(tmp_path / "repo")
    raws = butler.query_datasets("raw", "2.2i/raw/all")
    assert len(raws) == result.datasets["raw"]
    missing = [ref for ref, there in butler.stored_many(raws).items() if not there]
    assert len(missing) == len(result.missing["raw"])
    calexps = butler.query_datasets("calexp", USER_RUNS, find_first=False)
    assert len(calexps) == result.datasets["calexp"] - len(result.missing["calexp"])
    assert all(butler.stored_many(calexps).values())
    assert stored > 0
    assert contents(result.directory) == inputs
    ensure_collections(tmp_path / "repo", collections)
    assert_calibrations_are_found(tmp_path / "repo")


def assert_calibrations_are_found(repo: Path) -> None:
    """Look for them as the stock Butler.get does, without reading what takes the Science Pipelines to read."""
    butler = Butler.from_config(repo, collections="2.2i/defaults")
    raw = min(butler.query_datasets("raw"), key=lambda ref: ref.dataId.required_values)
    for kind in ("bias", "dark", "flat", "bfk", "camera"):
        assert Path(butler.getURI(kind, raw.dataId).ospath).stat().st_size > 0, kind


def test_an_artifact_is_read_by_the_butler(sample: Path, tmp_path: Path) -> None:
    Butler.makeRepo(tmp_path / "repo")
    import_exports(
        tmp_path / "repo",
        [sample / "usdf_export_full_latest/calibrate_log"],
        rewrite=[(FOREIGN, str(sample / BACKUP))],
        collections="drop",
    )
    butler = Butler.from_config(tmp_path / "repo")
    assert isinstance(butler.get_dataset_type("calibrate_log"), DatasetType)
    [first, *_] = butler.query_datasets("calibrate_log", SCIENCE_RUN)
    [record] = butler.get(first)
    assert record.MDC == {"LABEL": "calibrate"}
