"""A file of rows of one length: appended under somebody's lock, read past the page tables.

Mapped into memory, a file that is cut short or a sector that cannot be read would end the process by a signal.
"""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import StorageError
from clinical_backend.system.permissions import make_file
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["RowFile", "checksum", "unwritable"]

_BLOCK_BYTES = 2**20
"""Read at once: of the order at which a read outweighs its call, while only one is held; not measured."""
_GAP_BYTES = 2**16
"""What lies between two rows is read with them, if it is no more: it takes as long as another call."""


def checksum(name: str, row: bytes | memoryview) -> int:
    """Return the CRC-32 of a row and of whose it is: a row that stands under another name is as wrong as a changed one.

    Against chance, not against malice. It finds every change of up to 32 bits in a row, and 2³² − 1 of 2³² others.
    """
    return zlib.crc32(row, zlib.crc32(name.encode()))


class RowFile:
    """Rows on disk.

    Parameters
    ----------
    path
        Of the file; it need not be there.
    row_bytes
        Length of a row.
    """

    def __init__(self, path: Path, row_bytes: int) -> None:
        self._path = path
        self._row_bytes = row_bytes

    def count(self) -> int:
        """Return how many whole rows there are."""
        try:
            return self._path.stat().st_size // self._row_bytes
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def mark(self) -> tuple[int, ...]:
        """Return what changes where the file is written to or replaced: inode, size and time of change."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the bytes of rows, shape (n, row_bytes).

        Raises
        ------
        StorageError
            When one is not there or cannot be read.
        """
        found = np.empty((len(positions), self._row_bytes), dtype=np.uint8)
        for places, rows in self.whole_blocks(positions):
            found[places] = rows
        return found

    def whole_blocks(
        self, positions: Sequence[int] | NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Yield rows as :meth:`blocks` does, all of them.

        Raises
        ------
        StorageError
            When one is not there or cannot be read; after those that can be.
        """
        missing = len(positions)
        for places, rows in self.blocks(positions):
            missing -= len(places)
            yield places, rows
        if missing:
            raise StorageError(
                f"A row of {self._path} cannot be read: the file was cut short, or its disk fails.",
                "The next round makes it anew; see that the disk of MODEL_DIR is sound.",
            )

    def blocks(
        self, positions: Sequence[int] | NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Yield those rows that are there and can be read, in the order of the file, some megabyte at a time.

        Yields
        ------
        tuple
            Which of the positions they are of, shape (m,), and the rows, shape (m, row_bytes), which hold until the
            next ones are asked for.

        Raises
        ------
        StorageError
            When the file cannot be opened.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        buffer = np.empty((self._rows_at_once, self._row_bytes), dtype=np.uint8)
        with self._opened(len(wanted)) as descriptor:
            if descriptor is None:
                return
            for start, stop in self._runs(ascending):
                note_progress()
                for first, last in self._readable(descriptor, ascending, start, stop, buffer):
                    yield order[first:last], _rows_of(buffer, ascending[first:last])

    def append(self, rows: bytes) -> int:
        """Write rows behind the others, flushed to disk, and return the position of the first.

        Raises
        ------
        StorageError
            When the disk is full or read-only; nothing is appended then.
        """
        start = self.count()
        end = start * self._row_bytes
        try:
            make_file(self._path)
            with self._path.open("ab") as file:
                file.truncate(end)  # an earlier writer may have died within a row
                file.write(rows)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # give the space back, where the file can be changed at all
                os.truncate(self._path, end)
            raise unwritable(self._path, error) from None
        return start

    @contextmanager
    def _opened(self, wanted: int) -> Iterator[int | None]:
        """Give a descriptor to read from; ``None`` where there is no file, or nothing is wanted."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC) if wanted else None
        except FileNotFoundError:
            descriptor = None
        except OSError as error:
            raise _unreadable(self._path, error) from None
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @property
    def _rows_at_once(self) -> int:
        return max(1, _BLOCK_BYTES // self._row_bytes)

    def _runs(self, ascending: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield which of the positions are read at once: near each other, and a block at most."""
        apart = (np.diff(ascending) - 1) * self._row_bytes > _GAP_BYTES
        elsewhere = np.diff(ascending // self._rows_at_once) > 0
        edges = [0, *(np.flatnonzero(apart | elsewhere) + 1).tolist(), len(ascending)]
        yield from pairwise(edges)

    def _readable(
        self, descriptor: int, ascending: NDArray[np.int64], start: int, stop: int, buffer: NDArray[np.uint8]
    ) -> Iterator[tuple[int, int]]:
        """Fill the buffer with the rows of a run, and yield which of its positions can be read.

        A sector that cannot be read costs its own rows only: these are read one by one then.
        """
        first, last = int(ascending[start]), int(ascending[stop - 1])
        wanted = buffer[: last - first + 1].reshape(-1).data
        try:
            whole = _read_whole(descriptor, wanted, first * self._row_bytes) // self._row_bytes
        except OSError:
            if stop - start == 1:
                return
            for place in range(start, stop):
                note_progress()  # a disk that fails takes seconds to say so
                yield from self._readable(descriptor, ascending, place, place + 1, buffer)
            return
        readable = start + int(np.searchsorted(ascending[start:stop], first + whole))
        if readable > start:
            yield start, readable


def _rows_of(buffer: NDArray[np.uint8], ascending: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the rows at some positions, of which the first is the first in the buffer."""
    places = ascending - ascending[0]
    return buffer[: len(places)] if places[-1] == len(places) - 1 and (np.diff(places) == 1).all() else buffer[places]


def unwritable(path: Path, error: OSError) -> StorageError:
    """Return what to say where a file of features cannot be written."""
    return StorageError(
        f"Features cannot be written to {path.parent}: {error.strerror}.",
        "Free some space or make the folder writable; the next round goes on from there.",
    )


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Features cannot be read from {path}: {error.strerror}.",
        "Let the backend's user read it, or remove the file: the next round makes its rows anew.",
    )


def _read_whole(descriptor: int, into: memoryview, offset: int) -> int:
    """Read as many bytes as there is room for, and return how many: fewer only at the end of the file."""
    done = 0
    while done < len(into) and (read := os.preadv(descriptor, [into[done:]], offset + done)):
        done += read
    return done
