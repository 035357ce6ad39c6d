"""From the paths and URIs that an export has to files of this machine, and which of them may be taken."""

from __future__ import annotations

__all__ = ["OUTSIDE", "Mapped", "PathMapper", "Roots", "is_uri", "without_secrets"]

import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

OUTSIDE = "lies outside the folders that artifacts are taken from"
"""Reason of artifacts that may not be taken."""

_REMOTE = {"s3", "gs", "http", "https", "dav", "davs"}
"""Schemes of files on other machines that the butler reads."""

_MAX_KEPT = 10_000
"""Folders whose place is remembered."""

_MAX_DEPTH = 100
"""Folders in a path from which it is resolved at once."""


class Mapped(NamedTuple):
    """Where an artifact is by its name."""

    path: str
    """Absolute path on this machine; what is not local stays a URI."""

    reason: str
    """Why that is no file of this machine; empty where it is one."""

    is_remote: bool = False
    """Whether it is somewhere that the butler reads from."""


class PathMapper:
    """Turns the paths and URIs of an export into paths on this machine.

    ``.`` and ``..`` are resolved before a rule is looked for.

    Parameters
    ----------
    rewrite : `~collections.abc.Sequence` [ `tuple` [ `str`, `str` ] ]
        Old and new prefixes, on whole path components, of paths or of URIs;
        the longest that fits is used. Only paths are rewritten, never names of
        collections.
    artifacts : `pathlib.Path`
        Where relative paths begin, those that a rule made included.
    """

    def __init__(self, rewrite: Sequence[tuple[str, str]], artifacts: Path) -> None:
        self._rules = sorted(((_old(old), _new(new)) for old, new in rewrite), key=lambda rule: -len(rule[0]))
        self._artifacts = os.path.abspath(artifacts)
        self.folders = [self._artifacts, *(self._absolute(new) for _, new in self._rules if not is_uri(new))]
        """Where artifacts are by these rules."""

    def __call__(self, path: str) -> Mapped:
        """Map one path.

        Parameters
        ----------
        path : `str`
            As the export has it: relative, absolute, or a URI.

        Returns
        -------
        mapped : `Mapped`
            Where it is, or why nowhere on this machine.
        """
        if "\0" in path:
            return Mapped(path, "has a NUL character in its path")
        if not is_uri(path):
            mapped = self._rewrite(_normal(path))
            return self._local(path if mapped is None else mapped)
        try:
            uri = _normal_uri(path)
        except ValueError as error:
            return Mapped(path, f"is no URI ({error})")
        if uri.fragment or uri.query:
            part = f"names only a part (#{uri.fragment}) of a file"
            return Mapped(path, part if uri.fragment else "has a query (?...), as no file does")
        mapped = self._rewrite(uri.geturl(), unquoted=True)
        if mapped is None and uri.scheme == "file" and uri.netloc in ("", "localhost"):
            return self(_normal(unquote(uri.path)))
        return self._local(path if mapped is None else mapped)

    def _local(self, path: str) -> Mapped:
        if is_uri(path):
            uri = urlsplit(path)
            reason = f"is on {uri.scheme}://{_host(uri)}, which is not a local file"
            return Mapped(path, reason, uri.scheme in _REMOTE and bool(uri.netloc))
        return Mapped(self._absolute(path), "")

    def _absolute(self, path: str) -> str:
        return os.path.normpath(
            f"{self._artifacts}/{path}" if not path.startswith("/") else f"/{path.lstrip('/')}"
        )

    def _rewrite(self, path: str, *, unquoted: bool = False) -> str | None:
        for old, new in self._rules:
            prefix = old if old.endswith("/") else f"{old}/"
            if path == old or path.startswith(prefix):
                rest = path[len(prefix) :]
                rest = unquote(rest) if unquoted else rest
                return f"{new.rstrip('/')}/{rest}" if new else rest
        return None


def is_uri(path: str) -> bool:
    """Return whether something is a URI and no path.

    Parameters
    ----------
    path : `str`
        As an export has it.

    Returns
    -------
    is_uri : `bool`
        Whether it begins with a scheme.
    """
    scheme, separator, _ = path.partition("://")
    return path.startswith("file:/") or bool(separator and _is_scheme(scheme))


_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch


def without_secrets(path: str) -> str:
    """Return a URI as messages may have it: name, password and signature are for nobody else to use.

    Parameters
    ----------
    path : `str`
        A path, or a URI, as an export has it.

    Returns
    -------
    shown : `str`
        The path as it is; the URI without them.
    """
    try:
        uri = urlsplit(path)
    except ValueError:
        return path
    if not is_uri(path) or not (uri.query or "@" in uri.netloc):
        return path
    return uri._replace(netloc=_host(uri), query="..." if uri.query else "").geturl()


def _host(uri: SplitResult) -> str:
    return uri.netloc.rpartition("@")[2]


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return f"/{normal.lstrip('/')}" if normal.startswith("/") else normal


def _normal_uri(uri: str) -> SplitResult:
    parts = urlsplit(uri)
    return parts._replace(path=_normal(parts.path) if parts.path else "")


def _old(old: str) -> str:
    if is_uri(old):
        return _normal_uri(old).geturl().rstrip("/")
    return _normal(old)


def _new(new: str) -> str:
    if new.startswith("file:/"):
        return unquote(urlsplit(new).path)
    return os.path.expanduser(new)


class Roots:
    """Folders from below which artifacts are taken, and from nowhere else.

    What counts is where a file really is: the folders themselves may be links.

    Parameters
    ----------
    folders : `~collections.abc.Iterable` [ `str` or `pathlib.Path` ]
        The folders.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self._folders = list(dict.fromkeys(os.path.realpath(folder) for folder in folders))
        self._real: dict[str, str] = {}
        self._allowed: dict[str, bool] = {}

    def __str__(self) -> str:
        return ", ".join(self._folders)

    def have(self, path: str, *, is_link: bool) -> str:
        """Return whether a file may be taken.

        Parameters
        ----------
        path : `str`
            Absolute path.
        is_link : `bool`
            Whether the file itself is a symbolic link.

        Returns
        -------
        reason : `str`
            Why not; empty where it may.
        """
        folder = os.path.dirname(path)
        allowed = self._allowed.get(folder)
        if allowed is None:
            if len(self._allowed) >= _MAX_KEPT:
                self._allowed.clear()
            allowed = self._allowed[folder] = self.contain(self._resolve(folder))
        if allowed and not is_link:
            return ""
        real = os.path.realpath(path)
        if self.contain(real):
            return ""
        return OUTSIDE if real == path else f"{OUTSIDE}: it is {real}"

    def contain(self, real: str) -> bool:
        """Return whether a file lies below one of the folders.

        Parameters
        ----------
        real : `str`
            Absolute path without symbolic links.

        Returns
        -------
        contain : `bool`
            Whether it does.
        """
        return any(real == root or real.startswith(f"{root.rstrip('/')}/") for root in self._folders)

    def _resolve(self, folder: str) -> str:
        """Resolve links, with one system call for a folder beside others."""
        known = self._real.get(folder)
        if known is not None:
            return known
        if folder.count("/") > _MAX_DEPTH:
            return os.path.realpath(folder)
        parent, name = os.path.split(folder)
        real = folder
        if parent != folder:
            real = f"{self._resolve(parent).rstrip('/')}/{name}"
            if os.path.islink(real):
                real = os.path.realpath(real)
        if len(self._real) >= _MAX_KEPT:
            self._real.clear()
        self._real[folder] = real
        return real
