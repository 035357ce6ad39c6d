"""A butler as another release, or another installation, could have it: one attribute is another, or not there."""

from __future__ import annotations

from typing import Any

_MISSING = object()


class Other:
    """An object of which one attribute, or one of an attribute, is another.

    Parameters
    ----------
    of : `object`
        The object.
    name : `str`
        The attribute, with dots.
    value : `object`, optional
        What it is; not given: it is not there.
    """

    def __init__(self, of: Any, name: str, value: Any = _MISSING) -> None:
        self._of = of
        self._name = name
        self._value = value

    def __getattr__(self, name: str) -> Any:
        first, _, rest = self._name.partition(".")
        if name != first:
            return getattr(self._of, name)
        if rest:
            return Other(getattr(self._of, name), rest, self._value)
        if self._value is _MISSING:
            raise AttributeError(f"{type(self._of).__name__} has no attribute {name!r}")
        return self._value
