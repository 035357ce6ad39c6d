"""Showing what others have named: nothing of it reaches a terminal as anything but letters.

Names of collections and dataset types, paths, values and the errors that
quote them come from exports, repositories and servers. An escape sequence in
one would be obeyed by the terminal, a mark of ``rich`` by ``rich``, and a
line end would make a line of its own.
"""

from __future__ import annotations

__all__ = ["LogFormatter", "ReaderConsole", "as_json", "some", "visible", "visible_in", "visible_lines"]

import json
import logging
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

MAX_LISTED = 5
"""Names in a message, of which there can be thousands."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (directions of writing among them), surrogates, line and paragraph ends."""


def visible(text: object) -> str:
    r"""Return a text as one line whose every character can be seen.

    Parameters
    ----------
    text : `object`
        A name, a path, a message.

    Returns
    -------
    text : `str`
        The same, with escapes as Python writes them (``\x1b``, ``\u202e``)
        for what a terminal would obey or not show.
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_visible_character, text))


def visible_lines(text: object) -> str:
    """Return a text with its lines, whose every other character can be seen.

    Parameters
    ----------
    text : `object`
        Lines that are known to be separate ones.

    Returns
    -------
    text : `str`
        Each line as `visible` has it.
    """
    return "\n".join(map(visible, str(text).split("\n")))


def visible_in(data: Any) -> Any:
    """Return plain data with `visible_lines` of all its texts, those of keys included.

    Parameters
    ----------
    data : `object`
        Mappings, sequences, texts, and anything else, which is returned as it is.

    Returns
    -------
    data : `object`
        The same.
    """
    if isinstance(data, str):
        return visible_lines(data)
    if isinstance(data, dict):
        return {visible_in(key): visible_in(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [visible_in(value) for value in data]
    return data


def as_json(data: Any) -> str:
    """Return data as one line of JSON, in which names are what they are and no character controls a terminal.

    Parameters
    ----------
    data : `object`
        Plain data; what JSON does not know goes as text.

    Returns
    -------
    text : `str`
        Printable ASCII.
    """
    # The one control character that JSON does not escape; it can only stand within a string.
    return json.dumps(data, default=str).replace("\x7f", "\\u007f")


def some(names: Iterable[str], shown: int = MAX_LISTED) -> str:
    """Return the first of some names, and how many more there are.

    Parameters
    ----------
    names : `~collections.abc.Iterable` [ `str` ]
        The names.
    shown : `int`, optional
        How many to show.

    Returns
    -------
    text : `str`
        A list for a sentence.
    """
    names = list(names)
    more = [f"and {len(names) - shown:,} more"] if len(names) > shown else []
    return ", ".join([*names[:shown], *more])


class ReaderConsole(Console):
    """Prints text for a reader: each as it is, without markup, in one line, every character visible."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Make a text of a string; all that is printed or put into a table comes through here."""
        return super().render_str(visible(text), **{**how, "markup": False, "emoji": False})


class LogFormatter(logging.Formatter):
    """Words of other packages' logs, made visible.

    Parameters
    ----------
    form : `logging.Formatter`, optional
        What makes lines of a record; the words alone if not given.
    """

    def __init__(self, form: logging.Formatter | None = None) -> None:
        super().__init__()
        self._form = form or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return visible_lines(self._form.format(record))


def _visible_character(character: str) -> str:
    unseen = unicodedata.category(character) in _UNSEEN
    return repr(character)[1:-1] if unseen else character
