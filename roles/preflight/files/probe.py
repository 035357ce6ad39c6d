"""Tell what preflight asks of a machine, as JSON on standard output. Changes nothing.

Arguments are paths. Free space is that of the nearest folder that can be seen.
"""

import importlib.util
import json
import os
import pwd
import shutil
import sys
from pathlib import Path


def look(path: Path) -> dict[str, bool | int]:
    """Return whether a path is there, is closed to this user, and how much room is left, in MB."""
    nearest = next(folder for folder in (path, *path.parents) if os.access(folder, os.F_OK))
    free = shutil.disk_usage(nearest).free >> 20
    return {"exists": os.path.exists(path), "closed": closed(path), "free_mb": free}  # noqa: PTH110


def closed(path: Path) -> bool:
    """Return whether something is there, or may be, that this user may not read."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))


home = pwd.getpwuid(os.getuid()).pw_dir
answer = {
    "python": ".".join(map(str, sys.version_info[:2])),
    "makes_environments": all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")),
    "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
    "home": home,
    "home_is_writable": os.access(home, os.W_OK | os.X_OK),
    "paths": {path: look(Path(path)) for path in sys.argv[1:]},
}
json.dump(answer, sys.stdout)
