"""The same command line as ``butler replica``.

The stock ``butler`` finds it through the entry point group ``butler.cli``. It
loads this module for each of its commands, ``butler --help`` included, so
nothing here may take time or raise.
"""

from __future__ import annotations

__all__ = ["replica", "subcommands"]

import logging
from typing import Any

import click

from ..wording import LogFormatter
from . import main


class _Borrowed(click.Group):
    """The commands of `main` under another name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return main.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return main.get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        # The handlers are those that ``butler`` has set up by now.
        for handler in logging.getLogger().handlers:
            handler.setFormatter(LogFormatter(handler.formatter))
        return main.invoke(ctx)


replica = click.version_option(package_name="butler-replica", prog_name="butler-replica")(
    _Borrowed("replica", help=main.help, context_settings=main.context_settings)
)


def subcommands() -> list[click.Command]:
    """Return the commands that ``butler`` gets from this package.

    Returns
    -------
    commands : `list` [`click.Command`]
        ``replica``, a group of all verbs.
    """
    return [replica]
