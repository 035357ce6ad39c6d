"""Reading export files."""

from __future__ import annotations

import base64
import random
import uuid
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import CollectionType, Timespan
from lsst.sphgeom import Angle, Box, Circle, Region, UnitVector3d

from butler_replica.errors import ExportError, ReplicaError
from butler_replica.exports.files import find_exports
from butler_replica.exports.reader import read_export

EXPORT = """\
description: Butler Data Repository Export
version: 1.0.2
universe_version: 7
universe_namespace: daf_butler
data:
- type: dimension
  element: instrument
  records:
  - name: Cam
    visit_max: 10
    exposure_max: 10
    detector_max: 10
    class_name: nowhere.Cam
- type: collection
  collection_type: RUN
  name: run/a
  host: null
  timespan_begin: null
  timespan_end: null
- type: dataset_type
  name: bias
  dimensions:
  - instrument
  - detector
  storage_class: ExposureF
  is_calibration: true
- type: dataset
  dataset_type: bias
  run: run/a
  records:
  - dataset_id:
    - !uuid '05275b86-a3cf-4924-b2d7-e6cb54312cba'
    data_id:
    - instrument: Cam
      detector: 1
    path: bias_1.fits
    formatter: nowhere.Formatter
  - dataset_id:
    - !uuid '05275b86-a3cf-4924-b2d7-e6cb54312cbb'
    data_id:
    - instrument: Cam
      detector: 2
    path: bias_2.fits
    formatter: nowhere.Formatter
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "export.yaml"
        path.write_text(text)
        return path

    return write


def test_same_as_the_slow_loader(shared_exports: Path) -> None:
    """Every value of every shared export is what PyYAML's own safe loader makes of it."""
    for path in sorted(shared_exports.glob("*.yaml")):
        if path.stat().st_size > 150_000:
            continue
        text = path.read_text()
        if "calibration_label" in text:
            continue  # converted by the reader: see test_calibration_labels
        document = yaml.safe_load(text)
        export = read_export(path)
        dimensions: dict[str, list[object]] = {}
        records = []
        for item in document["data"]:
            if item["type"] == "dimension":
                dimensions.setdefault(item["element"], []).extend(item["records"])
            elif item["type"] == "dataset":
                records += [(r["data_id"], r.get("path"), r.get("formatter")) for r in item["records"]]
        assert export.dimensions == dimensions
        assert [
            (list(r.data_ids), r.path, r.formatter) for block in export.blocks for r in block.records
        ] == records


def test_any_order_flow_style_anchors_and_comments(write) -> None:
    path = write(
        """# a comment
data:
- {records: [{formatter: f.F, path: &p a.fits, data_id: {instrument: Cam}, dataset_id: 7}],
   run: r, type: dataset, dataset_type: camera}
- {type: run, name: "r:1"}
- type: associations
  collection: c
  collection_type: CALIBRATION
  validity_ranges:
  - {begin: 2020-01-01 00:00:00, end: null, dataset_ids: [7]}
- {type: collection, name: *p, collection_type: CHAINED, children: [r, [old, [bias]]]}
version: 0
"""
    )
    export = read_export(path)
    (record,) = export.blocks[0].records
    # The UUID that lsst.daf.butler.transfers gives to the integer 7.
    namespace = uuid.UUID("4d4851f4-2890-4d41-8779-5f38a3f5062b")
    assert record.ids == (uuid.uuid3(namespace, "7"),)
    assert record.data_ids == ({"instrument": "Cam"},)
    assert export.collections["r:1"].type is CollectionType.RUN
    assert export.collections["a.fits"].children == ("r", "old")
    assert export.certifications["c"][0].ids == [record.ids[0]]
    assert isinstance(export.certifications["c"][0].timespan, Timespan)


def test_early_2020(write) -> None:
    """Runs had numbers, and datasets named that of their run; formatters stood in other modules."""
    path = write(
        """version: 0
data:
- {type: run, id: 6, collection: masks, start_time: null, pipeline: null}
- {type: dataset, dataset_type: mask, run_id: 6, records: [{dataset_id: 3, data_id: {tract: 0}, path: a.fits,
   formatter: lsst.daf.butler.formatters.fitsCatalogFormatter.FitsCatalogFormatter}]}
"""
    )
    export = read_export(path)
    assert [block.run for block in export.blocks] == ["masks"]
    assert export.collections["masks"].type is CollectionType.RUN
    (record,) = export.blocks[0].records
    assert record.formatter == "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter"
    assert "June 2020" in export.notices[0]
    with pytest.raises(ExportError, match="datasets of run 7, and no such run before them"):
        read_export(write(path.read_text().replace("run_id: 6", "run_id: 7")))


def test_last_line_without_newline(write) -> None:
    """As some editors leave it: taken where the name of a formatter cannot have been cut."""
    text = EXPORT.replace("nowhere.Formatter", "lsst.some.fitsFormatter.FitsFormatter")
    (whole,) = read_export(write(text)).blocks
    (block,) = read_export(write(text[:-1])).blocks
    assert list(block.records) == list(whole.records)
    with pytest.raises(ExportError, match="middle of a line"):
        read_export(write(text[: text.rindex(".FitsFormatter")]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "holds nothing"),
        ("just text\n", "no butler export"),
        ("- a\n- b\n", "no butler export"),
        ("a: 1\n", "no butler export"),
        ("data: []\n", "no 'version'"),
        ("version: 1.0.0\ndata: nonsense\n", "no list"),
        ("version: 1.0.0\ndata:\n- nonsense\n", "no mapping"),
        ("version: 1.0.0\ndata:\n- {type: nonsense}\n", "unknown type 'nonsense'"),
        ("a: [1, 2\nb: 3\n", "no valid YAML"),
        ("\x00\x01\n", "no valid YAML"),
        (EXPORT.replace("1.0.2", "1.1.0"), "format 1.1.0"),
        (EXPORT.replace("1.0.2", "2.0.0"), "format 2.0.0"),
        (EXPORT.replace("1.0.2", "x.y"), "no version"),
        (EXPORT[:-10], "middle of a line"),
        (EXPORT[: EXPORT.rindex("    formatter")], "no formatter"),
        (EXPORT[: EXPORT.rindex("    data_id")], "no 'data_id'"),
        (EXPORT.replace("05275b86", "zzz"), "UUID is expected"),
        (EXPORT.replace("path: bias_1.fits", "path: [1]"), "no text"),
        (EXPORT.replace("  - name: Cam", "  - name: !nonsense Cam"), "not known here"),
        (EXPORT + "---\na: 1\n", "more than one"),
    ],
)
def test_bad_input_is_named(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(ExportError) as raised:
        read_export(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_no_prefix_of_an_export_passes_for_the_whole(write) -> None:
    """Cut anywhere but between two records, a file is refused."""
    whole = read_export(write(EXPORT))
    accepted = []
    for end in range(len(EXPORT)):
        try:
            export = read_export(write(EXPORT[:end]))
        except ExportError:
            continue
        accepted.append(EXPORT[:end])
        assert export.n_datasets < whole.n_datasets or export.blocks == whole.blocks
    assert all(text.endswith("\n") for text in accepted)
    # Whatever is accepted ends with a complete item or record.
    for text in accepted:
        rest = EXPORT[len(text) :]
        assert rest.startswith(("- ", "  - ", "  is_calibration", "  host", "  timespan", "    ")), rest[:40]
        assert "path:" not in text.splitlines()[-1] or "bias_1" in text.splitlines()[-1]


def test_mutations_give_an_export_or_an_error(write, shared_exports: Path) -> None:
    text = (shared_exports / "ap_verify_testdata.20201001.e02bdec.yaml").read_text()
    generator = random.Random(1)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(150):
        lines = text.splitlines(keepends=True)
        at = generator.randrange(len(lines))
        match generator.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines[at] = lines[at][: generator.randrange(len(lines[at]))] + "\n"
            case 2:
                lines[at] = lines[at].replace(":", generator.choice(["", ": [", ": {", ": !x ", ": &a *a "]))
            case 3:
                lines = lines[:at]
        try:
            read_export(write("".join(lines)))
            outcomes["read"] += 1
        except ExportError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20
    assert outcomes["read"] > 5


class TestFindExports:
    def test_folders_files_and_globs(self, tmp_path: Path) -> None:
        for name in (
            "b/_export_001.yaml",
            "b/_export_000.yaml",
            "b/_export_000.yaml.mod",
            "c/x.yaml",
            "b/_files.txt",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        chunks = [tmp_path / "b/_export_000.yaml", tmp_path / "b/_export_001.yaml"]
        assert find_exports([tmp_path / "b"]) == chunks
        assert find_exports([chunks[1], tmp_path / "b"]) == chunks[::-1]
        assert find_exports([f"{tmp_path}/*/_export_*.yaml"]) == chunks
        assert find_exports([f"{tmp_path}/?"]) == [*chunks, tmp_path / "c/x.yaml"]

    def test_nothing_found(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "x.yaml").touch()
        with pytest.raises(ReplicaError, match="no such file"):
            find_exports([tmp_path / "nowhere"])
        with pytest.raises(ReplicaError, match="Its subfolders do"):
            find_exports([tmp_path / "a"])
        with pytest.raises(ReplicaError, match="No export was given"):
            find_exports([])


class TestOldForms:
    """What exporters have written since 2020, where a YAML loader alone does not do."""

    @staticmethod
    def tract(region: str) -> str:
        return f"""\
version: 0
data:
- type: dimension
  element: tract
  records:
  - {{skymap: sky, id: 1, region: {region}}}
"""

    def test_region_of_early_2020(self, write) -> None:
        region = Circle(UnitVector3d(1, 0, 0), Angle(0.1))
        encoded = base64.b64encode(region.encode()).decode()
        pickled = f"!!python/object/new:lsst.sphgeom.circle.Circle {{state: !!binary {encoded}}}"
        export = read_export(write(self.tract(pickled)))
        assert export.dimensions["tract"][0]["region"] == region

    @pytest.mark.parametrize(
        "region", [Circle(UnitVector3d(1, 0, 0), Angle(0.1)), Box.fromDegrees(0, 0, 1, 1)]
    )
    def test_other_regions(self, write, region: Region) -> None:
        text = yaml.dump(region, default_flow_style=True).strip()
        export = read_export(write(self.tract(text)))
        assert export.dimensions["tract"][0]["region"] == region

    def test_objects_are_not_made(self, write, tmp_path: Path) -> None:
        made = tmp_path / "made"
        with pytest.raises(ExportError, match="not known here"):
            read_export(write(self.tract(f"!!python/object/apply:os.mkdir [{made}]")))
        assert not made.exists()

    def test_scalars_of_records(self, write) -> None:
        """One id and one data id without lists, a null formatter, text that looks like something else."""
        export = read_export(
            write(
                """\
version: 1.0.0
data:
- {type: collection, collection_type: RUN, name: 'u/me:2', host: h, timespan_begin: null, timespan_end: null}
- {type: dataset_type, name: a, dimensions: [instrument], storage_class: S}
- type: dataset
  dataset_type: a
  run: 'u/me:2'
  records:
  - {dataset_id: 1, data_id: {instrument: '007'}, path: 'dir: a#b.fits', formatter: null}
  - dataset_id: [2, 3]
    data_id: [{instrument: 'null'}, {instrument: '2020-01-01'}]
    path: both.fits
- {type: dataset_type, name: empty, dimensions: [], storage_class: S}
- {type: dataset, dataset_type: empty, run: 'u/me:2', records: []}
"""
            )
        )
        records = [(tuple(r.data_ids), r.path, r.formatter) for r in export.blocks[0].records]
        assert records == [
            (({"instrument": "007"},), "dir: a#b.fits", None),
            (({"instrument": "null"}, {"instrument": "2020-01-01"}), "both.fits", None),
        ]
        assert not export.dataset_types["a"].is_calibration
        assert export.n_datasets == 3
        assert export.collections["u/me:2"].type is CollectionType.RUN

    def test_native_times(self, write) -> None:
        """Until July 2020 times were those of YAML itself, in UTC."""
        export = read_export(
            write(
                """\
version: 0
data:
- type: dimension
  element: visit
  records:
  - {instrument: Cam, id: 1, datetime_begin: 2020-01-01 00:00:00, datetime_end: 2020-01-01 00:01:00.5}
"""
            )
        )
        (visit,) = export.dimensions["visit"]
        assert visit["datetime_begin"].tai.isot == "2020-01-01T00:00:37.000"
        assert visit["datetime_end"].tai.isot == "2020-01-01T00:01:37.500"
