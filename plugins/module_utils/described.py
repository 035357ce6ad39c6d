"""Argument specifications that modules share. Written by tools/derive.py from options.py: change that."""

from __future__ import annotations

from typing import Any

IMPORT_SET: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "exports": {"type": "raw", "required": True},
    "artifacts": {"type": "path"},
    "rewrite": {"type": "raw", "default": []},
    "roots": {"type": "list", "elements": "path", "default": []},
    "collections": {
        "type": "str",
        "choices": ["keep", "drop-chains", "drop", "associations"],
        "default": "keep",
    },
    "missing": {"type": "str", "choices": ["fail", "skip", "register"], "default": "fail"},
    "placeholders": {"type": "str", "choices": ["missing", "accept"], "default": "missing"},
    "formatters": {"type": "list", "elements": "str", "default": []},
    "unknown_formatters": {"type": "str", "choices": ["notice", "refuse"], "default": "notice"},
    "transfer": {
        "type": "str",
        "choices": ["symlink", "relsymlink", "copy", "hardlink", "link", "direct", "none"],
        "default": "symlink",
    },
    "runs": {"type": "list", "elements": "str", "default": []},
    "register": {"type": "bool", "default": False},
    "exclusive": {"type": "bool", "default": False},
    "note": {"type": "str", "default": ""},
    "stage": {
        "type": "str",
        "choices": ["instrument", "skymap", "calib", "refcats", "raw", "visits", "products"],
        "default": "products",
    },
    "instrument": {"type": "str"},
    "skymap": {"type": "str"},
    "visits": {"type": "str"},
}

COLLECTION: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "choices": ["RUN", "CALIBRATION", "TAGGED", "CHAINED"], "required": True},
    "children": {"type": "list", "elements": "str", "default": []},
    "needs": {"type": "list", "elements": "str", "default": []},
    "doc": {"type": "str"},
    "stage": {"type": "str", "default": "chains"},
}
