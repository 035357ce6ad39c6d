"""The project's Ansible modules, called as Ansible calls them but in this process.

Starting ansible and importing the butler takes seconds, and is the same for all modules: those that run in the
background, and what reaches the terminal, are looked at in ``test_progress_of_modules`` and ``test_words_of_modules``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import ansible.module_utils
from ansible.module_utils.testing import patch_module_args

from kit import PROJECT

PLUGINS = PROJECT / "plugins"

_LOADED: dict[str, ModuleType] = {}


def _load(name: str) -> ModuleType:
    if name not in _LOADED:
        utilities = str(PLUGINS / "module_utils")
        if utilities not in ansible.module_utils.__path__:
            ansible.module_utils.__path__.append(utilities)
        spec = importlib.util.spec_from_file_location(name, PLUGINS / "modules" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        _LOADED[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_LOADED[name])
    return _LOADED[name]


def run_module(name: str, /, *, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module and return its result."""
    assert "BUTLER_REPLICA_JOB" not in os.environ
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}
    output = io.StringIO()
    with patch_module_args(given), contextlib.redirect_stdout(output):
        try:
            _load(name).main()
        except SystemExit as end:
            result: dict[str, Any] = json.loads(output.getvalue())
            assert bool(end.code) == bool(result.get("failed"))
            return result
    raise AssertionError(f"{name} did not leave with a result")


def check_run_rerun(module: str, look: Callable[[], Any], **arguments: Any) -> dict[str, Any]:
    """Return the result of the run; check mode says the same and touches nothing."""
    before = look()
    checked = run_module(module, check=True, diff=True, **arguments)
    assert look() == before
    done = run_module(module, diff=True, **arguments)
    assert look() != before
    assert done["changed"]
    assert done["diff"]
    ignored = {"invocation", "dry_run"}
    assert {k: v for k, v in checked.items() if k not in ignored} == {
        k: v for k, v in done.items() if k not in ignored
    }
    again = run_module(module, diff=True, **arguments)
    assert not again["changed"]
    assert not again["diff"]
    return done
