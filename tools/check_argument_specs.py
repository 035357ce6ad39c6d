#!/usr/bin/env python3
"""Compare the argument_specs of every role with its defaults: keys and values.

Exit status 1, with one line per difference, where a role has a default that
its specification lacks or the other way round, where the values differ, or
where an entry point has no task file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
UNSET = object()


def differences(role: Path) -> Iterator[str]:
    """Yield what differs between the specification and the defaults of a role."""
    specs_file = role / "meta/argument_specs.yml"
    if not specs_file.exists():
        yield "meta/argument_specs.yml is missing"
        return
    entry_points: dict[str, dict[str, Any]] = yaml.safe_load(specs_file.read_text())["argument_specs"]
    defaults_file = role / "defaults/main.yml"
    defaults: dict[str, Any] = yaml.safe_load(defaults_file.read_text()) if defaults_file.exists() else {}

    for name in sorted(defaults.keys() - entry_points.get("main", {}).get("options", {}).keys()):
        yield f"{name} is in defaults/main.yml, not among the options of main"
    for entry_point, spec in entry_points.items():
        if not (role / "tasks" / f"{entry_point}.yml").exists():
            yield f"entry point {entry_point} has no tasks/{entry_point}.yml"
        for name, option in spec.get("options", {}).items():
            yield from option_differences(
                role.name, entry_point, name, option, default=defaults.get(name, UNSET)
            )


def option_differences(
    role: str, entry_point: str, name: str, option: dict[str, Any], *, default: object
) -> Iterator[str]:
    """Yield what is wrong with one option of an entry point."""
    where = f"{entry_point}: {name}"
    specified = option.get("default", UNSET)
    if not name.startswith(f"{role}_"):
        yield f"{where} does not begin with {role}_"
    if option.get("required"):
        if default is not UNSET:
            yield f"{where} is required and has the default {default!r}"
    elif default is UNSET:
        yield f"{where} is an option, not in defaults/main.yml"
    elif specified is UNSET:
        yield f"{where} has the default {default!r}, its option has none"
    elif type(specified) is not type(default) or specified != default:
        yield f"{where} has the default {default!r}, its option {specified!r}"


def main() -> int:
    """Check every role."""
    problems = [
        f"roles/{role.name}: {problem}" for role in sorted(ROLES.iterdir()) for problem in differences(role)
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
