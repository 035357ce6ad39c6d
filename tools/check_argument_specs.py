"""Compare the argument_specs of every role with its defaults: keys and values.

The defaults of a role are its own, and what the role ``replica``, which all
others depend on, hands to it. Called by ``tools/derive.py``: one line per
difference, where a role has a default that its specification lacks or the other way round,
where the values differ, where a role's own default would keep away what is
handed to it, or where an entry point has no task file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
VARIABLES = "replica"
UNSET = object()


def defaults_of(role: Path) -> dict[str, Any]:
    """Return what is in ``defaults/`` of a role."""
    files = [role / "defaults/main.yml", *sorted(role.glob("defaults/main/*.yml"))]
    read = [yaml.safe_load(file.read_text()) or {} for file in files if file.exists()]
    return {name: value for defaults in read for name, value in defaults.items()}


def differences(role: Path, handed: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between the specification and the defaults of a role."""
    specs_file = role / "meta/argument_specs.yml"
    if not specs_file.exists():
        yield "meta/argument_specs.yml is missing"
        return
    entry_points: dict[str, dict[str, Any]] = yaml.safe_load(specs_file.read_text())["argument_specs"]
    defaults = defaults_of(role)
    for name in sorted(defaults.keys() & handed.keys()):
        yield f"{name} is in defaults/main.yml, which keeps away what the role {VARIABLES} hands over: remove it there"
    handed_here = {name for name in handed if name.startswith(f"{role.name}_")}
    for name in sorted(handed_here - entry_points.get("main", {}).get("options", {}).keys()):
        yield f"{name} is handed over by the role {VARIABLES}, not among the options of main"
    for name in sorted(defaults.keys() - entry_points.get("main", {}).get("options", {}).keys()):
        yield f"{name} is in defaults/main.yml, not among the options of main"
    for entry_point, spec in entry_points.items():
        if not (role / "tasks" / f"{entry_point}.yml").exists():
            yield f"entry point {entry_point} has no tasks/{entry_point}.yml"
        for name, option in spec.get("options", {}).items():
            if name not in handed and not name.startswith(f"{role.name}_"):
                yield f"{entry_point}: {name} does not begin with {role.name}_"
            yield from option_differences(
                f"{entry_point}: {name}", option, default={**handed, **defaults}.get(name, UNSET)
            )


def option_differences(where: str, option: dict[str, Any], *, default: object) -> Iterator[str]:
    """Yield what is wrong with one option of an entry point."""
    specified = option.get("default", UNSET)
    if option.get("required"):
        if default is not UNSET:
            yield f"{where} is required and has the default {default!r}"
    elif default is UNSET:
        yield f"{where} is an option, not in defaults/main.yml"
    elif specified is UNSET:
        yield f"{where} has the default {default!r}, its option has none"
    elif type(specified) is not type(default) or folded(specified) != folded(default):
        yield f"{where} has the default {default!r}, its option {specified!r}"


def folded(value: object) -> object:
    """Return a value as it is where only lines are broken elsewhere."""
    return " ".join(value.split()) if isinstance(value, str) else value


def problems() -> list[str]:
    """Return what is wrong with any role."""
    handed = defaults_of(ROLES / VARIABLES)
    return [
        f"roles/{role.name}: {problem}"
        for role in sorted(ROLES.iterdir())
        if role.name != VARIABLES
        for problem in differences(role, handed)
    ]
