"""Finding export files."""

from __future__ import annotations

__all__ = ["find_exports"]

import glob
from collections.abc import Iterable
from pathlib import Path

from ..errors import ReplicaError
from ..local_paths import expanded
from .text import SUFFIXES


def find_exports(patterns: Iterable[str | Path]) -> list[Path]:
    """Find the export files that folders, files and globs stand for.

    Parameters
    ----------
    patterns : `~collections.abc.Iterable` [ `str` or `pathlib.Path` ]
        Folders (their ``*.yaml``, compressed or not, and not those of
        subfolders), files, or globs of either.

    Returns
    -------
    paths : `list` [ `pathlib.Path` ]
        Export files, each once, in the order of ``patterns`` and by name
        within one of them.

    Raises
    ------
    ReplicaError
        Raised if there are no patterns, or one that stands for no file.
    """
    paths: dict[Path, None] = {}
    patterns = list(patterns)
    if not patterns:
        raise ReplicaError("No export was given: name folders, files or globs of export files.")
    for pattern in patterns:
        text = str(expanded(pattern))
        matches = [Path(text)]
        if not matches[0].exists():
            matches = [Path(match) for match in sorted(glob.glob(text))]  # noqa: PTH207 (may be absolute)
        if not matches:
            raise ReplicaError(f"{text}: no such file or folder. Is the data mounted, is the path right?")
        found = [file for match in matches for file in _files_of(match)]
        if not found:
            below = (
                sorted({str(p.parent) for s in SUFFIXES for p in Path(text).glob(f"*/*.yaml{s}")})
                if Path(text).is_dir()
                else []
            )
            hint = f" Its subfolders do ({', '.join(below[:3])}): name them, or '{text}/*'." if below else ""
            raise ReplicaError(f"{text}: holds no export file (*.yaml).{hint}")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for suffix in SUFFIXES for p in path.glob(f"*.yaml{suffix}") if p.is_file())
    return [path]
