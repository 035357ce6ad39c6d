#!/usr/bin/env python3
"""Write what follows from the definition of import sets and collections, and compare specifications with defaults.

From ``butler_replica.options`` come the documentation and the argument
specifications of the modules, and those of the role ``dc2``; from the
specifications of the roles their README; from the commands what each shows
with ``--help``, so that a change of it is seen. With ``--check``, nothing is written:
exit status 1, with one line for each, where a file differs from what would be
written, or a specification from the defaults of its role.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_argument_specs
import click
import role_readmes
import yaml

from butler_replica.cli import main as butler_replica
from butler_replica.options import Collection, ImportSet, Option, options_of

TOP = Path(__file__).resolve().parent.parent
NOTICE = "Written by tools/derive.py from options.py: change that."
SPECS = TOP / "roles/dc2/meta/argument_specs.yml"
HELP = TOP / "docs/help"
WIDTH = 100
"""Of the help of commands, wherever it is written."""
DESCRIBED = {"import_set": ImportSet, "collection": Collection}

TYPES = {
    "choice": {"type": "str"},
    "flag": {"type": "bool"},
    "folder": {"type": "path"},
    "folders": {"type": "list", "elements": "path"},
    "patterns": {"type": "raw"},
    "rules": {"type": "raw"},
    "text": {"type": "str"},
    "texts": {"type": "list", "elements": "str"},
}
"""Ansible's words for the kinds of options."""


def argument(option: Option) -> dict[str, Any]:
    """Return an option as an argument of Ansible, without its description."""
    spec: dict[str, Any] = dict(TYPES[option.kind])
    if option.choices:
        spec["choices"] = list(option.choices)
    if option.required:
        spec["required"] = True
    elif option.default is not None:
        spec["default"] = list(option.default) if isinstance(option.default, tuple) else option.default
    return spec


def arguments(definition: type) -> dict[str, Any]:
    """Return the options of a definition as arguments of Ansible."""
    return {option.name: argument(option) for option in options_of(definition)}


def markup(text: str, choices: tuple[str, ...]) -> str:
    """Return a description with Ansible's markup."""
    return re.sub(r"``(.+?)``", lambda found: f"{'V' if found[1] in choices else 'C'}({found[1]})", text)


def documented(definition: type) -> dict[str, Any]:
    """Return the options of a definition as Ansible documents them."""
    return {
        option.name: {
            "description": [markup(paragraph, option.choices) for paragraph in option.description],
            **argument(option),
        }
        for option in options_of(definition)
    }


class Dumper(yaml.SafeDumper):
    """Writes YAML as it is written here."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def as_yaml(data: Any, indent: int = 0) -> str:
    """Return data as YAML."""
    text = yaml.dump(data, Dumper=Dumper, width=108 - indent, sort_keys=False, allow_unicode=True)
    return textwrap.indent(text, " " * indent)


def formatted(source: str) -> str:
    """Return Python as ruff writes it."""
    command = ["ruff", "format", "--quiet", "--stdin-filename", str(TOP / "tools/derived.py"), "-"]
    return subprocess.run(command, input=source, check=True, capture_output=True, text=True).stdout  # noqa: S603


def fragment() -> str:
    """Return the documentation that modules share."""
    options = {
        "import_sets": {
            "sets": {
                "description": "Import sets, which are imported one after the other.",
                "type": "list",
                "elements": "dict",
                "required": True,
                "suboptions": documented(ImportSet),
            }
        },
        "collections": {
            "collections": {
                "description": [
                    "Collections that the repository is to have. A CHAINED one is made when at least one of its "
                    "children exists, or is itself a chain described here that is made. A RUN, CALIBRATION or "
                    "TAGGED one is made as a child of such a chain. Anything else is skipped and reported."
                ],
                "type": "list",
                "elements": "dict",
                "suboptions": documented(Collection),
            }
        },
    }
    lines = [
        f'"""Documentation of options that modules share. {NOTICE}"""',
        "",
        "from __future__ import annotations",
        "",
        "class ModuleDocFragment:",
        '    """Options of modules."""',
    ]
    for name, option in options.items():
        lines += ["", f'    {name.upper()} = r"""', as_yaml({"options": option}) + '"""']
    return formatted("\n".join(lines))


def module_utils() -> str:
    """Return the argument specifications that modules share."""
    lines = [
        f'"""Argument specifications that modules share. {NOTICE}"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any",
        "",
    ]
    lines += [
        f"{name.upper()}: dict[str, Any] = {arguments(definition)!r}\n"
        for name, definition in DESCRIBED.items()
    ]
    return formatted("\n".join(lines))


def role_specs() -> str:
    """Return the specification of the role, with the options of the definition between its marks."""
    text = SPECS.read_text()
    for name, definition in DESCRIBED.items():
        pattern = rf"(?ms)^( *)# {name}: .*?\n(.*?)^\1# end of {name}\n"
        found = re.search(pattern, text)
        if found is None:
            raise SystemExit(f"derive: {SPECS.relative_to(TOP)} lacks the marks of {name}")
        indent = found[1]
        wanted = (
            f"{indent}# {name}: {NOTICE}\n"
            + as_yaml({"options": documented(definition)}, len(indent))
            + f"{indent}# end of {name}\n"
        )
        text = text[: found.start()] + wanted + text[found.end() :]
    return text


def help_pages() -> dict[str, str]:
    """Return what each command shows with ``--help``, by the name of its file."""

    def shown(command: click.Command, name: str, parent: click.Context | None = None) -> str:
        with click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH) as context:
            return command.get_help(context) + "\n"

    whole = click.Context(butler_replica, info_name="butler-replica")
    pages = {"butler-replica.txt": shown(butler_replica, "butler-replica")}
    for name in butler_replica.list_commands(whole):
        command = butler_replica.get_command(whole, name)
        if command is not None:
            pages[f"{name}.txt"] = shown(command, name, whole)
    return pages


def derived() -> Iterator[tuple[Path, str]]:
    """Yield each file, and what is to be in it; READMEs behind the specifications that they come from."""
    yield TOP / "plugins/doc_fragments/described.py", fragment()
    yield TOP / "plugins/module_utils/described.py", module_utils()
    yield SPECS, role_specs()
    for specs in sorted(role_readmes.ROLES.glob(f"*/{role_readmes.SOURCE}")):
        role = specs.parent.parent
        yield role / "README.md", role_readmes.readme(role)
    for name, page in help_pages().items():
        yield HELP / name, page


def stale(*, check: bool) -> Iterator[str]:
    """Yield what is said of each file that is not what it should be, having written it unless this is a check."""
    for path, wanted in derived():
        if path.exists() and path.read_text() == wanted:
            continue
        where = path.relative_to(TOP)
        if check:
            yield f"{where} is stale: run tools/derive.py"
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
            print(f"{where} written", file=sys.stderr)
    for path in sorted(HELP.glob("*")):
        if path.name not in help_pages():
            yield f"{path.relative_to(TOP)} is the help of no command: remove it"


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    problems = [*stale(check=parser.parse_args().check), *check_argument_specs.problems()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
