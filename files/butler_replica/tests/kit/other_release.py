"""A butler as another release could have it: one private name fewer."""

from __future__ import annotations

from typing import Any


class Without:
    """An object that lacks one attribute, of its own or of one of its attributes.

    Parameters
    ----------
    of : `object`
        The object.
    name : `str`
        Name of what it lacks, with dots.
    """

    def __init__(self, of: Any, name: str) -> None:
        self._of = of
        self._lacks = name

    def __getattr__(self, name: str) -> Any:
        first, _, rest = self._lacks.partition(".")
        if name == first and not rest:
            raise AttributeError(f"{type(self._of).__name__} has no attribute {name!r}")
        value = getattr(self._of, name)
        return Without(value, rest) if name == first else value
