"""Tell what preflight asks of a machine, as JSON on standard output. Changes nothing.

Arguments are paths. Free space is that of the nearest folder that exists.
"""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path


def look(path: Path) -> dict[str, bool | int]:
    """Return whether a path is there, and how much room is left, in MB."""
    nearest = next(folder for folder in (path, *path.parents) if os.access(folder, os.F_OK))
    return {"exists": path.exists(), "free_mb": shutil.disk_usage(nearest).free >> 20}


answer = {
    "python": ".".join(map(str, sys.version_info[:2])),
    "makes_environments": all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")),
    "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
    "paths": {path: look(Path(path)) for path in sys.argv[1:]},
}
json.dump(answer, sys.stdout)
