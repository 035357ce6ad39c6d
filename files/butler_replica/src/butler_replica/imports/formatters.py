"""Whether the formatters that an export names are to be trusted.

A formatter is a name that the datastore notes for each artifact. Whoever reads
the dataset imports and calls it, so that ``os.system`` would do as well.
"""

from __future__ import annotations

__all__ = ["check_formatters", "is_trusted"]

from collections.abc import Iterable
from pathlib import Path

from ..errors import ExportError
from ..options import UnknownFormatters

_SHOWN = 5


def is_trusted(formatter: str, packages: Iterable[str]) -> bool:
    """Return whether a formatter is one of the Science Pipelines or of a package that the user trusts.

    Parameters
    ----------
    formatter : `str`
        Full name, ``package.module.Class``.
    packages : `~collections.abc.Iterable` [ `str` ]
        Packages, or modules, that the user trusts.

    Returns
    -------
    trusted : `bool`
        Whether it is. A name is taken by whole components: ``lsstevil.x`` is
        not of ``lsst``; and modules have others in them
        (``lsst.x.subprocess.Popen``): what is of ``lsst`` has the name of a
        formatter.
    """
    parts = formatter.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] == "lsst" and len(parts) > 2 and parts[-1].endswith("Formatter"):
        return True
    return any(
        f"{formatter}.".startswith(f"{package.strip('.')}.") for package in packages if package.strip(".")
    )


def check_formatters(
    export: Path, formatters: Iterable[str], packages: Iterable[str], policy: UnknownFormatters
) -> str:
    """Return which formatters are not to be trusted.

    Parameters
    ----------
    export : `pathlib.Path`
        The export.
    formatters : `~collections.abc.Iterable` [ `str` ]
        Formatters that it names.
    packages : `~collections.abc.Iterable` [ `str` ]
        Packages that the user trusts.
    policy : `str`
        What such formatters do.

    Returns
    -------
    notice : `str`
        What a reader should know; empty if all are trusted.

    Raises
    ------
    ExportError
        Raised if one is not, and ``policy`` is ``refuse``.
    """
    packages = list(packages)
    unknown = sorted(name for name in formatters if not is_trusted(name, packages))
    if not unknown:
        return ""
    trusted = ", ".join(["lsst", *packages])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    names = f"{', '.join(unknown[:_SHOWN])}{more}"
    if policy == "refuse":
        raise ExportError(
            export,
            f"names formatters that are not of {trusted}: {names}. Whoever reads the datasets would import and call "
            "them.",
            remedy="If they are trusted, name their package (--formatter PACKAGE, formatters); if not, correct them in "
            "a copy of the export.",
        )
    return (
        f"{export.name} names formatters that are not of {trusted}: {names}. Whoever reads the datasets imports and "
        "calls them. Name their package if they are trusted (--formatter PACKAGE, formatters)."
    )
