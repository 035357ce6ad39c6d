"""Dataset records in the exporter's own form, and in others: what is read is the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from butler_replica.errors import ExportError
from butler_replica.exports.model import ExportFile
from butler_replica.exports.reader import read_export
from kit.exports import write_raws


def _content(export: ExportFile) -> list[object]:
    return [(block.dataset_type, block.run, list(block.records)) for block in export.blocks]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Two exposures' raws, as the exporter writes them."""
    return write_raws(tmp_path, exposures=2)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        pytest.param(r"^    path:", "    # here it is\n    path:", id="comments"),
        pytest.param(r"'([0-9a-f-]{36})'", r'"\1"', id="double quotes"),
        pytest.param(
            r"^    path: (\S+)\n    formatter: (\S+)$", r"    formatter: \2\n    path: \1", id="order"
        ),
        pytest.param(r"detector: (\d+)", r"detector: !!int \1", id="tags"),
        pytest.param(r"$(?=\n)", "\r", id="line ends"),
    ],
)
def test_other_forms_read_the_same(exported: Path, pattern: str, replacement: str) -> None:
    """Whatever form dataset records have, they are read as what they are."""
    text = exported.read_text()
    other = exported.with_name("other.yaml")
    other.write_text(re.sub(pattern, replacement, text, flags=re.MULTILINE), newline="")
    assert other.read_bytes() != text.encode()
    assert _content(read_export(other)) == _content(read_export(exported))


def test_records_of_both_forms_in_one_block(exported: Path) -> None:
    """One record in another form leaves those before and behind it as they are."""
    lines = exported.read_text().splitlines()
    formatters = [number for number, line in enumerate(lines) if line.startswith("    formatter:")]
    lines.insert(formatters[100], "    # a remark")
    other = exported.with_name("other.yaml")
    other.write_text("\n".join(lines) + "\n")
    assert _content(read_export(other)) == _content(read_export(exported))


def test_an_error_behind_the_records_names_its_line(exported: Path) -> None:
    """Line numbers are those of the file, however much of it was not parsed."""
    text = exported.read_text()
    lines = text.count("\n")
    exported.write_text(f"{text}- type: nothing\n")
    with pytest.raises(ExportError, match=rf"line {lines + 1}: .*unknown type 'nothing'"):
        read_export(exported)


def test_what_looks_like_a_block_within_a_text(exported: Path) -> None:
    """Text in quotes is no dataset, whatever it looks like."""
    text = exported.read_text()
    quoted = text[text.index("- type: dataset\n") :].replace("'", "")
    ids = re.sub(r"!uuid (\S+)", r"!uuid '\1'", quoted).replace("'", "''")
    exported.write_text(text.replace("Butler Data Repository Export", f"'a\n\n{ids}'", 1))
    try:
        found = read_export(exported)
    except ExportError as error:
        assert exported.name in str(error)
    else:
        assert found.n_datasets == text.count("!uuid")
