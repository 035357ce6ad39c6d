"""Compare the argument_specs of every role with its defaults.

The defaults of a role are its own, and the variables of the replica, which are
the defaults of the role ``replica`` that all others depend on: their values stand
there and nowhere else. Called by ``tools/derive.py``: one line per problem, where

- a role has a default that its specification lacks or the other way round, or their values differ;
- a specification repeats the value of a variable of the replica, or a role's own default would keep it away;
- a variable of the replica is an option of no role, or of two that describe it as two things;
- an entry point has no task file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
VARIABLES = "replica"
OF_ANSIBLE = "ansible_"
UNSET = object()


def defaults_of(role: Path) -> dict[str, Any]:
    """Return what is in ``defaults/`` of a role."""
    files = [role / "defaults/main.yml", *sorted(role.glob("defaults/main/*.yml"))]
    read = [yaml.safe_load(file.read_text()) or {} for file in files if file.exists()]
    return {name: value for defaults in read for name, value in defaults.items()}


def variables() -> dict[str, Any]:
    """Return the variables of the replica."""
    return defaults_of(ROLES / VARIABLES)


def entry_points_of(role: Path) -> dict[str, dict[str, Any]]:
    """Return the specification of each entry point of a role."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
    return found["argument_specs"]


def differences(role: Path, of_replica: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between the specification and the defaults of a role."""
    if not (role / "meta/argument_specs.yml").exists():
        yield "meta/argument_specs.yml is missing"
        return
    entry_points = entry_points_of(role)
    defaults = defaults_of(role)
    for name in sorted(defaults.keys() & of_replica.keys()):
        yield f"{name} is in defaults/main.yml and a variable of the role {VARIABLES}: remove it here"
    for name in sorted(defaults.keys() - entry_points.get("main", {}).get("options", {}).keys()):
        yield f"{name} is in defaults/main.yml, not among the options of main"
    for entry_point, spec in entry_points.items():
        if not (role / "tasks" / f"{entry_point}.yml").exists():
            yield f"entry point {entry_point} has no tasks/{entry_point}.yml"
        for name, option in spec.get("options", {}).items():
            where = f"{entry_point}: {name}"
            if name in of_replica:
                yield from (f"{where} repeats the value that the role {VARIABLES} has",) * (
                    "default" in option
                )
                continue
            if not name.startswith(f"{role.name}_"):
                yield f"{where} does not begin with {role.name}_, and is no variable of the role {VARIABLES}"
            yield from option_differences(where, option, default=defaults.get(name, UNSET))


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


def undescribed(of_replica: dict[str, Any]) -> Iterator[str]:
    """Yield variables of the replica that no role describes, or two in different words for what they may be."""
    described: dict[str, list[tuple[str, object]]] = {}
    for specs in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = specs.parent.parent
        for name, option in entry_points_of(role)["main"].get("options", {}).items():
            kind = {key: option.get(key) for key in ("type", "elements", "choices", "no_log")}
            described.setdefault(name, []).append((role.name, kind))
    for name in of_replica:
        if not name.startswith(("_", OF_ANSIBLE)) and name not in described:
            yield f"{name} is a variable of the role {VARIABLES} and an option of no role"
    for name, found in described.items():
        if any(kind != found[0][1] for _, kind in found):
            yield f"{name} is not the same in the roles {', '.join(role for role, _ in found)}"


def problems() -> list[str]:
    """Return what is wrong with any role."""
    of_replica = variables()
    of_roles = [
        f"roles/{role.name}: {problem}"
        for role in sorted(ROLES.iterdir())
        if role.name != VARIABLES
        for problem in differences(role, of_replica)
    ]
    return [*of_roles, *([] if of_roles else undescribed(of_replica))]
