"""Features on disk: one file of rows per backbone, indexed by the image's content. Thumbnails are kept so, too."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from sqlalchemy import delete, select

from clinical_backend.errors import StorageError
from clinical_backend.private import file_mode, make_file, make_folder
from clinical_backend.storage.schema import Feature
from clinical_backend.storage.statements import in_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from clinical_backend.storage.database import Database

__all__ = ["FeatureStore"]

_LOCK_SECONDS = 60.0
"""Longest wait for another writer: longer than it takes to end one that is stopped on this machine."""


class FeatureStore:
    """The features that one backbone made, kept by the sha256 of the image's bytes.

    Rows are only ever appended, under a lock between processes, and indexed after they are on disk: a crash
    leaves at most rows that nothing points to. A file that was deleted or cut short costs embedding anew.

    Parameters
    ----------
    database
        Holds the index.
    folder
        Holds the files.
    backbone
        Key of the backbone: another network, weights or input size has another key.
    dimension
        Length of a feature.
    dtype
        Type of its values.
    """

    def __init__(
        self, database: Database, folder: Path, *, backbone: str, dimension: int, dtype: DTypeLike = np.float32
    ) -> None:
        self._database = database
        self._backbone = backbone
        self._dimension = dimension
        self._dtype = np.dtype(dtype)
        self._path = folder / f"{hashlib.sha256(backbone.encode()).hexdigest()[:16]}.rows"
        try:
            make_folder(folder)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=file_mode(folder))

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the row of each image that has a feature."""
        wanted = sorted(set(digests))
        count = self._count()
        found: dict[str, int] = {}
        with self._database.read() as session:
            for part in in_parts(wanted):
                rows = session.execute(
                    select(Feature.digest, Feature.position).where(
                        Feature.backbone == self._backbone,
                        Feature.digest.in_(part),
                        Feature.position < count,
                    )
                )
                found.update((digest, position) for digest, position in rows)
        return found

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Return the features at these rows, shape (n, dimension)."""
        if len(positions) == 0:
            return np.empty((0, self._dimension), dtype=self._dtype)
        rows = np.memmap(self._path, dtype=self._dtype, mode="r", shape=(self._count(), self._dimension))
        return np.array(rows[np.asarray(positions)])

    def add(self, digests: Sequence[str], features: NDArray[Any]) -> None:
        """Append features of images, shape (n, dimension); an image that has one already keeps it.

        Raises
        ------
        StorageError
            When the disk is full or read-only; nothing is indexed then.
        """
        with self._locked():
            known = self.positions(digests)
            fresh = {digest: row for row, digest in enumerate(digests) if digest not in known}
            if not fresh:
                return
            self._drop_lost()  # before the file grows again under positions that pointed to other rows
            start = self._append(np.ascontiguousarray(features[list(fresh.values())], dtype=self._dtype))
            with self._database.write() as session:
                session.add_all(
                    Feature(backbone=self._backbone, digest=digest, position=start + offset)
                    for offset, digest in enumerate(fresh)
                )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other writers out, on every machine that shares the folder."""
        try:
            self._lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise StorageError(
                f"Another process has held {self._path.name} for over {_LOCK_SECONDS:.0f} seconds.",
                "See whether a process of the backend is stopped, on any machine that shares MODEL_DIR, and end it.",
            ) from None
        except OSError as error:
            raise _unwritable(self._path, error) from None
        try:
            yield
        finally:
            self._lock.release()

    def _count(self) -> int:
        return self._path.stat().st_size // self._row_bytes if self._path.exists() else 0

    def _drop_lost(self) -> None:
        lost = delete(Feature).where(Feature.backbone == self._backbone, Feature.position >= self._count())
        with self._database.write() as session:
            session.execute(lost)

    @property
    def _row_bytes(self) -> int:
        return self._dtype.itemsize * self._dimension

    def _append(self, rows: NDArray[Any]) -> int:
        start = self._count()
        end = start * self._row_bytes
        try:
            make_file(self._path)
            with self._path.open("ab") as file:
                file.truncate(end)  # an earlier writer may have died within a row
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # give the space back, where the file can be changed at all
                os.truncate(self._path, end)
            raise _unwritable(self._path, error) from None
        return start


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Features cannot be written to {path.parent}: {error.strerror}.",
        "Free some space or make the folder writable; the next round goes on from there.",
    )
