"""Exports in the forms in which people send them: compressed, in other encodings, and what is none."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import sqlite3
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow
import pytest
from click.testing import CliRunner

from butler_replica.cli import main
from butler_replica.errors import ExportError
from butler_replica.exports import text as text_module
from butler_replica.exports.files import find_exports
from butler_replica.exports.model import ExportFile
from butler_replica.exports.reader import read_export
from butler_replica.exports.records import Records
from kit.exports import write_raws


def zstd(data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}

FORMS: dict[str, Callable[[bytes], bytes]] = {
    **PACKINGS,
    "UTF-8 with a mark": lambda text: b"\xef\xbb\xbf" + text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CRLF with a mark": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
    "PowerShell": lambda text: text.decode().replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.decode().encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.decode().encode("utf-16-le"),
    "UTF-16-BE without a mark": lambda text: text.decode().encode("utf-16-be"),
    "UTF-32": lambda text: text.decode().encode("utf-32"),
    "PowerShell, gz": lambda text: gzip.compress(text.decode().replace("\n", "\r\n").encode("utf-16")),
    **{
        f"{name}, in two parts": lambda text, pack=pack: pack(text[:5000]) + pack(text[5000:])
        for name, pack in PACKINGS.items()
    },
    "gz, padded": lambda text: gzip.compress(text) + b"\0" * 512,
}
"""What an export may look like."""


def content(export: ExportFile) -> list[object]:
    blocks = [(block.dataset_type, block.run, list(block.records)) for block in export.blocks]
    return [export.universe_version, export.dimensions, export.collections, export.dataset_types, blocks]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of some 1.5 megabytes, so that it is read in pieces; one name in it is not of ASCII."""
    folder = tmp_path_factory.mktemp("plain")
    export = write_raws(folder, exposures=2, detectors=2500, one_file=True)
    export.write_text(export.read_text().replace("purpose: SCIENCE", "purpose: SCIENCÉ", 1))
    assert export.stat().st_size > 1 << 20
    return export


@pytest.fixture(scope="module")
def plain_content(plain: Path) -> list[object]:
    return content(read_export(plain))


def test_returns_alone_end_lines(plain: Path, plain_content: list[object], tmp_path: Path) -> None:
    (tmp_path / "export.yaml").write_bytes(plain.read_bytes().replace(b"\n", b"\r"))
    assert content(read_export(tmp_path / "export.yaml")) == plain_content


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_read_as_the_plain_file(
    plain: Path, plain_content: list[object], tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "export"
    path.write_bytes(FORMS[form](plain.read_bytes()))
    fast, told = [], []
    extend_columns = Records.extend_columns

    def counted(self: Records, keys: object, ids: list[bytes], *more: object) -> None:
        fast.append(len(ids))
        extend_columns(self, keys, ids, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "extend_columns", counted)
    assert content(read_export(path, told.append)) == plain_content
    assert sum(fast) == 5000, "not by the fast reader"
    # Progress is told in bytes of the file as it is.
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


@pytest.mark.parametrize("form", ["zst", "PowerShell, gz"])
def test_by_the_parser(plain: Path, plain_content: list[object], tmp_path: Path, form: str) -> None:
    text = plain.read_text().replace("detector: 7\n", "detector: 7   # seven\n")
    path = tmp_path / "export"
    path.write_bytes(FORMS[form](text.encode()))
    assert content(read_export(path)) == plain_content


def test_folders(plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    names = ["a.yaml", "b.yaml.gz", "c.yaml.zst", "d.yaml.bz2", "e.yaml.xz"]
    for name in [*names, "f.txt.gz", "g.yaml.bak", "h.gz", "i.yaml.mod"]:
        (folder / name).write_bytes(b"")
    os.mkfifo(folder / "z.yaml")
    assert [path.name for path in find_exports([folder])] == names
    assert [path.name for path in find_exports([f"{folder}/*.gz"])] == ["b.yaml.gz", "f.txt.gz", "h.gz"]


@pytest.mark.parametrize("name", ["export.yaml.gz", "export.yaml"])
def test_import(make_repository: Callable[..., object], tmp_path: Path, name: str) -> None:
    export = write_raws(tmp_path / "sent", exposures=2, detectors=3)
    packed = export.with_name(name)
    packed.write_bytes(gzip.compress(export.read_bytes()))
    export.unlink()
    repository = make_repository()
    for number in (6, 0):
        done = CliRunner().invoke(main, ["import", str(repository), str(tmp_path / "sent")])
        assert done.exit_code == 0, done.output
        assert f"{number} inserted" in done.output
    assert CliRunner().invoke(main, ["verify", str(repository), str(packed)]).exit_code == 0


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kept", [0.999, 0.5, 40])
def test_cut(plain: Path, tmp_path: Path, packing: str, kept: float) -> None:
    path = tmp_path / f"export.yaml.{packing}"
    packed = PACKINGS[packing](plain.read_bytes()[:100_000])
    path.write_bytes(packed[: int(kept if kept > 1 else kept * len(packed))])
    with pytest.raises(
        ExportError, match=r"export\.yaml.*(ends before|damaged).*(Is the file complete|Copy)"
    ):
        read_export(path)


@pytest.mark.parametrize("packing", PACKINGS)
def test_damaged(plain: Path, tmp_path: Path, packing: str) -> None:
    packed = bytearray(PACKINGS[packing](plain.read_bytes()[:100_000]))
    for place in range(len(packed) // 2, len(packed) // 2 + 200):
        packed[place] ^= 0x55
    path = tmp_path / f"export.yaml.{packing}"
    path.write_bytes(packed)
    with pytest.raises(ExportError, match=r"damaged|no valid YAML|has no|ends before"):
        read_export(path)


@pytest.mark.parametrize("form", ["gz", "PowerShell", "CRLF"])
def test_cut_before_it_was_packed(plain: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / "export"
    path.write_bytes(FORMS[form](plain.read_bytes()[:-20]))
    with pytest.raises(ExportError, match="middle of a line"):
        read_export(path)


def tar(member: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("export.yaml")
        info.size = len(member)
        archive.addfile(info, io.BytesIO(member))
    return out.getvalue()


def zipped(member: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("export.yaml", member)
    return out.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "database") as connection:
        connection.execute("CREATE TABLE a (b)")
    return (folder / "database").read_bytes()


STRANGERS: dict[str, tuple[Callable[[bytes, Path], bytes], str]] = {
    "zip": (lambda text, folder: zipped(text), "a zip archive. Unpack it"),
    "tar": (lambda text, folder: tar(text), "a tar archive. Unpack it"),
    "tar.gz": (lambda text, folder: gzip.compress(tar(text)), "a tar archive, compressed by gzip. Unpack it"),
    "tar.xz": (lambda text, folder: lzma.compress(tar(text)), "a tar archive, compressed by xz. Unpack it"),
    "gz of gz": (lambda text, folder: gzip.compress(gzip.compress(text)), "compressed twice"),
    "page": (lambda text, folder: b"\n<!DOCTYPE html>\n<html><body>Log in</body></html>\n", "a web page"),
    "pointer": (
        lambda text, folder: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "a Git LFS pointer.*git lfs pull",
    ),
    "database": (lambda text, folder: database(folder), "an SQLite database"),
    "FITS": (lambda text, folder: b"SIMPLE  =                    T" + b" " * 2850, "a FITS file"),
    "pzstd": (lambda text, folder: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(text), "zstd -d"),
    "nothing": (lambda text, folder: b"", "is empty"),
    "gz of nothing": (lambda text, folder: gzip.compress(b""), "is empty"),
    "UTF-16, cut": (lambda text, folder: text.decode().encode("utf-16")[:-1], "no valid YAML: .*utf-16"),
    "zeros": (lambda text, folder: b"\0" * 4096, "no valid YAML|middle of a line"),
}
"""What is taken for an export, and what is said."""


@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_no_export(plain: Path, tmp_path: Path, what: str) -> None:
    make, words = STRANGERS[what]
    path = tmp_path / "export.yaml"
    path.write_bytes(make(plain.read_bytes(), tmp_path))
    with pytest.raises(ExportError, match=words) as caught:
        read_export(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("what", ["pipe", "socket", "device", "folder", "link to a pipe"])
@pytest.mark.parametrize("verb", ["import", "verify"])
def test_what_is_no_file(
    make_repository: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    verb: str,
) -> None:
    """Neither hangs, whoever may write to a pipe or not."""
    path = tmp_path / "export.yaml"
    listener = socket.socket(socket.AF_UNIX)
    match what:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(tmp_path)
            listener.bind("export.yaml")
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe")
    with listener:
        done = CliRunner().invoke(main, [verb, str(make_repository()), str(path)])
    assert done.exit_code == 1, done.output
    said = "named pipe" if "pipe" in what else what
    assert f"{said}; an export is a file" in done.output or "holds no export file" in done.output


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_UNSUSPECTED", 1 << 20)
    path = tmp_path / "export.yaml.gz"
    path.write_bytes(gzip.compress(b"description: '" + b"a " * (20 << 20) + b"'\n"))
    tracemalloc.start()
    try:
        with pytest.raises(ExportError, match="expands to more than 200 times its size"):
            read_export(path)
        assert tracemalloc.get_traced_memory()[1] < 25 << 20
    finally:
        tracemalloc.stop()
