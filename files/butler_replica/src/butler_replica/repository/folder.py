"""The repository folder as a whole: what lies in it, whose it is, emptying it.

Symbolic links are looked at as links everywhere; nothing here follows one.
"""

from __future__ import annotations

__all__ = [
    "PRUNED_FOLDER",
    "FolderContent",
    "artifacts_among",
    "empty_folder",
    "is_pruned_record",
    "place_problem",
    "scan_folder",
]

import itertools
import os
import pwd
import stat
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RepositoryError
from ..internals import Locations
from ..local_paths import Overlap, overlap, places_of
from ..sets import DataPlaces

PRUNED_FOLDER = ".dc2-replica/pruned"
"""Folder of the exports of what was pruned, below the datastore's root."""

_MOUNT_TABLE = Path("/proc/self/mountinfo")


def is_pruned_record(path: str) -> bool:
    """Return whether a file of a repository is an export of what was pruned.

    Parameters
    ----------
    path : `str`
        Relative to the datastore's root.

    Returns
    -------
    is_record : `bool`
        Whether it is.
    """
    return path.startswith(f"{PRUNED_FOLDER}/") and path.endswith(".yaml")


@dataclass
class FolderContent:
    """What lies in a folder."""

    exists: bool = False
    files: set[str] = field(default_factory=set)
    """Real files (and whatever else is neither link nor folder), relative to the folder."""

    links: int = 0
    """Number of symbolic links."""

    locked: set[str] = field(default_factory=set)
    """Folders in which this user may remove nothing, although there is something."""

    @property
    def is_empty(self) -> bool:
        """Whether there is neither file nor link; empty folders do not count."""
        return not self.files and not self.links

    @property
    def names(self) -> list[str]:
        """What is in it, for a message."""
        return [*sorted(self.files), *([f"{self.links} links"] if self.links else [])]

    def without(self, names: Collection[str]) -> FolderContent:
        """Return the content but for some files.

        Parameters
        ----------
        names : `~collections.abc.Collection` [ `str` ]
            Paths relative to the folder.

        Returns
        -------
        content : `FolderContent`
            The rest.
        """
        return FolderContent(self.exists, self.files.difference(names), self.links, self.locked)


def scan_folder(root: Path) -> FolderContent:
    """List a folder with everything below it.

    Parameters
    ----------
    root : `pathlib.Path`
        The folder; it need not exist.

    Returns
    -------
    content : `FolderContent`
        What lies in it.

    Raises
    ------
    RepositoryError
        Raised if it is no folder, or cannot be read completely.
    """
    if not os.path.lexists(root):
        return FolderContent()
    content = FolderContent(exists=True)
    prefix = len(str(root).rstrip("/")) + 1
    pending = [str(root)]
    while pending:
        folder = pending.pop()
        may_remove = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not may_remove:
                        content.locked.add(folder)
                    if entry.is_symlink():
                        content.links += 1
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        content.files.add(entry.path[prefix:])
        except OSError as error:
            raise RepositoryError(
                f"{folder}: the repository folder cannot be read: {error.strerror}."
            ) from error
    return content


def artifacts_among(files: Set[str], recorded: Iterable[str], root: Path, datastore: str) -> set[str]:
    """Return those files of a repository folder that a datastore has a record of.

    Parameters
    ----------
    files : `~collections.abc.Set` [ `str` ]
        Paths relative to the repository folder.
    recorded : `~collections.abc.Iterable` [ `str` ]
        Paths of the datastore's records. Files that the datastore only refers
        to are passed over.
    root : `pathlib.Path`
        The repository folder.
    datastore : `str`
        The datastore's root, relative to the repository folder.

    Returns
    -------
    artifacts : `set` [ `str` ]
        Paths relative to the repository folder.
    """
    locations = Locations(os.path.normpath(root / datastore))
    begin = len(f"{root}/")
    found = (path[begin:] for one in recorded if (path := locations.find_own(one)) is not None)
    return {path for path in found if path in files}


def empty_folder(root: Path, own: Set[str], keep: Set[str]) -> tuple[int, list[str]]:
    """Remove links, our own files, and the folders that are empty then.

    Every entry is looked at again when it is its turn, from a descriptor of
    the folder it is in: a file that appeared since the folder was scanned
    stays, and so does whatever a folder that was swapped for a link leads to.

    Parameters
    ----------
    root : `pathlib.Path`
        The folder. It stays itself.
    own : `~collections.abc.Set` [ `str` ]
        Files to remove, relative to the folder.
    keep : `~collections.abc.Set` [ `str` ]
        Files to leave without a word.

    Returns
    -------
    removed : `int`
        Number of links and files removed.
    others : `list` [ `str` ]
        Files that were neither to be removed nor to be left.
    """
    removed = 0
    others = []
    for folder, folders, files, descriptor in os.fwalk(root, topdown=False, follow_symlinks=False):
        relative = Path(folder).relative_to(root)
        for name in itertools.chain(files, folders):
            path = str(relative / name)
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if not _is_occupied(name, descriptor):
                    os.rmdir(name, dir_fd=descriptor)
            elif stat.S_ISLNK(mode) or path in own:
                os.unlink(name, dir_fd=descriptor)
                removed += 1
            elif path not in keep:
                others.append(path)
    return removed, others


def _is_occupied(name: str, descriptor: int) -> bool:
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    finally:
        os.close(folder)


def place_problem(root: Path, data: DataPlaces) -> str | None:
    """Return why a folder is no place for a repository that can be removed again.

    Parameters
    ----------
    root : `pathlib.Path`
        The repository folder; it need not exist.
    data : `~butler_replica.sets.DataPlaces`
        Where the data are that are replicated.

    Returns
    -------
    problem : `str` or `None`
        The end of a sentence that begins with the folder's name.
    """
    return next(_place_problems(root, data), None)


def _place_problems(root: Path, data: DataPlaces) -> Iterator[str]:
    real = Path(os.path.realpath(root))
    if real == Path("/"):
        yield "is the root of the file system"
    for account in pwd.getpwall():
        home = Path(os.path.realpath(account.pw_dir))
        if home == real or (real in home.parents and os.path.exists(home)):  # noqa: PTH110 (may be closed)
            yield f"is, or contains, the home of user {account.pw_name!r} ({home})"
    for mount in _mount_points():
        if mount == real:
            yield "is a mount point; take a folder inside it"
        elif real in mount.parents:
            yield f"contains a mount point ({mount})"
    for places, refused in ((data.folders, list(Overlap)), (data.prefixes, [Overlap.SAME, Overlap.ABOVE])):
        for given in places:
            found = {overlap(one, place) for one in {real, root} for place in places_of(given)}
            yield from (f"{how.value} the data folder {given}" for how in refused if how in found)


def _mount_points() -> Iterator[Path]:
    """Yield the mount points of this machine, bind mounts included."""
    try:
        lines = _MOUNT_TABLE.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # Spaces, tabs, newlines and backslashes are written as octal escapes.
        yield Path(line.split()[4].encode().decode("unicode_escape").encode("latin-1").decode())
