"""What README.md of a role says, from its argument_specs; written and checked by ``tools/derive.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from check_argument_specs import OF_ANSIBLE, variables

ROLES = Path(__file__).resolve().parent.parent / "roles"
SOURCE = "meta/argument_specs.yml"


def markdown(text: str) -> str:
    """Turn the markup of Ansible's documentation, such as C(...), into Markdown."""
    return re.sub(r"\b[BCFIMOPV]\(([^)]*)\)", r"`\1`", text)


def paragraphs(text: str | list[str]) -> list[str]:
    """Return a description, which may be one text or a list of them, as paragraphs."""
    return [markdown(part.strip()) for part in ([text] if isinstance(text, str) else text)]


def shown(value: Any) -> str:
    """Return a default as a reader should see it; one that is long, by where it stands."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "default: as for DC2"
    text = " ".join(value.split()) if isinstance(value, str) and value else json.dumps(value)
    return f"default `{text}`"


def options(
    specs: dict[str, Any], indent: str = "", *, values: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[str]:
    """Yield the lines that describe options, suboptions indented below theirs; ``values`` stand elsewhere."""
    for name, option in specs.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind += f" of {option['elements']}"
        facts = [kind]
        if "choices" in option:
            facts.append("one of " + ", ".join(f"`{choice}`" for choice in option["choices"]))
        if option.get("required"):
            facts.append("required")
        elif "default" in option or name in values:
            facts.append(shown(option.get("default", values.get(name))))
        yield f"{indent}- **`{name}`** ({'; '.join(facts)})  "
        for paragraph in paragraphs(option.get("description", "")):
            yield f"{indent}  {paragraph}"
        yield from options(option.get("options", {}), indent + "  ")


def taken(role: Path, of_replica: Mapping[str, Any]) -> list[str]:
    """Return the variables of the replica that the files of a role name, and its specification does not."""
    files = [
        file
        for folder in ("tasks", "templates", "vars")
        for file in (role / folder).rglob("*")
        if file.is_file()
    ]
    words = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    described = yaml.safe_load((role / SOURCE).read_text())["argument_specs"]["main"].get("options", {})
    return sorted(words & of_replica.keys() - described.keys())


def readme(role: Path) -> str:
    """Return the text of a role's README."""
    of_replica = {
        name: value for name, value in variables().items() if not name.startswith(("_", OF_ANSIBLE))
    }
    entry_points = yaml.safe_load((role / SOURCE).read_text())["argument_specs"]
    lines = [f"<!-- Written by tools/derive.py from {SOURCE}: change that. -->", ""]
    for name, spec in entry_points.items():
        main = name == "main"
        lines += [f"# Role {role.name}" if main else f"## Entry point `{name}`", ""]
        lines += [f"{markdown(spec['short_description'])}.", ""]
        for paragraph in paragraphs(spec.get("description", [])):
            lines += [paragraph, ""]
        if spec.get("options"):
            lines += [
                "## Variables" if main else "Variables:",
                "",
                *options(spec["options"], values=of_replica),
                "",
            ]
        if main and (others := taken(role, of_replica)):
            lines += [
                "It also takes " + ", ".join(f"`{one}`" for one in others) + ", described with other roles.",
                "",
            ]
    return "\n".join(lines)
