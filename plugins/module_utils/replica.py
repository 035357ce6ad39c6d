# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""What the modules of this project share: calling ``butler_replica`` and returning its result."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from butler_replica.errors import ReplicaError

    IMPORT_ERROR = None
except ImportError:  # reported by run(): the stack's Python is not the one in use
    ReplicaError = Exception  # type: ignore[assignment,misc]
    IMPORT_ERROR = traceback.format_exc()


def run(module: AnsibleModule, verb: Callable[[], Any]) -> None:
    """Call a verb of the package and leave the module with what it returned.

    ``verb`` returns a result with ``changed``, ``to_dict()`` and, where it
    makes sense, ``diff()`` (a list of before/after pairs).
    """
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("butler_replica", reason="to work on the repository")
            + " The role lsst_stack installs it; run this task with its Python (lsst_stack_python).",
            exception=IMPORT_ERROR,
        )
    try:
        result = verb()
    except ReplicaError as error:
        module.fail_json(msg=str(error), error_type=type(error).__name__)
    diff = getattr(result, "diff", None)
    extra = {"diff": diff()} if diff is not None and module._diff else {}
    module.exit_json(changed=result.changed, **result.to_dict(), **extra)
