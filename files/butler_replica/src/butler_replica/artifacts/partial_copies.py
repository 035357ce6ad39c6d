"""Copies that are not complete: the name of one meanwhile, and how one that a killed process left is known."""

from __future__ import annotations

__all__ = ["is_partial_copy", "partial_name"]

import os
import re
import secrets
import stat

_is_partial_name = re.compile(r"\.[0-9a-f]{32}\.partial").fullmatch


def partial_name() -> str:
    """Return a name for a copy that is not complete, which nobody can guess.

    Returns
    -------
    name : `str`
        Name of a file.
    """
    return f".{secrets.token_hex(16)}.partial"


def is_partial_copy(name: str, folder: int | None = None) -> bool:
    """Return whether a file is a copy that this user's process has not completed.

    Whether that process still runs is for the lock of the repository to say.

    Parameters
    ----------
    name : `str`
        Its path, or its name in the folder.
    folder : `int`, optional
        Descriptor of the folder.

    Returns
    -------
    is_partial_copy : `bool`
        Whether it has such a name, is a regular file and is this user's own.
    """
    if not _is_partial_name(name.rpartition("/")[2]):
        return False
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
