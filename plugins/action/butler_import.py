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
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

_NO_LIMIT = 10**9
"""Seconds: Ansible's wrapper of background jobs always wants a limit."""

_FIRST_POLL, _LAST_POLL, _GROWTH = 0.3, 2.0, 1.25
"""Seconds between looks at the job: a rerun is not held up, a long import not disturbed."""

_GRACE = 60.0
"""Seconds that a job may be without a process, and a target out of reach."""

# Says whether the job's process is there, and its last line of progress.
_LOOK = """
exec 2>/dev/null
{{ read -r pid; read -r line; }} <{progress}
if ! grep -q '"finished": false' {job}; then echo finished
elif kill -0 "$pid"; then echo running
else echo gone; fi
printf '%s' "$line"
"""

# The module may not have said its process group yet. Its result, that it was killed, is of no use to anybody.
_STOP = """
exec 2>/dev/null
n=0; while [ ! -s {progress} ] && [ $n -lt 30 ]; do sleep 0.1; n=$((n+1)); done
read -r pid <{progress} && kill -TERM "-$pid" && kill -CONT "-$pid"; sleep 0.5
rm -f {files}
"""


class ActionModule(ActionBase):
    """Action of the modules of long work."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and return its result."""
        result = super().run(tmp, task_vars)
        is_async = bool(self._task.async_val)
        returned = None if is_async or self._task.check_mode else self._run_in_background(task_vars)
        if returned is None:
            returned = self._execute_module(task_vars=task_vars, wrap_async=is_async)
        return {**result, **returned}

    def _run_in_background(self, task_vars: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the module's result, or None where it cannot be run in the background."""
        join_path = self._connection._shell.join_path
        folder = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        progress = join_path(folder, f"butler_replica.{secrets.token_hex(8)}")
        files = [progress, f"{progress}.new"]
        with _interruptible():
            try:
                job = self._start(progress, task_vars)
                if job is None:
                    return None
                files.append(join_path(folder, job))
                result = self._wait(folder, job, progress, task_vars)
            except AnsibleConnectionFailure:
                # The job goes on. Whoever runs this again waits for its lock, and finds what it has done.
                raise
            except BaseException:
                with contextlib.suppress(AnsibleError):
                    self._command(_STOP, files, progress=progress)
                raise
            self._command("rm -f {files}", files)
        return result

    def _start(self, progress: str, task_vars: dict[str, Any] | None) -> str | None:
        """Return the id of the job, or None where there can be none."""
        environment = self._task.environment
        self._task.environment = [*(environment or []), {"BUTLER_REPLICA_PROGRESS": progress}]
        self._task.async_val = _NO_LIMIT
        try:
            started = self._execute_module(task_vars=task_vars, wrap_async=True)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            # One ordinary user hands a module to another without a file, or not at all.
            started = {"msg": error}
        finally:
            self._task.environment = environment
            self._task.async_val = 0
            # The wrapper removes its own temporary folder; those to come are removed as usual.
            self._cleanup_remote_tmp = True
        if "ansible_job_id" in started:
            return str(started["ansible_job_id"])
        display.vv(f"{self._task.action} runs in the foreground: {started.get('msg')}")
        return None

    def _wait(self, folder: str, job: str, progress: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Wait for the job, show how far it is, return its result."""
        host = (task_vars or {}).get("inventory_hostname", "")
        interval = float(os.environ.get("BUTLER_REPLICA_PROGRESS_SECONDS", "5"))
        pause = _FIRST_POLL
        seen = shown_at = time.monotonic()
        shown = None
        while True:
            time.sleep(pause)
            pause = min(pause * _GROWTH, _LAST_POLL)
            try:
                state, line = self._look(self._connection._shell.join_path(folder, job), progress)
                result = self._result(folder, job, task_vars) if state == "finished" else {}
            except AnsibleConnectionFailure:
                if time.monotonic() - seen > _GRACE:
                    raise
                with contextlib.suppress(AnsibleError):
                    self._connection.reset()
                continue
            finished = bool(result.pop("finished", False))
            now = time.monotonic()
            if state != "gone":
                seen = now
            elif now - seen > _GRACE:
                return self._killed(result)
            due = shown is not None if finished else now - shown_at >= interval
            if due and line and line != shown:
                # What reads another callback's output may be a program.
                display.display(
                    f"progress: [{host}] => {line}",
                    stderr=constants.DEFAULT_STDOUT_CALLBACK != "default",
                )
                shown, shown_at = line, now
            if finished:
                # Where the module said nothing, these are the wrapper's own words.
                if result.keys() >= {"cmd", "data", "failed"}:
                    return self._killed(result)
                for key in ("ansible_job_id", "started", "results_file", "stderr", "stderr_lines"):
                    result.pop(key, None)
                return result

    def _look(self, job: str, progress: str) -> tuple[str, str]:
        lines = self._command(_LOOK, job=job, progress=progress).splitlines()
        return (lines[0], lines[1] if len(lines) > 1 else "") if lines else ("gone", "")

    def _result(self, folder: str, job: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job, "_async_dir": folder},
            task_vars=task_vars,
        )

    def _killed(self, result: dict[str, Any]) -> dict[str, Any]:
        return {
            "failed": True,
            "msg": (
                f"{self._task.action} ended without a result: it was killed, perhaps for want of memory. What it "
                "has completed is in the repository; run this again and it continues."
            ),
            "stderr": result.get("stderr", ""),
        }

    def _command(self, script: str, files: Sequence[str] = (), **paths: str) -> str:
        """Run a shell script as the user of the module."""
        quoted = {name: shlex.quote(path) for name, path in paths.items()}
        done = self._low_level_execute_command(script.strip().format(files=shlex.join(files), **quoted))
        return str(done["stdout"])


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interruption be an exception; Ansible ends its workers at once, and the job would go on."""

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
