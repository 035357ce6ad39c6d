# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""What the modules of this project share: calling ``butler_replica`` and returning its result."""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote

from ansible.module_utils.background import Job
from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from butler_replica.errors import ReplicaError
    from butler_replica.progress import Meter
    from butler_replica.wording import LogFormatter, visible_in

    IMPORT_ERROR = None
except ImportError:  # reported by call(): the stack's Python is not the one in use
    ReplicaError = Exception  # type: ignore[assignment,misc]
    IMPORT_ERROR = traceback.format_exc()

_JOB = Job(os.environ["BUTLER_REPLICA_JOB"]) if "BUTLER_REPLICA_JOB" in os.environ else None
"""What the action plugin of long work wants done in the background."""

_PASSWORD = re.compile(r"://[^\s:/?#]*:(\S+)@|[?&]password=([^\s&]+)")
"""Passwords in a URL."""

VARIABLES = {"variables": {"type": "dict", "default": {}}}
"""Option of modules whose messages name the variables of a playbook."""

_REPORT_EVERY = 0.5
"""Seconds from one line of progress to the next."""


def call(module: AnsibleModule, verb: Callable[[], Any]) -> None:
    """Call a verb of the package and leave the module with what it returned.

    ``verb`` returns a `butler_replica.results.Result`.
    """
    # Of a verbose run the arguments are shown, too.
    module.no_log_values.update(_passwords(module.params))
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("butler_replica", reason="to work on the repository")
            + " The role lsst_stack installs it; run this task with its Python (lsst_stack_python).",
            exception=IMPORT_ERROR,
        )
    if _JOB is not None:
        _JOB.obey()
    # Words of other packages reach the terminal where the module cannot answer for itself.
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogFormatter())
    variables = module.params.pop("variables", None) or {}
    try:
        result = verb()
    except ReplicaError as error:
        fail(module, f"{error}{_set_by(error.arguments, variables)}", error_type=type(error).__name__)
    except Exception as error:
        told = f"{type(error).__name__}: {error}. This should not happen: please report it with what comes with it."
        fail(module, told, exception=traceback.format_exc())
    extra = {"diff": result.diff()} if module._diff else {}
    if _JOB is not None:
        extra["job_progress"] = _JOB.told
    module.exit_json(changed=result.changed, **visible_in({**result.to_dict(), **extra}))


def _set_by(arguments: Sequence[str], variables: dict[str, str]) -> str:
    """Return a sentence with the variables that set what an error is about."""
    known = [f"{name} is set by {variables[name]}" for name in arguments if name in variables]
    return f" In this playbook, {' and '.join(known)}." if known else ""


def fail(module: AnsibleModule, message: str, **result: Any) -> NoReturn:
    """Leave the module with a message for the user; names in it, and in what comes with it, control no terminal."""
    module.fail_json(msg=visible_in(message), **visible_in(result))
    raise AssertionError


def _passwords(value: Any) -> set[str]:
    """Return the passwords in URLs of plain data, as they stand there and as they are meant."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {password for each in value for password in _passwords(each)}
    if not isinstance(value, str):
        return set()
    found = {password for each in _PASSWORD.findall(value) for password in each if password}
    return found | {unquote(password) for password in found}


def progress(what: str) -> Any:
    """Return what a verb reports its progress to, or None where nobody looks.

    ``what`` says what is worked on.
    """
    if _JOB is None:
        return None
    meter = Meter(what)
    due = 0.0

    def tell(report: Any) -> None:
        nonlocal due
        line = meter.line(report)
        if time.monotonic() >= due or report.done >= report.total:
            _JOB.tell(line)
            due = time.monotonic() + _REPORT_EVERY

    return tell
