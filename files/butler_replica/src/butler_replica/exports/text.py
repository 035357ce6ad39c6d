"""The text of an export file as it is sent: compressed or not, in UTF-8 or UTF-16, with line ends of whichever system.

Everything streams: some megabytes are in memory at a time, however much a
file expands to.
"""

from __future__ import annotations

__all__ = ["SUFFIXES", "ExportText"]

import bz2
import codecs
import gzip
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow

from ..errors import ExportError

SUFFIXES = ("", ".gz", ".zst", ".bz2", ".xz")
"""What the name of an export may have behind ``.yaml``; what it is packed in is told by its content."""

_READ = 1 << 20
_EXPANSION = 200
"""How many times its size an export expands to at most; the identifiers of datasets alone keep real ones below 30."""

_UNSUSPECTED = 1 << 28
"""Bytes that any file may expand to."""

_TRUNCATED = "Is the file complete? Copy or export it again."
_WHOLE_RECORD = re.compile(rb"\n +formatter: [\w.]+\.[A-Z]\w*Formatter\Z")
"""A last line without newline that cannot be cut: editors leave some."""

_LAST_LINE = 1_000


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Packing(NamedTuple):
    """A way of compressing."""

    name: str
    start: bytes
    open: Callable[[BinaryIO], _Stream]


def _open_gzip(raw: BinaryIO) -> _Stream:
    return gzip.GzipFile(fileobj=raw, mode="rb")


def _open_zstd(raw: BinaryIO) -> _Stream:
    stream: _Stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")
    return stream


_PACKINGS = (
    _Packing("gzip", b"\x1f\x8b", _open_gzip),
    _Packing("zstd", b"\x28\xb5\x2f\xfd", _open_zstd),
    _Packing("bzip2", b"BZh", bz2.BZ2File),
    _Packing("xz", b"\xfd7zXZ\0", lzma.LZMAFile),
)

_ENCODINGS = (
    (re.compile(codecs.BOM_UTF32_LE + b"|" + codecs.BOM_UTF32_BE), "utf-32"),
    (re.compile(codecs.BOM_UTF16_LE + b"|" + codecs.BOM_UTF16_BE), "utf-16"),
    # Without a mark: the first letter of an export is one of ASCII.
    (re.compile(rb"[\n -~]\0(?!\0)"), "utf-16-le"),
    (re.compile(rb"\0[\n -~]"), "utf-16-be"),
)
"""How text begins that is not in UTF-8."""

_UNPACK = "Unpack it and name the export that is in it."
_NO_EXPORT = "Butler exports begin with 'description: Butler Data Repository Export'."
_STRANGERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"PK(\x03\x04|\x05\x06)"), "a zip archive", _UNPACK),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive", _UNPACK),
    (re.compile(rb"7z\xbc\xaf"), "a 7z archive", _UNPACK),
    (re.compile(rb"Rar!"), "a rar archive", _UNPACK),
    (re.compile(rb"\x04\x22\x4d\x18"), "compressed by lz4", "Unpack it: lz4 -d."),
    (
        re.compile(rb"[\x50-\x5f]\x2a\x4d\x18"),
        "compressed by zstd in frames of its own",
        "Unpack it: zstd -d.",
    ),
    (re.compile(rb"\x1f[\x9d\xa0]"), "compressed by compress", "Unpack it: gzip -d."),
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "a Git LFS pointer, which stands for a file that is elsewhere",
        "Get the file: git lfs pull.",
    ),
    (
        re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE),
        "a web page",
        "Was a login or an error page downloaded in place of the export? Download it again.",
    ),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database", _NO_EXPORT),
    (re.compile(rb"PGDMP"), "a dump of PostgreSQL", _NO_EXPORT),
    (re.compile(rb"SIMPLE  ="), "a FITS file", "It is an artifact, perhaps; name the export that has it."),
    (re.compile(rb"\x89HDF\r\n"), "an HDF5 file", "It is an artifact, perhaps; name the export that has it."),
    (re.compile(rb"PAR1"), "a Parquet file", "It is an artifact, perhaps; name the export that has it."),
    (re.compile(rb"%PDF-"), "a PDF document", _NO_EXPORT),
)
"""How files begin that are taken for exports by mistake, what they are, and what to do."""

_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISCHR, "is a device"),
)


class ExportText:
    """Reads an export file as UTF-8 text with Unix line ends.

    Parameters
    ----------
    path : `pathlib.Path`
        The file; it is only read.
    tell : `~collections.abc.Callable`
        Called with the number of bytes of the file that are read.

    Raises
    ------
    ExportError
        Raised, here and by `read`, if it is no file, none that could be an
        export, damaged, or truncated.
    OSError
        Raised if it cannot be read.
    """

    def __init__(self, path: Path, tell: Callable[[int], None] = lambda _: None) -> None:
        self._path = path
        self._tell = tell
        self._raw = os.fdopen(_open(path), "rb")
        self._packing = ""
        self._n_read = 0
        self._end = b""
        try:
            self._stream = self._unpacked()
            self._decoder = self._make_decoder()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> ExportText:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def read(self, size: int = _READ) -> bytes:
        """Return some more of the text, of whatever length; empty at its end."""
        while True:
            packed = self._read(size)
            text = self._decoder.decode(packed)
            if text or not packed:
                break
        self._n_read += len(text)
        self._tell(self._raw.tell())
        if self._packing:
            self._check_expansion()
        if text:
            self._end = (self._end + text[-_LAST_LINE:])[-_LAST_LINE:]
        else:
            self._check_end()
        return text

    def _unpacked(self) -> _Stream:
        """Return the content, from its first byte on."""
        head = self._raw.read(_LAST_LINE)
        self._raw.seek(0)
        self._check_start(head)
        packing = _packing_of(head)
        if packing is None:
            return self._raw
        self._packing = packing.name
        self._stream = packing.open(self._raw)
        inner = self._read(_LAST_LINE)
        self._check_start(inner)
        if _packing_of(inner):
            raise ExportError(self._path, "is compressed twice.", remedy="Unpack it once.")
        return _Rest(inner, self._stream)

    def _check_start(self, head: bytes) -> None:
        for pattern, what, remedy in _STRANGERS:
            if pattern.match(head):
                packed = f", compressed by {self._packing}" if self._packing else ""
                raise ExportError(self._path, f"is no export but {what}{packed}.", remedy=remedy)

    def _make_decoder(self) -> _Decoder:
        head = self._read(_LAST_LINE)
        encoding = _encoding_of(head)
        self._stream = _Rest(head.removeprefix(codecs.BOM_UTF8), self._stream)
        return _Decoder(encoding)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError as error:
            raise self._cut() from error
        except (zlib.error, lzma.LZMAError) as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._cut() if "Truncated" in str(error) else self._damaged(error) from error

    def _cut(self) -> ExportError:
        return ExportError(
            self._path, f"ends before what was compressed by {self._packing} does.", remedy=_TRUNCATED
        )

    def _damaged(self, error: Exception) -> ExportError:
        return ExportError(
            self._path, f"is compressed by {self._packing} and damaged ({error}).", remedy="Copy it again."
        )

    def _check_expansion(self) -> None:
        if self._n_read > max(_UNSUSPECTED, _EXPANSION * self._raw.tell()):
            raise ExportError(
                self._path,
                f"expands to more than {_EXPANSION} times its size, as no export does.",
                remedy="Look at what is in it; if it is an export after all, unpack it.",
            )

    def _check_end(self) -> None:
        """Refuse a file that stops in the middle of a line: its last value may be cut."""
        if not self._end:
            raise ExportError(self._path, "is empty.", remedy=_TRUNCATED)
        if self._end[-1:] not in b"\n\r}]" and not _WHOLE_RECORD.search(self._end):
            raise ExportError(
                self._path,
                "ends in the middle of a line.",
                remedy=f"{_TRUNCATED} If it is, end it with a newline.",
            )


class _Rest:
    """A stream of which some bytes were read already."""

    def __init__(self, head: bytes, stream: _Stream) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._stream.read(size)


class _Decoder:
    """Makes UTF-8 and Unix line ends of pieces of text."""

    def __init__(self, encoding: str) -> None:
        self._incremental = codecs.getincrementaldecoder(encoding)() if encoding else None
        self._has_returns: bool | None = None
        self._held = b""

    def decode(self, data: bytes) -> bytes:
        """Return the text of some more bytes; empty ones are the end."""
        text = data
        if self._incremental is not None:
            text = self._incremental.decode(data, final=not data).encode()
        if self._has_returns is None and b"\n" in text:
            self._has_returns = text[: text.index(b"\n")].endswith(b"\r")
        return self._with_newlines(text, final=not data) if self._has_returns else text

    def _with_newlines(self, text: bytes, *, final: bool) -> bytes:
        text = self._held + text
        self._held = b""
        if text.endswith(b"\r") and not final:
            text, self._held = text[:-1], b"\r"
        return text.replace(b"\r\n", b"\n")


def _packing_of(head: bytes) -> _Packing | None:
    return next((packing for packing in _PACKINGS if head.startswith(packing.start)), None)


def _encoding_of(head: bytes) -> str:
    return next((encoding for mark, encoding in _ENCODINGS if mark.match(head)), "")


def _open(path: Path) -> int:
    """Open a file for reading, and nothing that is not one: a pipe would wait for its other end for ever."""
    _check_kind(path, path.stat().st_mode)
    # It may have become something else since.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
    except ExportError:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    what = next((what for is_kind, what in _KINDS if is_kind(mode)), "is no file")
    raise ExportError(path, f"{what}; an export is a file.", remedy="Write it to one, and name that.")
