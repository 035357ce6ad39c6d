"""What README.md of a role says, from its argument_specs; written and checked by ``tools/derive.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
SOURCE = "meta/argument_specs.yml"


def markdown(text: str) -> str:
    """Turn the markup of Ansible's documentation, such as C(...), into Markdown."""
    return re.sub(r"\b[BCFIMOPV]\(([^)]*)\)", r"`\1`", text)


def paragraphs(text: str | list[str]) -> list[str]:
    """Return a description, which may be one text or a list of them, as paragraphs."""
    return [markdown(part.strip()) for part in ([text] if isinstance(text, str) else text)]


def options(specs: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Yield the lines that describe options, suboptions indented below theirs."""
    for name, option in specs.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind += f" of {option['elements']}"
        facts = [kind]
        if "choices" in option:
            facts.append("one of " + ", ".join(f"`{choice}`" for choice in option["choices"]))
        if option.get("required"):
            facts.append("required")
        elif "default" in option:
            default = option["default"]
            facts.append(
                f"default `{default if isinstance(default, str) and default else json.dumps(default)}`"
            )
        yield f"{indent}- **`{name}`** ({'; '.join(facts)})  "
        for paragraph in paragraphs(option.get("description", "")):
            yield f"{indent}  {paragraph}"
        yield from options(option.get("options", {}), indent + "  ")


def readme(role: Path) -> str:
    """Return the text of a role's README."""
    entry_points = yaml.safe_load((role / SOURCE).read_text())["argument_specs"]
    lines = [f"<!-- Written by tools/derive.py from {SOURCE}: change that. -->", ""]
    for name, spec in entry_points.items():
        main = name == "main"
        lines += [f"# Role {role.name}" if main else f"## Entry point `{name}`", ""]
        lines += [f"{markdown(spec['short_description'])}.", ""]
        for paragraph in paragraphs(spec.get("description", [])):
            lines += [paragraph, ""]
        if spec.get("options"):
            lines += ["## Variables" if main else "Variables:", "", *options(spec["options"]), ""]
    return "\n".join(lines)
