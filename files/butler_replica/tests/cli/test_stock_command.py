"""``butler replica``: the command line as a subcommand of the stock ``butler``.

In processes of its own; those that need not begin with nothing imported are forked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from lsst.daf.butler import Butler

from butler_replica.cli import main
from kit.processes import STOCK, run

BUTLER = Path(sys.executable).parent / "butler"
HOSTILE = "clear\x1b[2J"

pytestmark = [pytest.mark.release, pytest.mark.thorough]


def butler(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(BUTLER), *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )


def test_help_names_every_verb() -> None:
    shown = butler("replica", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    words = [line.split()[0] for line in shown.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert words == main.list_commands(click.Context(main))
    assert "replica" in butler("--help").stdout


def test_a_verb_does_what_it_does_alone(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    Butler.makeRepo(repo)
    done = run("replica", "instrument", repo, "--json", entry=STOCK)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    listed = run(
        "query-dimension-records", repo, "detector", "--where", "instrument='LSSTCam-imSim'", entry=STOCK
    )
    assert listed.stdout.count("LSSTCam-imSim") == 189
    assert json.loads(run("replica", "instrument", repo, "--json", entry=STOCK).stdout)["changed"] is False


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["verify"], 2),
        (["nothing"], 2),
        (["verify", "x", f"--{HOSTILE}"], 2),
        ([HOSTILE], 2),
        (["verify", f"/nowhere/{HOSTILE}"], 1),
    ],
)
def test_errors_have_their_status_and_no_control_characters(arguments: list[str], status: int) -> None:
    failed = run("replica", *arguments, entry=STOCK)
    assert failed.returncode == status
    assert "Error: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "\x1b" not in failed.stderr + failed.stdout


def test_what_is_logged_shows_every_character(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = "import logging; logging.getLogger('lsst.x').warning('clear\\x1b[2J')"
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\natexit.register(exec, " + repr(lines) + ", {})\n", encoding="utf-8"
    )
    shown = butler("--log-file", log, "replica", "verify", "/nowhere", PYTHONPATH=str(tmp_path))
    assert r"lsst.x WARNING: clear\x1b[2J" in shown.stderr
    assert r"lsst.x WARNING: clear\x1b[2J" in log.read_text(encoding="utf-8")


def test_the_stock_commands_outlive_a_broken_package(tmp_path: Path) -> None:
    broken = tmp_path / "butler_replica"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('broken')\n", encoding="utf-8")
    repo = tmp_path / "repo"
    assert butler("create", repo, PYTHONPATH=str(tmp_path)).returncode == 0
    listed = butler("query-collections", repo, PYTHONPATH=str(tmp_path))
    assert listed.returncode == 0
    assert "Could not import plugin from entry point" in listed.stderr


def test_nothing_is_loaded_for_the_list_of_commands() -> None:
    asked = "import sys, lsst.daf.butler.cli.butler; before = set(sys.modules); "
    asked += "import butler_replica.cli.stock as stock; stock.subcommands()[0].get_short_help_str(); "
    asked += "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('rich.')))"
    loaded = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == [
        "butler_replica",
        "butler_replica.cli",
        "butler_replica.cli.stock",
        "butler_replica.wording",
    ]
