"""Instruments and skymaps, a file each: adding one needs no code."""

from __future__ import annotations

__all__ = ["named", "read_all"]

from collections.abc import Mapping
from importlib import resources
from typing import TypeVar

import yaml
from pydantic import TypeAdapter

from ...errors import ReplicaError

T = TypeVar("T")


def read_all(folder: str, kind: TypeAdapter[T]) -> Mapping[str, T]:
    """Read the files of a folder of this package.

    Parameters
    ----------
    folder : `str`
        Name of the folder.
    kind : `pydantic.TypeAdapter`
        What each file describes.

    Returns
    -------
    things : `~collections.abc.Mapping` [ `str`, ... ]
        By their names, which are those of the files without ``.yaml``.
    """
    found = {}
    for file in sorted(resources.files(__package__).joinpath(folder).iterdir(), key=lambda it: it.name):
        name, dot, _ = file.name.rpartition(".yaml")
        if dot:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            found[name] = kind.validate_python({"name": name, **content})
    return found


def named(known: Mapping[str, T], name: str, what: str) -> T:
    """Return one of the things that are known.

    Parameters
    ----------
    known : `~collections.abc.Mapping` [ `str`, ... ]
        All of them, by name.
    name : `str`
        The name of one.
    what : `str`
        What it is: ``instrument`` or ``skymap``.

    Returns
    -------
    thing : ...
        That of the name.

    Raises
    ------
    ReplicaError
        Raised if there is none of this name; the message says which there are.
    """
    if name not in known:
        raise ReplicaError(
            f"The {what} {name} is not known here; known are: {', '.join(known)}. Others come with exports that have "
            f"them, or are made by 'butler register-{what}' of the Science Pipelines."
        )
    return known[name]
