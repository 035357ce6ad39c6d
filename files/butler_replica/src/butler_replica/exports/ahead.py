"""Reading exports ahead of their use."""

from __future__ import annotations

__all__ = ["ReadAhead"]

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path

from .model import ExportFile
from .reader import read_export

_POLL_SECONDS = 0.5


class ReadAhead:
    """Reads an export while the one before it is in use.

    The database works for most of the time that an export takes, and the
    interpreter waits for it: there is time for another thread to read.

    Parameters
    ----------
    paths : `~collections.abc.Sequence` [ `pathlib.Path` ]
        Export files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._position = 0
        self._stopped = False

    def exports(self, waiting: Callable[[int, int], None]) -> Generator[ExportFile, None, None]:
        """Yield the exports in their order.

        Parameters
        ----------
        waiting : `~collections.abc.Callable`
            Called now and then while an export is not there yet, with its
            place among ``paths`` and the number of its bytes that are read.

        Yields
        ------
        export : `ExportFile`
            The export; only the next one is read meanwhile, and given up
            where the iterator is closed.

        Raises
        ------
        ExportError
            Raised as by `read_export`, when it is the file's turn.
        """
        with ThreadPoolExecutor(1, "reader") as pool:
            try:
                ahead = self._submit(pool, 0)
                for number in range(len(self._paths)):
                    while not wait([ahead], timeout=_POLL_SECONDS).done:
                        waiting(number, self._position)
                    export = ahead.result()
                    if number + 1 < len(self._paths):
                        ahead = self._submit(pool, number + 1)
                    yield export
            finally:
                self._stopped = True

    def _submit(self, pool: ThreadPoolExecutor, number: int) -> Future[ExportFile]:
        self._position = 0
        return pool.submit(read_export, self._paths[number], self._note)

    def _note(self, position: int) -> None:
        if self._stopped:
            # Nobody waits for this file any more.
            raise CancelledError
        self._position = position
