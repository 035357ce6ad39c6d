"""What a user needs to open a repository by its label: credentials, and an entry in the repository index.

Both files may hold entries of the user's own. Those are kept; where it can be
done, so is the text around them.
"""

from __future__ import annotations

__all__ = ["AccessResult", "ensure_credentials", "ensure_index_entry"]

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
import yaml
from lsst.utils.db_auth import DbAuth, DbAuthError
from rich.console import Console

from ..errors import ConflictError, RepositoryError
from ..interrupts import ended_by_signals
from ..local_paths import local_path
from ..own_files import OwnFile
from ..results import Difference, Result


@dataclass
class AccessResult(Result):
    """What was written into a file, or would be."""

    path: Path
    actions: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""
    """Content of the file, without passwords."""

    dry_run: bool = False

    @property
    def changed(self) -> bool:
        """Whether the file was changed, or would be."""
        return bool(self.actions)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {"path": str(self.path), "actions": self.actions, "dry_run": self.dry_run}

    def show(self, console: Console) -> None:
        """Print the result for a reader.

        Parameters
        ----------
        console : `rich.console.Console`
            Where to print.
        """
        for action in self.actions or ["nothing to do"]:
            console.print(f"{self.path}: {action}", highlight=False)

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        yield Difference(str(self.path), self.before, self.after)


def ensure_credentials(
    path: str | os.PathLike[str], *, url: str, username: str, password: str, dry_run: bool = False
) -> AccessResult:
    """Ensure that the butler finds the right credentials for a database.

    Parameters
    ----------
    path : `str` or `os.PathLike`
        Credentials file of the user, as a rule ``~/.lsst/db-auth.yaml``.
        Nobody else may read it; the butler refuses a file that others can.
    url : `str`
        URL of the database, without credentials.
    username, password : `str`
        The credentials.
    dry_run : `bool`, optional
        Report what would be done and change nothing.

    Returns
    -------
    result : `AccessResult`
        What was done; it holds no password.

    Raises
    ------
    RepositoryError
        Raised if the file is there and is no list of credentials.
    """
    path = local_path(path)
    with _changing(path, dry_run, folder_mode=0o700) as file:
        text, mode = file.read()
        entries = _credentials(path, text)
        result = AccessResult(path, before=_without_passwords(entries), dry_run=dry_run)
        wanted = {"url": url, "username": username, "password": password}
        new_text = text
        if _found_credentials(entries, url) != (username, password):
            # In front: of several entries that match, the butler takes the first.
            kept = [entry for entry in entries if entry["url"] != url]
            new_text = _merged(yaml.safe_dump([wanted], sort_keys=False) + text, [wanted, *kept])
            result.actions.append(f"set the credentials of {username} for {url}")
            entries = [wanted, *kept]
        if mode is not None and mode & 0o077:
            result.actions.append("set the mode to 0600")
        result.after = _without_passwords(entries)
        if result.changed and not dry_run:
            file.write(new_text, mode=0o600, folder_mode=0o700)
    return result


def ensure_index_entry(
    path: str | os.PathLike[str], *, label: str, root: str | os.PathLike[str], dry_run: bool = False
) -> AccessResult:
    """Ensure that a label in a repository index stands for a repository.

    Parameters
    ----------
    path : `str` or `os.PathLike`
        The index, a YAML file that ``DAF_BUTLER_REPOSITORY_INDEX`` names.
    label : `str`
        The label.
    root : `str` or `os.PathLike`
        The repository folder.
    dry_run : `bool`, optional
        Report what would be done and change nothing.

    Returns
    -------
    result : `AccessResult`
        What was done.

    Raises
    ------
    ConflictError
        Raised if the label stands for another repository that is there.
    RepositoryError
        Raised if the file is there and is no index.
    """
    path = local_path(path)
    root = Path(os.path.normpath(local_path(root)))
    with _changing(path, dry_run, folder_mode=0o755) as file:
        text, mode = file.read()
        entries = _index(path, text)
        result = AccessResult(path, before=text, after=text, dry_run=dry_run)
        there = entries.get(label)
        if there is not None and _same_folder(there, root):
            return result
        if there is not None and os.path.exists(local_path(there) / "butler.yaml"):  # noqa: PTH110 (may be closed)
            raise ConflictError(
                f"{path}: the label {label!r} stands for another repository, {there}. "
                f"Give {root} another label, or remove the entry.",
                arguments=["label"],
            )
        wanted = {**entries, label: str(root)}
        start = text if not text or text.endswith("\n") else text + "\n"
        result.after = _merged(start + yaml.safe_dump({label: str(root)}), wanted)
        result.actions.append(f"set the label {label} to {root}")
        if not dry_run:
            # One that is there keeps the mode that it was given.
            file.write(result.after, mode=0o644 if mode is None else mode, folder_mode=0o755)
    return result


@contextlib.contextmanager
def _changing(path: Path, dry_run: bool, *, folder_mode: int) -> Iterator[OwnFile]:
    """Open a file for a verb that changes it: nobody else does at the same time, and a signal ends it."""
    file = OwnFile(path)
    with ended_by_signals(), contextlib.nullcontext() if dry_run else file.locked(folder_mode):
        yield file


def _parsed(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Not the error itself: it quotes the file, and that may be a password.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise RepositoryError(f"{path}{where}: not valid YAML. Mend the file, or move it away.") from None


def _credentials(path: Path, text: str) -> list[dict[str, str]]:
    entries = _parsed(path, text) or []
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "url" in e for e in entries):
        raise RepositoryError(
            f"{path}: not a list of credentials with 'url', 'username' and 'password'. "
            "Mend the file, or move it away."
        )
    return entries


def _index(path: Path, text: str) -> dict[str, str]:
    entries = _parsed(path, text) or {}
    if not isinstance(entries, dict) or not all(isinstance(folder, str) for folder in entries.values()):
        raise RepositoryError(
            f"{path}: not a repository index ('label: folder'). Mend the file, or move it away."
        )
    return entries


def _found_credentials(entries: list[dict[str, str]], url: str) -> tuple[str | None, str] | None:
    """Return what the butler would find, asking the class that it asks."""
    parts = sqlalchemy.make_url(url)
    try:
        return DbAuth(authList=entries).getAuth(
            parts.drivername, parts.username, parts.host, parts.port, parts.database
        )
    except (DbAuthError, KeyError):
        return None


def _merged(text: str, wanted: Any) -> str:
    """Return a text that was pieced together if it means what it should, else one written anew."""
    try:
        if yaml.safe_load(text) == wanted:
            return text
    except yaml.YAMLError:
        pass
    return yaml.safe_dump(wanted, sort_keys=False)


def _without_passwords(entries: list[dict[str, str]]) -> str:
    hidden = [{k: "********" if k == "password" else v for k, v in entry.items()} for entry in entries]
    return yaml.safe_dump(hidden, sort_keys=False) if hidden else ""


def _same_folder(there: str, root: Path) -> bool:
    return os.path.realpath(local_path(there)) == os.path.realpath(root)
