"""Names that a terminal or ``rich`` would obey: every verb shows them as letters, and none dies of them."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from lsst.daf.butler import Butler, CollectionType
from rich.console import Console

from butler_replica.cli import main
from butler_replica.cli._progress import _bar
from butler_replica.errors import ReplicaError
from butler_replica.imports.importer import import_exports
from butler_replica.progress import Meter, Report
from kit.repositories import add_datasets

HOSTILE = (
    "x[/nope]y",
    "[red]red[/red]",
    "[link=file:///etc]here[/link]",
    ":star:",
    "clear\x1b[2J",
    "title\x1b]0;owned\x07",
    "c1\x9b31m",
    "bell\x07",
    "delete\x7f",
    "back\x08\x08",
    "return\rINJECTED",
    "line\nINJECTED: a line",
    "line\u2028INJECTED",
    "next\x85INJECTED",
    "rtl\u202egpj.exe",
    "isolate\u2067x\u2069",
    "zero\u200bwidth",
    "bom\ufeff",
    "tag\U000e0041",
)

CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""What no output has, but for the ends of its lines."""


def check_text(text: str) -> None:
    found = CONTROLS.search(text)
    assert found is None, f"{found!r} in {text!r}"
    assert not [line for line in text.splitlines() if line.startswith("INJECTED")], text


def run(*arguments: object) -> Result:
    """Run a command; whatever it prints is for eyes."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    check_text(done.output)
    assert "Traceback" not in done.output
    return done


class _AnyTag(yaml.SafeLoader):
    """Reads what the butler tags as nothing."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)


class Place:
    """A folder with exports whose names are hostile, and repositories with them."""

    def __init__(self, folder: Path, empty: Path) -> None:
        source = shutil.copytree(empty, folder / "source")
        refs = [ref for run in HOSTILE for ref in add_datasets(source, folder / "files", run=run, count=1)]
        butler = Butler.from_config(source, writeable=True)
        for number, name in enumerate(HOSTILE):
            butler.registry.insertDimensionData(
                "physical_filter", {"instrument": "Cam", "name": name, "band": name[:30]}
            )
            butler.collections.register(f"chain{number}/{name}", type=CollectionType.CHAINED, doc=name)
            butler.collections.redefine_chain(f"chain{number}/{name}", [name])
        self.export = folder / "ex\x1b[2Jport[/nope]\nINJECTED" / "ex\x1bport.yaml"
        self.export.parent.mkdir(parents=True)
        with butler.export(
            directory=str(self.export.parent), filename=str(self.export), transfer="copy"
        ) as export:
            export.saveDatasets(refs)
            for number, name in enumerate(HOSTILE):
                export.saveCollection(name)
                export.saveCollection(f"chain{number}/{name}")
                export.saveDimensionData(
                    "physical_filter", butler.query_dimension_records("physical_filter", instrument="Cam")
                )
        self.gone = folder / "gone.yaml"
        self.gone.write_text(self.export.read_text())
        self.chains = folder / "chains.yaml"
        data = yaml.load(self.export.read_text(), _AnyTag)
        data["data"] = [item for item in data["data"] if item.get("collection_type") == "CHAINED"]
        self.chains.write_text(yaml.safe_dump(data))
        self.other_band = folder / "other_band.yaml"
        self.other_band.write_text(self.export.read_text().replace("band: x[/nope]y", "band: z[/nope]z"))
        self.formatter = folder / "formatter.yaml"
        self.formatter.write_text(
            re.sub("formatter: .*", r'formatter: "a\\e[2J[/nope].B"', self.export.read_text())
        )
        self.empty = shutil.copytree(empty, folder / "em[/nope]pty")
        self.repo = shutil.copytree(empty, folder / "repo[/nope]\x07")
        import_exports(str(self.repo), [self.export], transfer="copy")
        self.whole = shutil.copytree(self.repo, folder / "whole[/nope]\x07")
        # Every artifact is gone, and the registry says otherwise.
        for path in [p for p in self.repo.rglob("*.yaml") if p.name != "butler.yaml"]:
            path.unlink()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_repository: Callable[[str], Path]) -> Place:
    return Place(tmp_path_factory.mktemp("hostile"), empty_repository("sqlite"))


COMMANDS: dict[str, Callable[[Place], tuple[list[object], int]]] = {
    "import": lambda p: (["import", p.whole, p.export], 0),
    "import, dry run": lambda p: (["import", p.empty, p.export, "--dry-run"], 0),
    "import, artifacts missing": lambda p: (["import", p.empty, p.gone, "--dry-run"], 1),
    "import, artifacts left out": lambda p: (
        ["import", p.empty, p.gone, "--dry-run", "--missing", "skip"],
        0,
    ),
    "import, chains wait": lambda p: (["import", p.empty, p.chains, "--dry-run"], 0),
    "import, records differ": lambda p: (["import", p.repo, p.other_band, "--missing", "skip"], 0),
    "import, other formatter": lambda p: (["import", p.repo, p.formatter, "--missing", "register"], 0),
    "import, no such file": lambda p: (["import", p.repo, p.export.parent / "no\x1b[2J\nINJECTED"], 1),
    "verify": lambda p: (["verify", p.repo], 1),
    "verify with exports": lambda p: (["verify", p.repo, p.export], 1),
    "verify, nothing there": lambda p: (["verify", p.empty, p.export], 1),
    "prune": lambda p: (["prune", p.repo, "--allow-all", "--dry-run"], 0),
    "prune, refused": lambda p: (["prune", p.repo], 1),
    "chain": lambda p: (["chain", p.repo, "x\x1b[2J\nINJECTED", *HOSTILE, "\x1b[2J", "--dry-run"], 0),
    "chain, of a run": lambda p: (["chain", p.repo, "line\nINJECTED: a line", "x"], 1),
    "compare": lambda p: (["compare", p.repo, p.empty], 1),
    "compare, no repository": lambda p: (["compare", p.repo, "no\x1b[2J[/nope]"], 1),
    "visits, no such collection": lambda p: (["visits", p.repo, "--collection", "x\x1b[2J[/nope]"], 1),
    "visits, no raws": lambda p: (["visits", p.repo, "--collection", "clear\x1b[2J"], 1),
    "skymap": lambda p: (["skymap", p.empty, "--tracts", "3828", "--dry-run"], 0),
    "skymap, no tract": lambda p: (["skymap", p.repo, "--tracts", "\x1b[2J[/nope]"], 1),
    "instrument": lambda p: (["instrument", p.empty, "--dry-run"], 0),
    "sample": lambda p: (["sample", p.empty.parent / "sam\x1b[2Jple[/nope]", "--dry-run"], 0),
    "no such option": lambda p: (["verify", p.repo, "--\x1b[2Jx"], 2),
    "no such policy": lambda p: (["import", p.repo, p.export, "--missing", "\x1b[2J"], 2),
}
"""What is run, and how it ends: every verb that shows names, with its errors."""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_name_reaches_the_terminal_as_it_is(place: Place, command: str) -> None:
    arguments, status = COMMANDS[command](place)
    done = run(*arguments)
    assert done.exit_code == status, done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_the_true_names(place: Place, command: str) -> None:
    arguments, status = COMMANDS[command](place)
    if status == 2:
        return
    done = run(*arguments, "--json")
    assert done.exit_code == status
    assert isinstance(json.loads(done.stdout), dict)
    if command in ("verify", "import, dry run"):
        for name in HOSTILE:
            assert json.dumps(name)[1:-1].replace("\x7f", "\\u007f") in done.stdout


def test_names_are_shown_as_letters(place: Place) -> None:
    shown = run("verify", place.repo).output
    for name in (
        "x[/nope]y",
        "[red]red[/red]",
        ":star:",
        "clear\\x1b[2J",
        "line\\nINJECTED",
        "rtl\\u202egpj",
    ):
        assert name in shown


def test_results_of_modules(place: Place) -> None:
    """Lines that Ansible shows: differences, errors, the report of verify."""
    result = import_exports(str(place.empty), [place.export], dry_run=True)
    for entry in result.diff():
        for text in entry.values():
            check_text(text)
    with pytest.raises(ReplicaError) as caught:
        import_exports(str(place.empty), [place.gone], dry_run=True)
    check_text(str(caught.value))
    # Lines of the message's own are lines.
    assert "\n  and " in str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_progress(name: str) -> None:
    check_text(Meter(name).line(Report(1, 2, doing=f"{name}: reading")))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200)
    with _bar(name, terminal) as show:
        show(Report(1, 2, doing=f"{name}: reading"))
    assert name not in terminal.file.getvalue() or CONTROLS.search(name) is None  # type: ignore[attr-defined]


def test_logs_of_others(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    run("verify", place.repo)
    record = logging.LogRecord("x", logging.WARNING, "", 0, "clear\x1b[2J", (), None)
    assert logging.lastResort is not None
    logging.lastResort.emit(record)
    assert capsys.readouterr().err == "clear\\x1b[2J\n"


def test_letters_that_a_terminal_cannot_write(place: Place) -> None:
    done = CliRunner(charset="latin-1").invoke(main, ["chain", str(place.repo), "x\u661f", "a", "--dry-run"])
    assert done.exit_code == 0
    assert "x\\u661f (made)" in done.output
