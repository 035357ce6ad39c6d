"""What verbs return: whether anything was changed, as data, for a reader, and as a difference."""

from __future__ import annotations

__all__ = ["Difference", "Result"]

import abc
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console


class Difference(NamedTuple):
    """What something was, and what it is now."""

    header: str
    """What it is."""

    before: str
    after: str
    header_after: str = ""
    """What it is now, where that is something else."""


class Result(abc.ABC):
    """What a verb did, or would do in a dry run."""

    @property
    @abc.abstractmethod
    def changed(self) -> bool:
        """Whether anything was changed, or would be."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data.

        Returns
        -------
        data : `dict`
            All of it but ``changed``.
        """

    @abc.abstractmethod
    def show(self, console: Console) -> None:
        """Print the result for a reader.

        Parameters
        ----------
        console : `rich.console.Console`
            Where to print.
        """

    def differences(self) -> Iterator[Difference]:
        """Yield what was changed, or would be; nothing for a verb that writes nothing.

        Yields
        ------
        difference : `Difference`
            One thing.
        """
        yield from ()

    def diff(self) -> list[dict[str, str]]:
        """Return what was changed as Ansible diff mappings.

        Returns
        -------
        diff : `list` [ `dict` ]
            Empty where nothing was changed.
        """
        if not self.changed:
            return []
        return [
            {
                "before_header": one.header,
                "after_header": one.header_after or one.header,
                "before": one.before,
                "after": one.after,
            }
            for one in self.differences()
        ]
