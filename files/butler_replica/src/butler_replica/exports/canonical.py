"""The exporter's own way of writing dataset records, read without a YAML parser.

`lsst.daf.butler.transfers.YamlRepoExportBackend` writes every dataset record
as the same few lines. A million of them are recognised by a regular
expression ten times faster than the fastest YAML parser takes them apart.
What differs from that form in any way is left to the parser.
"""

from __future__ import annotations

__all__ = ["CanonicalRecords"]

import re
import secrets
from collections.abc import Callable
from typing import Any

from .records import Records, Spool
from .text import ExportText

_READ = 1 << 20
_LOOK_AHEAD = 1 << 16
"""Bytes that a record, or the beginning of a block, has at most to be recognised."""

_COLUMNS = 2_000
"""Records that are handed on at a time."""

_HEAD = re.compile(
    rb"(?:^|\n)- type: dataset\n  dataset_type: [^\n]+\n  run: [^\n]+\n  records:\n(?=  - dataset_id:\n)"
)
_TEXT = rb"[A-Za-z0-9_./+~%=@,-]"
_PLAIN = rb"[A-Za-z0-9_./]" + _TEXT + rb"*(?::" + _TEXT + rb"+)*"
_PAIR = rb"[a-z][a-z0-9_]*: (?:" + _PLAIN + rb"|-?[0-9]+|'[ -&(-~]*')"
_RECORD = re.compile(
    rb"  - dataset_id:\n"
    rb"    - !uuid '([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})'\n"
    rb"    data_id:\n"
    rb"    - ((?:" + _PAIR + rb"\n      )*" + _PAIR + rb")\n"
    rb"    path: (?:(?=[^\n]*/)(" + _PLAIN + rb")|'([ -&(-~]*)')\n"
    rb"    formatter: ([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)\n"
    # The next line must not continue the record.
    rb"(?=  - |- |\Z)"
)


class CanonicalRecords:
    """A stream of YAML from which dataset records in the exporter's form are taken out.

    In their place there is one scalar with the tag ``tag``, whose value is the
    position of the records in ``runs``.

    Parameters
    ----------
    text : `ExportText`
        The export.
    scalar : `~collections.abc.Callable`
        What YAML makes of a plain scalar.
    spool : `Spool`
        Where the records go.
    """

    def __init__(self, text: ExportText, scalar: Callable[[str], Any], spool: Spool) -> None:
        self._text = text
        self._scalar = scalar
        self._spool = spool
        self._buffer = b""
        self._at_end = False
        self._in_records = False
        self._pairs: dict[bytes, tuple[str, Any] | None] = {}
        self._line = 0
        self._cuts: list[tuple[int, int]] = []
        # Not to be guessed by who writes an export.
        self.tag = f"!records-{secrets.token_hex(8)}"
        self.runs: list[Records] = []

    def read(self, size: int = -1) -> bytes:
        """Return some more of the stream, of whatever length; empty at its end."""
        del size
        text = b""
        while not text and not (self._at_end and not self._buffer):
            text = self._take_records() if self._in_records else self._take_text()
        self._line += text.count(b"\n")
        return text

    def original_line(self, line: int) -> int:
        """Return the number that a line has in the export."""
        return line + sum(removed for place, removed in self._cuts if place < line)

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and not self._at_end:
            more = self._text.read()
            self._buffer += more
            self._at_end = not more

    def _take_text(self) -> bytes:
        self._fill(_READ)
        head = _HEAD.search(self._buffer)
        if head is not None:
            end, self._in_records = head.end(), True
        else:
            # The beginning of a block may lie across the end of the buffer.
            end = len(self._buffer) if self._at_end else len(self._buffer) - _LOOK_AHEAD
            if not self._at_end:
                end = self._buffer.rfind(b"\n", 0, end)
                end = len(self._buffer) if end < 1 else end
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        return text

    def _take_records(self) -> bytes:
        """Take out the records that follow; return what stands in their place."""
        records = Records(spool=self._spool)
        n_lines = 0
        while True:
            self._fill(_READ)
            end, lines = self._match(records)
            n_lines += lines
            self._buffer = self._buffer[end:]
            if self._at_end or len(self._buffer) > _LOOK_AHEAD or not end:
                break
        self._in_records = False
        if not len(records):
            return b""
        self.runs.append(records)
        self._cuts.append((self._line, n_lines - 1))
        return f"  - {self.tag} {len(self.runs) - 1}\n".encode()

    def _match(self, records: Records) -> tuple[int, int]:
        """Add the records at the beginning of the buffer; return their size and number of lines."""
        buffer, match, pairs = self._buffer, _RECORD.match, self._pairs
        limit = len(buffer) if self._at_end else len(buffer) - _LOOK_AHEAD
        position, n_lines = 0, 0
        keys: tuple[str, ...] = ()
        ids: list[bytes] = []
        values: list[tuple[Any, ...]] = []
        paths: list[str] = []
        formatters: list[str] = []
        names: dict[bytes, str] = {}
        while position < limit:
            found = match(buffer, position)
            if found is None or (found.end() == len(buffer) and not self._at_end):
                break
            dataset_id, data_id, plain, quoted, formatter = found.groups()
            parts = data_id.split(b"\n      ")
            try:
                known = [pairs[part] for part in parts]
            except KeyError:
                known = [self._pair(part) for part in parts]
            if None in known:
                break
            these_keys, these_values = zip(*known, strict=True)
            if these_keys != keys or len(ids) >= _COLUMNS:
                if len(set(these_keys)) < len(these_keys):
                    break
                if ids:
                    records.extend_columns(keys, ids, values, paths, formatters)
                    ids, values, paths, formatters = [], [], [], []
                keys = these_keys
            ids.append(bytes.fromhex(dataset_id.replace(b"-", b"").decode()))
            values.append(these_values)
            paths.append((plain or quoted).decode())
            name = names.get(formatter)
            if name is None:
                name = names[formatter] = formatter.decode()
            formatters.append(name)
            position = found.end()
            n_lines += 5 + len(parts)
        if ids:
            records.extend_columns(keys, ids, values, paths, formatters)
        return position, n_lines

    def _pair(self, text: bytes) -> tuple[str, Any] | None:
        """Return key and value of one line of a data ID; `None` leaves them to the parser."""
        if text in self._pairs:
            return self._pairs[text]
        key, _, value_text = text.decode().partition(": ")
        value = value_text[1:-1] if value_text.startswith("'") else self._scalar(value_text)
        pair = (key, value) if self._scalar(key) == key and isinstance(value, str | int | float) else None
        if len(self._pairs) > 200_000:
            self._pairs.clear()
        self._pairs[text] = pair
        return pair
