"""What a session of tests makes of the surroundings that it is started in, and what it says of them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

IGNORED_WHERE_STARTED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that ``nohup``, or a shell that starts something in the background, has ignored by all that follows."""

OF_THE_RELEASE = {
    *("test_associations", "test_bulk_dimensions", "test_calibration_labels", "test_equal_to_stock"),
    *("test_import", "test_internals", "test_inventory", "test_migrate", "test_open_chains", "test_staged"),
    *("test_templates", "test_visits"),
}
"""Modules whose tests depend on the release of lsst-daf-butler: ``release``."""

THOROUGH = {
    *("test_bulk_dimensions", "test_calibration_labels", "test_checks", "test_compare"),
    *("test_equal_to_stock", "test_export_forms", "test_failures", "test_hostile_names"),
    *("test_hostile_paths", "test_identity", "test_internals", "test_killed_copies"),
    *("test_local_paths", "test_made_records", "test_migrate", "test_moved"),
    *("test_official", "test_open_chains", "test_playbooks", "test_prune"),
    *("test_prune_situations", "test_sample", "test_staged", "test_templates"),
    *(
        "test_verify",
        "test_verify_artifacts",
        "test_writing",
        "test_import",
        "test_repository",
        "test_formatters",
    ),
}
"""Modules of long tables, of comparisons with the stock butler, and of tests that take half a second: ``thorough``."""


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes that tests start all signals, as a terminal does."""
    # With many processes it is the workers that run tests.
    if _is_worker(config) or not getattr(config.option, "numprocesses", None):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_WHERE_STARTED)
        for number in IGNORED_WHERE_STARTED:
            if signal.getsignal(number) is signal.SIG_IGN:
                # A signal that is ignored stays so in every child, one that has a handler does not.
                signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts the server as ``postgres``, and the tests of some modules."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
        if item.path.stem in OF_THE_RELEASE:
            item.add_marker(pytest.mark.release)
        if item.path.stem in THOROUGH:
            item.add_marker(pytest.mark.thorough)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests were skipped, and why; also in the file that ``BUTLER_REPLICA_SKIPPED`` names."""
    if _is_worker(config):
        return
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    lines = [f"{count} tests were skipped: {reason}" for reason, count in reasons.most_common()]
    for line in lines:
        terminalreporter.write_line(line, yellow=True)
    if lines and (path := os.environ.get("BUTLER_REPLICA_SKIPPED")):
        with Path(path).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
