"""Which files there are, known from listing folders instead of asking for each file."""

from __future__ import annotations

__all__ = ["Listing"]

import errno
import os
from collections import OrderedDict

from .errors import ArtifactError

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_FOLDERS_KEPT = 512
_LINKS_FOLLOWED = 40  # as many as the kernel does


class Listing:
    """Existence of files, at the cost of one listing per folder.

    Asking for each of a million artifacts takes a round trip each on a
    network file system; listing its folder answers for all of them. A
    symbolic link exists where what it points at does. Folders that were listed
    are remembered (the last few hundred), so an instance shows the files as
    they were: make a new one to look again.
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[str, dict[str, bool]] = OrderedDict()

    def exists(self, path: str) -> bool:
        """Say whether there is a file, following symbolic links.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        exists : `bool`
            Whether it exists.

        Raises
        ------
        ArtifactError
            Raised if the folder is there but cannot be listed: whether the
            file exists is unknown then, which is not the same as missing.
        """
        for _ in range(_LINKS_FOLLOWED):
            folder, name = os.path.split(path)
            is_link = self._list(folder).get(name)
            if is_link is None:
                return False
            if not is_link:
                return True
            try:
                path = os.path.join(folder, os.readlink(path))  # noqa: PTH115, PTH118
            except FileNotFoundError:
                return False
        return False

    def is_link(self, path: str) -> bool:
        """Say whether a path is a symbolic link, dangling or not.

        Parameters
        ----------
        path : `str`
            Absolute path.

        Returns
        -------
        is_link : `bool`
            Whether it is one.
        """
        folder, name = os.path.split(path)
        return bool(self._list(folder).get(name))

    def _list(self, folder: str) -> dict[str, bool]:
        found = self._folders.get(folder)
        if found is not None:
            self._folders.move_to_end(folder)
            return found
        try:
            with os.scandir(folder) as entries:
                found = {
                    entry.name: entry.is_symlink()
                    for entry in entries
                    if not entry.is_dir(follow_symlinks=False)
                }
        except OSError as error:
            if error.errno not in _ABSENT:
                raise ArtifactError(
                    f"{folder}: cannot be listed ({error.strerror}), so what it holds is unknown. "
                    "Check the mount and the permissions."
                ) from error
            found = {}
        self._folders[folder] = found
        if len(self._folders) > _FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return found
