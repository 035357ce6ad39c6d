# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a module of long work in the background of the target and shows its progress meanwhile.

The other modules of long work have this plugin under their names, as links to
it. ``BUTLER_REPLICA_PROGRESS_SECONDS`` says how often a line is shown.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

_GRACE_SECONDS = 60.0
"""Seconds that a target may be out of reach."""

_RETRY_SECONDS = 2.0
"""Seconds from one try to reach it to the next."""


class ActionModule(ActionBase):
    """Action of the modules of long work."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and return its result."""
        result = super().run(tmp, task_vars)
        if self._task.async_val:
            returned = self._execute_module(task_vars=task_vars, wrap_async=True)
        else:
            returned = self._run_in_background(task_vars)
        return {**result, **returned}

    def _run_in_background(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Call the module until its work is done, show how far it is, and return its result."""
        host = (task_vars or {}).get("inventory_hostname", "")
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        interval = os.environ.get("BUTLER_REPLICA_PROGRESS_SECONDS", "5")
        job = {
            "BUTLER_REPLICA_JOB": f"{folder}/butler_replica.{secrets.token_hex(8)}",
            "BUTLER_REPLICA_PATIENCE": interval,
        }
        shown = ""
        with _interruptible():
            try:
                while True:
                    returned = self._call(job, task_vars)
                    running = returned.pop("job_running", False)
                    line = returned.pop("job_progress", "")
                    # The last line is for those who have seen others.
                    if line and line != shown and (running or shown):
                        # What reads another callback's output may be a program.
                        display.display(
                            f"progress: [{host}] => {line}",
                            stderr=constants.DEFAULT_STDOUT_CALLBACK != "default",
                        )
                        shown = line
                    if not running:
                        return returned
            except AnsibleConnectionFailure:
                # The job goes on. Whoever runs this again waits for its lock, and finds what it has done.
                raise
            except BaseException:
                with contextlib.suppress(AnsibleError):
                    self._execute({**job, "BUTLER_REPLICA_STOP": "1"}, task_vars)
                raise

    def _call(self, job: dict[str, str], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Call the module, and again where the connection fails: what was begun is not begun twice."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while True:
            try:
                return self._execute(job, task_vars)
            except AnsibleConnectionFailure:
                if time.monotonic() > deadline:
                    raise
            with contextlib.suppress(AnsibleError):
                self._connection.reset()
            time.sleep(_RETRY_SECONDS)

    def _execute(self, environment: dict[str, str], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        of_task = self._task.environment
        self._task.environment = [*(of_task or []), environment]
        try:
            return dict(self._execute_module(task_vars=task_vars))
        finally:
            self._task.environment = of_task


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turn an interruption into an exception; Ansible ends its workers at once, and the job would go on."""

    def interrupt(number: int, frame: object) -> None:
        # A second one, which Ansible sends, must not keep the job from being stopped.
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in previous:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
