"""A file of rows of one length: appended under somebody's lock, read past the page tables.

Mapped into memory, a file that is cut short or a sector that cannot be read would end the process by a signal.
"""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager, suppress
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
        wanted = np.asarray(positions, dtype=np.int64)
        found = np.empty((len(wanted), self._row_bytes), dtype=np.uint8)
        order = np.argsort(wanted, kind="stable")
        with self._opened(len(wanted)) as descriptor:
            for places, first in self._runs(wanted[order]):
                note_progress()
                count = places.stop - places.start
                block = self._whole_rows(descriptor, first, count)
                if len(block) < count * self._row_bytes:
                    raise StorageError(
                        f"A row of {self._path} cannot be read: the file was cut short, or its disk fails.",
                        "The next round makes it anew; see that the disk of MODEL_DIR is sound.",
                    )
                found[order[places]] = np.frombuffer(block, dtype=np.uint8).reshape(count, self._row_bytes)
        return found

    def each(self, positions: Sequence[int] | NDArray[np.int64]) -> Iterator[memoryview | None]:
        """Yield rows one by one, ``None`` for one that is not there or cannot be read.

        Parameters
        ----------
        positions
            Ascending.

        Raises
        ------
        StorageError
            When the file cannot be opened.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        with self._opened(len(wanted)) as descriptor:
            for places, first in self._runs(wanted):
                yield from self._block(descriptor, first, places.stop - places.start)

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

    def _runs(self, wanted: NDArray[np.int64]) -> Iterator[tuple[slice, int]]:
        """Yield rows that lie side by side, a block at most: places among those wanted, and the first position."""
        if not len(wanted):
            return
        most = max(1, _BLOCK_BYTES // self._row_bytes)
        starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(wanted)], strict=True):
            for first in range(start, stop, most):
                yield slice(first, min(first + most, stop)), int(wanted[first])

    def _whole_rows(self, descriptor: int | None, first: int, count: int) -> bytes:
        """Return the bytes of rows, fewer where they cannot be read."""
        if descriptor is None:
            return b""
        try:
            return _read_whole(descriptor, count * self._row_bytes, first * self._row_bytes)
        except OSError:
            return b""

    def _block(self, descriptor: int | None, first: int, count: int) -> Iterator[memoryview | None]:
        length = self._row_bytes
        if descriptor is None:
            yield from (None for _ in range(count))
            return
        try:
            block = memoryview(_read_whole(descriptor, count * length, first * length))
        except OSError:
            if count == 1:
                yield None
            else:  # a sector that cannot be read costs its own rows only
                for position in range(first, first + count):
                    yield from self._block(descriptor, position, 1)
            return
        for row in range(count):
            part = block[row * length : (row + 1) * length]
            yield part if len(part) == length else None


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


def _read_whole(descriptor: int, size: int, offset: int) -> bytes:
    """Return so many bytes, fewer only at the end of the file."""
    parts = []
    while size and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
