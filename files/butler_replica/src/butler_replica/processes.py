"""Who this process is."""

from __future__ import annotations

__all__ = ["describe_process"]

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path


def describe_process() -> dict[str, object]:
    """Return who this process is, for those who wait for it.

    Returns
    -------
    facts : `dict`
        What the lock file says; ``pid`` first.
    """
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(Path(part).name if i == 0 else part for i, part in enumerate(sys.argv[:3])),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
