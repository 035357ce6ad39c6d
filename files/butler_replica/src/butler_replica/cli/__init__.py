"""The command line ``butler-replica``: one thin command per verb."""

from __future__ import annotations

__all__ = ["main"]

import importlib
import io
import logging
import sys
from typing import Any

import click

from ..wording import LogFormatter, visible_lines

# Verb -> (module of this package, command). Commands are imported when they
# are called: loading the butler takes a second that ``--help`` need not wait.
_COMMANDS = {
    "chain": ("chain", "chain"),
    "compare": ("compare", "compare"),
    "credentials": ("credentials", "credentials"),
    "export": ("export", "export"),
    "import": ("import_", "import_"),
    "index": ("index", "index"),
    "instrument": ("instrument", "instrument"),
    "prune": ("prune", "prune"),
    "repository": ("repository", "repository"),
    "sample": ("sample", "sample"),
    "skymap": ("skymap", "skymap"),
    "verify": ("verify", "verify"),
    "visits": ("visits", "visits"),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.UsageError(visible_lines(error.format_message()), error.ctx) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="butler-replica")
def main() -> None:
    """Make and maintain a replica of a Butler repository."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot write a letter gets an escape instead of the end of the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogFormatter())
    # SQLAlchemy shows tracebacks of its own where a connection is lost.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
