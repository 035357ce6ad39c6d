"""The folder that an export is written to: each file is complete or not there, and what is there is known."""

from __future__ import annotations

__all__ = ["ExportFolder", "WrittenFile"]

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import ReplicaError

SUMMARY = "export.json"
JOURNAL = "export.jsonl"
"""One line for each file that is complete, until all are."""

FILES = "_files.txt"
_PART = ".part"
_READ = 1 << 20


@dataclass(frozen=True)
class WrittenFile:
    """An export file that is complete."""

    path: str
    """Below the folder."""

    datasets: int
    dimension_records: int
    without_artifact: int
    artifacts: int
    artifact_bytes: int
    first: dict[str, Any]
    """Data ID of its first dataset."""

    last: dict[str, Any]
    identity: str
    """SHA-256 of the IDs of its datasets and of what is recorded of their artifacts."""

    bytes: int = 0
    sha256: str = ""
    state: str = "complete"

    def is_that_of(self, other: WrittenFile) -> bool:
        """Return whether another one would have the same datasets."""
        counted = (self.path, self.datasets, self.dimension_records, self.identity)
        return counted == (other.path, other.datasets, other.dimension_records, other.identity)


class ExportFolder:
    """A folder of exports.

    Parameters
    ----------
    root : `pathlib.Path`
        The folder.
    asked : `dict`
        What is exported, and how: a folder is continued for the same only.
    """

    def __init__(self, root: Path, asked: dict[str, Any]) -> None:
        self.root = root
        self._asked = asked
        self._known: dict[str, WrittenFile] = {}
        self._journal: IO[str] | None = None
        self.written: list[WrittenFile] = []

    @property
    def is_continued(self) -> bool:
        """Whether some of it is there already."""
        return bool(self._known)

    @contextlib.contextmanager
    def opened(self, *, resume: bool, dry_run: bool) -> Iterator[None]:
        """Prepare the folder, and keep others out of it.

        Parameters
        ----------
        resume : `bool`
            Continue what is there.
        dry_run : `bool`
            Write nothing.

        Raises
        ------
        ReplicaError
            Raised if it holds anything else, or somebody else writes to it.
        """
        with self._errors():
            self._look(resume=resume)
            if dry_run:
                yield
                return
            self.root.mkdir(parents=True, exist_ok=True)
            with os.fdopen(_open(self.root / JOURNAL, os.O_APPEND), "a", encoding="utf-8") as self._journal:
                try:
                    fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ReplicaError(f"{self.root}: another export is being written there.") from error
                if not self._known:
                    self._write_summary("incomplete")
                yield
                self._write_summary("complete")
                (self.root / JOURNAL).unlink()
                _sync(self.root)

    def has(self, file: WrittenFile) -> bool:
        """Return whether a file is there already, as it was written.

        Parameters
        ----------
        file : `WrittenFile`
            What would be written.

        Returns
        -------
        is_there : `bool`
            Whether it need not be written.
        """
        known = self._known.get(file.path)
        if known is None or not known.is_that_of(file):
            return False
        path = self.root / file.path
        if not path.is_file() or path.stat().st_size != known.bytes or _sha256_of(path) != known.sha256:
            return False
        self.written.append(known)
        return True

    def write(self, file: WrittenFile, text: Callable[[IO[str]], None]) -> None:
        """Write a file for good.

        Parameters
        ----------
        file : `WrittenFile`
            What goes into it.
        text : `~collections.abc.Callable`
            Writes its content to a stream of text.
        """
        with self._errors():
            path = self.root / file.path
            self._make_folder(path.parent)
            size, digest = _write(path, text)
            done = WrittenFile(**asdict(file) | {"bytes": size, "sha256": digest})
            assert self._journal is not None  # noqa: S101 (opened sets it)
            self._journal.write(json.dumps(asdict(done)) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
            self.written.append(done)

    @contextlib.contextmanager
    def listing(self, dataset_type: str | None) -> Iterator[IO[str]]:
        """Write the list of a dataset type's artifacts, which is there when it is complete.

        Parameters
        ----------
        dataset_type : `str` or `None`
            Its name; `None` for no list.

        Yields
        ------
        stream : `~typing.IO` [ `str` ]
            Takes path, size and checksum of each, between tabulators.
        """
        if dataset_type is None or self._journal is None:
            with open(os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123
                yield stream
            return
        with self._errors():
            folder = self.root / dataset_type
            self._make_folder(folder)
            with _written(folder / FILES) as (stream, _):
                yield stream

    def _look(self, *, resume: bool) -> None:
        """Read what is there."""
        if not self.root.exists() or not any(self.root.iterdir()):
            return
        summary = self.root / SUMMARY
        if not summary.is_file():
            raise ReplicaError(
                f"{self.root}: holds something that is no export of this kind (there is no {SUMMARY}). Nothing was "
                "written. Take an empty folder, or one that is not there yet."
            )
        said = _json(summary)
        if not resume:
            raise ReplicaError(
                f"{self.root}: holds an export already ({said.get('state')}). Continue it with --resume, or take "
                "another folder."
            )
        if (asked := said.get("asked")) != self._asked:
            differing = sorted(
                key
                for key in self._asked.keys() | (asked or {}).keys()
                if (asked or {}).get(key) != self._asked.get(key)
            )
            raise ReplicaError(
                f"{self.root}: holds an export of something else, which cannot be continued: {', '.join(differing)} "
                "differ. Ask for the same, or take another folder."
            )
        for one in said.get("files", []):
            self._known[one["path"]] = WrittenFile(**one)
        journal = self.root / JOURNAL
        if journal.is_file():
            for line in journal.read_text(encoding="utf-8").splitlines():
                # The last line may have been cut.
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    one = WrittenFile(**json.loads(line))
                    self._known[one.path] = one

    def _write_summary(self, state: str) -> None:
        content = {"asked": self._asked, "state": state, "files": [asdict(one) for one in self.written]}

        def text(stream: IO[str]) -> None:
            json.dump(content, stream, indent=1, ensure_ascii=False)
            stream.write("\n")

        _write(self.root / SUMMARY, text)

    def _make_folder(self, folder: Path) -> None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            _sync(folder.parent)
        if folder.is_symlink() or not folder.is_dir():
            raise ReplicaError(f"{folder}: is no folder, so nothing can be written into it. Move it away.")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ReplicaError(
                f"{error.filename or self.root}: cannot be written or read: {error.strerror}. What is complete "
                "stays; continue with --resume."
            ) from error


def _open(path: Path, flags: int) -> int:
    """Open a file for writing that is no link."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReplicaError(f"{path}: is no JSON: {error}. Take another folder.") from error
    if not isinstance(content, dict):
        raise ReplicaError(f"{path}: is not what an export writes there. Take another folder.")
    return content


class _Hashed(io.RawIOBase):
    """Counts and sums what is written to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[tuple[IO[str], _Hashed]]:
    """Write a file under another name, have it on disk, and give it its own."""
    part = path.with_name(path.name + _PART)
    # What a run that was killed has left.
    part.unlink(missing_ok=True)
    with os.fdopen(_open(part, os.O_EXCL), "wb") as file:
        hashed = _Hashed(file)
        with contextlib.ExitStack() as stack:
            raw: Any = hashed
            if path.suffix == ".gz":
                raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
            stream = io.TextIOWrapper(io.BufferedWriter(raw, _READ), encoding="utf-8", newline="\n")
            yield stream, hashed
            stream.flush()
            stream.detach().detach()
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _write(path: Path, text: Callable[[IO[str]], None]) -> tuple[int, str]:
    """Write a file for good; return its size and SHA-256."""
    with _written(path) as (stream, hashed):
        text(stream)
    return hashed.size, hashed.hexdigest()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
