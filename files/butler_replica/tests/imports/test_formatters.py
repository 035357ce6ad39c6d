"""Formatters are code that readers of a repository run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from butler_replica.cli import main
from butler_replica.errors import ExportError
from butler_replica.imports.importer import import_exports
from kit.exports import write_raws
from kit.repositories import Repository
from kit.sameness import registry_tables

TRUSTED = (
    "lsst.daf.butler.formatters.yaml.YamlFormatter",
    "lsst.daf.butler.formatters.json.JsonFormatter",
    "lsst.obs.lsst.rawFormatter.LsstCamImSimRawFormatter",
    "my.pkg.Raw",
    "my.pkg.sub.RawFormatter",
)
UNKNOWN = (
    "os.system",
    "subprocess.Popen",
    "lsstevil.RawFormatter",
    "lsst.RawFormatter",
    "lsst.daf.butler.core.subprocess.Popen",
    "lsst.utils.os.system",
    "lsst..os.systemFormatter",
    " lsst.x.YFormatter",
    "lsst.x.y-zFormatter",
    "my.pkgs.Raw",
    "my.Raw",
    "evil.lsst.RawFormatter",
    "system",
)


def raws_with(folder: Path, formatter: str) -> Path:
    export = write_raws(folder, exposures=1, detectors=1)
    export.write_text(export.read_text().replace("no.such.RawFormatter", f"'{formatter}'"))
    return export


@pytest.mark.parametrize(
    ("formatter", "staged_from"),
    [*((formatter, 1_000) for formatter in (*TRUSTED, *UNKNOWN)), (TRUSTED[0], 0), ("os.system", 0)],
)
def test_which_are_trusted(
    make_repository: Callable[..., Repository], tmp_path: Path, formatter: str, staged_from: int
) -> None:
    repository = make_repository()
    before = registry_tables(repository)
    export = raws_with(tmp_path / "raws", formatter)
    trust: dict[str, Any] = {
        "formatters": ("my.pkg.",),
        "missing": "register",
        "artifacts": tmp_path,
        "staged_from": staged_from,
    }

    def notices() -> list[str]:
        return import_exports(repository, [export], **trust, dry_run=True).files[0].notices

    if formatter in TRUSTED:
        assert notices() == []
        import_exports(repository, [export], unknown_formatters="refuse", **trust)
        return
    assert [formatter.strip() in notice and "not of lsst, my.pkg." in notice for notice in notices()] == [
        True
    ]
    with pytest.raises(ExportError, match="would import and call"):
        import_exports(repository, [export], unknown_formatters="refuse", **trust)
    assert registry_tables(repository) == before


def test_command(make_repository: Callable[..., Repository], tmp_path: Path) -> None:
    arguments = ["import", str(make_repository()), str(raws_with(tmp_path / "raws", "os.system"))]
    refused = CliRunner().invoke(main, [*arguments, "--unknown-formatters", "refuse"])
    assert refused.exit_code == 1
    assert "os.system" in refused.output
    for _ in range(2):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0
        assert "names formatters that are not of lsst: os.system" in done.output
    trusted = CliRunner().invoke(main, [*arguments, "--formatter", "os", "--unknown-formatters", "refuse"])
    assert trusted.exit_code == 0, trusted.output
