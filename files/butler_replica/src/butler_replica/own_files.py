"""Small files that only their owner may write: no link, folder or file of somebody else is followed or written.

A path is walked part by part from descriptors, as ``sshd`` does before it
believes a file of keys: whoever could put something else in the place of a part
could have the file written elsewhere, or read a password. Links of the user's
own are followed.
"""

from __future__ import annotations

__all__ = ["OwnFile"]

import contextlib
import errno
import fcntl
import os
import pwd
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import RepositoryError

_MAX_LINKS = 40
_TO_LOCK = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_WAIT_SECONDS = 60.0
"""How long to wait for another process that changes the same file, which takes it no time."""

_POLL_SECONDS = 0.1

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnFile:
    """A file of the user who runs this process.

    Parameters
    ----------
    path : `pathlib.Path`
        Where it is; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[str, int | None]:
        """Read the file.

        Returns
        -------
        text : `str`
            Its content; empty if it is not there.
        mode : `int` or `None`
            Its permissions; `None` if it is not there.

        Raises
        ------
        RepositoryError
            Raised if it cannot be read, or is not this user's alone to write.
        """
        with self._errors("read"), self._folder() as found:
            if found is None:
                return "", None
            folder, name = found
            try:
                self._check_file(os.stat(name, dir_fd=folder, follow_symlinks=False))
                # It may be another one by now; a pipe would wait for somebody to write into it.
                descriptor = os.open(
                    name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
                )
            except FileNotFoundError:
                return "", None
            with os.fdopen(descriptor, encoding="utf-8") as stream:
                status = os.fstat(descriptor)
                self._check_file(status)
                return stream.read(), stat.S_IMODE(status.st_mode)

    def write(self, text: str, *, mode: int, folder_mode: int) -> None:
        """Write the file so that a reader finds the old text or the new one, and nobody else the new one.

        Parameters
        ----------
        text : `str`
            The content.
        mode : `int`
            Permissions, whatever the umask.
        folder_mode : `int`
            Permissions of folders that have to be made for it.

        Raises
        ------
        RepositoryError
            Raised if it cannot be written, or what is there is not this
            user's alone to write.
        """
        with self._errors("written"), self._folder(folder_mode) as found:
            if found is None:
                return
            folder, name = found
            with contextlib.suppress(FileNotFoundError):
                self._check_file(os.stat(name, dir_fd=folder, follow_symlinks=False))
            new = f".{name}.{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(new, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fchmod(descriptor, mode)
                    os.fsync(descriptor)
                os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(new, dir_fd=folder)
                raise

    @contextlib.contextmanager
    def locked(self, folder_mode: int) -> Iterator[None]:
        """Be the only one of those who use this class to change files of its folder; wait for others.

        Parameters
        ----------
        folder_mode : `int`
            Permissions of folders that have to be made for it.

        Raises
        ------
        RepositoryError
            Raised if another process keeps the folder locked.
        """
        with contextlib.ExitStack() as stack:
            with self._errors("written"), self._folder(folder_mode) as found:
                if found is not None:
                    # A descriptor that is only a path cannot be locked.
                    with contextlib.suppress(PermissionError):
                        descriptor = os.open(".", _TO_LOCK, dir_fd=found[0])
                        stack.callback(os.close, descriptor)
                        self._lock(descriptor)
            yield

    def _lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RepositoryError(
                        f"{self.path}: another process has locked its folder. Wait until it has finished, or stop it, "
                        "and run this again."
                    ) from None
                time.sleep(_POLL_SECONDS)
            except OSError:
                return  # a file system without locks, or none on folders: the file is replaced whole all the same
            else:
                return

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise RepositoryError(f"{self.path}: cannot be {what}: {str(error).rstrip('.')}.") from error
        except OSError as error:
            raise RepositoryError(f"{self.path}: cannot be {what}: {error.strerror}.") from error

    @contextlib.contextmanager
    def _folder(self, make_mode: int | None = None) -> Iterator[tuple[int, str] | None]:
        """Open the folder that the file is in; `None` where it is not there and not to be made."""
        pending = list(self.path.absolute().parts[1:])
        shown = Path("/")
        folder = os.open("/", _DIRECTORY)
        # Folders on the way, so that ".." of a link leads where it should.
        way = [folder]
        links = 0
        try:
            while pending:
                name = pending.pop(0)
                if name == "..":
                    if len(way) > 1:
                        os.close(way.pop())
                    shown = shown.parent
                    continue
                try:
                    status = os.stat(name, dir_fd=way[-1], follow_symlinks=False)
                except FileNotFoundError:
                    if not pending:
                        yield way[-1], name
                        return
                    if make_mode is None:
                        yield None
                        return
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=way[-1])
                        os.chmod(name, make_mode, dir_fd=way[-1])
                    way.append(os.open(name, _DIRECTORY, dir_fd=way[-1]))
                    shown /= name
                    continue
                if stat.S_ISLNK(status.st_mode):
                    self._check_owner(shown / name, "link", status)
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    target = Path(os.readlink(name, dir_fd=way[-1]))
                    if target.is_absolute():
                        while len(way) > 1:
                            os.close(way.pop())
                        shown = Path("/")
                    pending = [part for part in target.parts if part != "/"] + pending
                    continue
                if not pending:
                    yield way[-1], name
                    return
                way.append(os.open(name, _DIRECTORY, dir_fd=way[-1]))
                shown /= name
                self._check_folder(shown, os.fstat(way[-1]))
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        finally:
            for descriptor in way:
                os.close(descriptor)

    def _check_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "pipe, socket or device"
            raise RepositoryError(f"{self.path}: a {kind} is there, not a file. Move it away.")
        self._check_owner(self.path, "file", status)
        if status.st_nlink > 1:
            raise RepositoryError(
                f"{self.path}: the file has {status.st_nlink} names (hard links); what is written here would "
                "be read or written by another name. Make it a file of its own, or move it away."
            )

    def _check_folder(self, path: Path, status: os.stat_result) -> None:
        self._check_owner(path, "folder", status)
        # Groups of one are usual among users; root belongs to none.
        others = stat.S_IWOTH | (0 if os.geteuid() else stat.S_IWGRP)
        if status.st_mode & others and not status.st_mode & stat.S_ISVTX:
            raise RepositoryError(
                f"{self.path}: others may write in the folder {path}, and put another file in its place. "
                f"Take that right away (chmod go-w {path}), or take another place."
            )

    def _check_owner(self, path: Path, what: str, status: os.stat_result) -> None:
        if status.st_uid not in (0, os.geteuid()):
            raise RepositoryError(
                f"{self.path}: the {what} {path} belongs to {_name(status.st_uid)}, and {_name(os.geteuid())} "
                "does not follow or write what belongs to another user. Work as the owner, or take another place."
            )


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"user {uid}"
