"""The stock importer, with stand-ins for the formatter classes that only a full stack has."""

from __future__ import annotations

import contextlib
import re
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

from lsst.daf.butler import Butler, FormatterV2


class _AnyExtension(FormatterV2):
    """A formatter by name only."""

    @classmethod
    def validate_extension(cls, location: object) -> None:
        pass


@contextlib.contextmanager
def formatters(names: Iterable[str]) -> Iterator[None]:
    """Make formatters importable while the context lasts."""
    before = dict(sys.modules)
    for name in names:
        module_name, _, class_name = name.rpartition(".")
        if module_name.startswith("lsst.daf.butler."):
            continue
        parts = module_name.split(".")
        for depth in range(2, len(parts) + 1):
            package = ".".join(parts[:depth])
            if package not in sys.modules:
                module = types.ModuleType(package)
                module.__path__ = []
                sys.modules[package] = module
        setattr(
            sys.modules[module_name],
            class_name,
            type(class_name, (_AnyExtension,), {"__module__": module_name}),
        )
    try:
        yield
    finally:
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]


def formatter_classes(export: Path) -> contextlib.AbstractContextManager[None]:
    """Make the formatters that an export names importable while the context lasts."""
    return formatters(set(re.findall(r"formatter: (\S+)", export.read_text())))


def stock_import(repo: Path, export: Path, artifacts: Path, transfer: str) -> None:
    """Import an export with the stock importer."""
    with formatter_classes(export):
        butler = Butler.from_config(repo, writeable=True)
        butler.import_(directory=artifacts, filename=str(export), transfer=transfer)
