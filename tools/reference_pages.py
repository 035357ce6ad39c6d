#!/usr/bin/env python3
"""Write the reference pages of the documentation: modules, variables, roles, coming changes.

Usage: reference_pages.py FOLDER

Modules are described by their own documentation (``ansible-doc``), variables
by the comments beside their defaults, roles by their README. The documentation
is built with these pages (``make docs``); none of them is committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from role_readmes import options, paragraphs

TOP = Path(__file__).resolve().parent.parent
VARIABLES = ("replica", "dc2")
"""Files of ``group_vars/dc2_replica`` whose variables are for users; the third one has what follows from them."""


def module_documentation() -> dict[str, Any]:
    """Return what ``ansible-doc`` says of each module."""
    folder = TOP / "plugins/modules"
    names = sorted(path.stem for path in folder.glob("*.py"))
    command = ["ansible-doc", "--json", "--type", "module", "--module-path", str(folder), *names]
    environment = {**os.environ, "ANSIBLE_DOC_FRAGMENT_PLUGINS": str(TOP / "plugins/doc_fragments")}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - Ansible's own
    documented: dict[str, Any] = json.loads(shown.stdout)
    if missing := set(names) - documented.keys():
        raise SystemExit(f"reference_pages: ansible-doc says nothing of {', '.join(sorted(missing))}")
    return documented


def with_options(specs: dict[str, Any]) -> dict[str, Any]:
    """Return options with their suboptions named as argument_specs names them, what is required first."""
    ordered = sorted(specs.items(), key=lambda item: (not item[1].get("required"), item[0]))
    return {
        name: {**spec, "options": with_options(spec.get("suboptions") or spec.get("contains") or {})}
        for name, spec in ordered
    }


def module_page(name: str, documented: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a module's page."""
    doc = documented["doc"]
    yield from (f"# {name}", "", f"{doc['short_description']}.", "")
    for paragraph in paragraphs(doc["description"]):
        yield from (paragraph, "")
    yield from ("## Options", "", *options(with_options(doc["options"])), "")
    if attributes := doc.get("attributes"):
        yield from ("## Attributes", "")
        for attribute, spec in sorted(attributes.items()):
            text = " ".join(paragraphs(spec["description"]))
            yield f"- `{attribute}`: {spec['support']}. {text}"
        yield ""
    yield from ("## Examples", "", "```yaml", documented["examples"].strip(), "```", "")
    if returned := documented.get("return"):
        yield from ("## What it returns", "", *options(with_options(returned)), "")


def variables_of(path: Path) -> Iterator[tuple[list[str], list[str], str]]:
    """Yield what is said in the comment above some variables, their names, and the lines that set them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    mapping = yaml.compose("\n".join(lines))
    assert isinstance(mapping, yaml.MappingNode)  # noqa: S101 - as it is for Ansible
    starts = {key.start_mark.line: key.value for key, _ in mapping.value}
    comment: list[str] = []
    names: list[str] = []
    block: list[str] = []
    for number, line in enumerate([*lines, ""]):
        at_top = not line[:1].isspace()
        if at_top and number not in starts and block:
            # A comment, or an empty line, ends what is said together.
            yield comment, names, "\n".join(block)
            comment, names, block = [], [], []
        if number in starts:
            names.append(starts[number])
        if block or number in starts:
            block.append(line)
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        else:
            comment = []


def variables_page() -> Iterator[str]:
    """Yield the lines of the page of all variables of the replica."""
    yield from ("# Variables", "")
    yield "These are defaults: whatever an inventory says, of whichever group, stands above them."
    yield "Those that are a role's alone are described with [the role](roles/index.md)."
    for source in VARIABLES:
        path = TOP / f"group_vars/dc2_replica/{source}.yml"
        yield from ("", f"## `{path.relative_to(TOP)}`", "")
        for comment, names, block in variables_of(path):
            public = [name for name in names if not name.startswith("__")]
            if not public:
                continue
            yield from (f"### {', '.join(f'`{name}`' for name in public)}", "")
            yield from (" ".join(comment), "", "```yaml", block.rstrip(), "```", "")


def coming_changes() -> str:
    """Return what the next release will say of itself; a fragment of a wrong name is an error."""
    command = ["towncrier", "build", "--draft", "--version", "Next release", "--date", ""]
    told = subprocess.run(command, check=False, capture_output=True, text=True, cwd=TOP)  # noqa: S603 - a program of the environment
    if told.returncode:
        raise SystemExit(f"reference_pages: {told.stderr}")
    return (
        told.stdout.replace("## Next release ()", "# What has changed since").replace("### ", "## ").strip()
        + "\n"
    )


def contents(title: str, names: list[str]) -> str:
    """Return a page that lists other pages."""
    return "\n".join([f"# {title}", "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""])


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page."""
    modules = module_documentation()
    yield "modules/index.md", contents("Modules", sorted(modules))
    for name, documented in modules.items():
        yield f"modules/{name}.md", "\n".join(module_page(name, documented))
    roles = sorted((TOP / "roles").glob("*/README.md"))
    yield "roles/index.md", contents("Roles", [role.parent.name for role in roles])
    for role in roles:
        yield f"roles/{role.parent.name}.md", role.read_text(encoding="utf-8")
    yield "coming_changes.md", coming_changes()
    yield "variables.md", "\n".join(variables_page())


def write(folder: Path) -> None:
    """Write the pages that differ from what is there; Sphinx reads only those again."""
    for name, text in pages():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
