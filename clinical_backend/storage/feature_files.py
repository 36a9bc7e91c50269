"""Features on disk: one file of rows per backbone, indexed by the image's content. Thumbnails are kept so, too."""

from __future__ import annotations

import hashlib
import logging
import time
from array import array
from contextlib import contextmanager
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from sqlalchemy import bindparam, delete, insert, select, update

from clinical_backend.errors import StorageError
from clinical_backend.storage.rows import RowFile, checksum, unwritable
from clinical_backend.storage.schema import Feature
from clinical_backend.storage.statements import fetched, in_parts
from clinical_backend.system.permissions import file_mode, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from clinical_backend.storage.database import Database

__all__ = ["FeatureStore"]

logger = logging.getLogger(__name__)

_MANY = 5000
"""Features whose entries are read part by part, in ten statements; of more, if that is half of all or more, all entries
are read by one."""
_NO_CHECKSUM = -1
"""Stands for the checksum of a row of which the index has none; a CRC-32 is never negative."""
_JUST_NOW = 600.0
"""Seconds: on cores that other work kept busy, a round read the last of a million features later than 60 seconds after
the check, and checked them all again."""
_LOCK_SECONDS = 60.0
"""Longest wait for another writer: longer than it takes to end one that is stopped on this machine."""


class FeatureStore:
    """The features that one backbone made, kept by the sha256 of the image's bytes.

    Rows are only ever appended, under a lock between processes, and indexed after they are on disk: a crash
    leaves at most rows that nothing points to. The index holds a checksum of each, so that a row that was changed, a
    file that was cut short and one that was deleted all cost embedding anew, and no more.

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

    Attributes
    ----------
    dimension
        Length of a feature.
    """

    def __init__(
        self, database: Database, folder: Path, *, backbone: str, dimension: int, dtype: DTypeLike = np.float32
    ) -> None:
        self._database = database
        self._backbone = backbone
        self.dimension = dimension
        self._dtype = np.dtype(dtype)
        self._path = folder / f"{hashlib.sha256(backbone.encode()).hexdigest()[:16]}.rows"
        self._file = RowFile(self._path, self._dtype.itemsize * dimension)
        try:
            make_folder(folder)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._last_check: tuple[tuple[int, ...], float, dict[str, int]] | None = None
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=file_mode(folder))

    def positions(self, digests: Iterable[str]) -> Mapping[str, int]:
        """Return the row of each image that has a feature, after a check of the rows: damaged ones are forgotten.

        Raises
        ------
        StorageError
            When index or file cannot be read.
        """
        wanted = set(digests)
        known = self._just_checked(wanted)
        if known and len(known) == len(wanted):
            return known
        mark, started = self._file.mark(), time.monotonic()
        found, damaged = self._checked(wanted - known.keys())
        if damaged:
            self._forget(damaged)
        last = self._last_check
        if known and last is not None:
            self._last_check = last[0], last[1], last[2] | found
        elif len(found) > _MANY and (last is None or len(found) >= len(last[2])):
            self._last_check = mark, started, found
        return known | found if known else found

    def indexed(self, digests: Iterable[str]) -> set[str]:
        """Return the images that should have a feature, as the index tells: which are whole, nobody looks.

        Raises
        ------
        StorageError
            When the index cannot be read.
        """
        names, positions, _ = self._entries(sorted(set(digests)))
        return set(compress(names, ((positions >= 0) & (positions < self._file.count())).tolist()))

    def damaged(self, digests: Iterable[str]) -> list[str]:
        """Return the images whose row was changed or lost on disk, and leave all as it is."""
        return list(self._checked(set(digests))[1])

    def examine(self, seconds: float) -> tuple[int, int, int]:
        """Check rows for at most so long, and leave them as they are.

        Returns
        -------
        tuple
            How many features there are, how many were checked, and how many of them were changed or lost.
        """
        with self._database.read() as session:
            digests = list(session.scalars(select(Feature.digest).where(self._ours).order_by(Feature.position)))
        deadline = time.monotonic() + seconds
        checked = wrong = 0
        for part in in_parts(digests):
            if time.monotonic() > deadline:
                break
            checked += len(part)
            wrong += len(part) - len(self._checked(set(part))[0])
        return len(digests), checked, wrong

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Return the features at these rows, as ``positions`` gave them, shape (n, dimension).

        Raises
        ------
        StorageError
            When one is not there any more or cannot be read.
        """
        with self._checked_anew_where_it_fails():
            return self._file.read(positions).view(self._dtype)

    def blocks(self, positions: Sequence[int] | NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
        """Yield the same part by part, as they lie in the file, for what has no room for all at once.

        Yields
        ------
        tuple
            Which of ``positions`` they are of, shape (m,), and the features, shape (m, dimension), which hold until
            the next ones are asked for.

        Raises
        ------
        StorageError
            As :meth:`read`.
        """
        with self._checked_anew_where_it_fails():
            for places, rows in self._file.whole_blocks(positions):
                yield places, rows.view(self._dtype)

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
            rows = np.ascontiguousarray(features[list(fresh.values())], dtype=self._dtype)
            self._drop_lost()  # before the file grows again under positions that pointed to other rows
            start = self._file.append(rows.tobytes())
            entries = [
                {
                    "backbone": self._backbone,
                    "digest": digest,
                    "position": start + offset,
                    "checksum": checksum(digest, rows[offset].tobytes()),
                }
                for offset, digest in enumerate(fresh)
            ]
            with self._database.write() as session:
                for part in in_parts(list(fresh)):  # a damaged one that could not be forgotten before
                    session.execute(delete(Feature).where(self._ours, Feature.digest.in_(part)))
                session.execute(insert(Feature), entries)

    def _just_checked(self, digests: set[str]) -> dict[str, int]:
        """Return the rows of those of many images that were found whole just now.

        A round asks several times for the same images, or for some and some more: whether they have features, and for
        these, part by part.
        """
        if self._last_check is None or len(digests) <= _MANY:
            return {}
        mark, checked_at, found = self._last_check
        if time.monotonic() - checked_at > _JUST_NOW or self._file.mark() != mark:
            self._last_check = None
            return {}
        return {digest: found[digest] for digest in digests & found.keys()}

    @contextmanager
    def _checked_anew_where_it_fails(self) -> Iterator[None]:
        """Trust no check of rows of which one cannot be read since: the next one forgets it."""
        try:
            yield
        except StorageError:
            self._last_check = None
            raise

    @property
    def _ours(self) -> Any:  # noqa: ANN401 - a condition, as SQLAlchemy has it
        return Feature.backbone == self._backbone

    def _checked(self, digests: set[str]) -> tuple[dict[str, int], dict[str, int]]:
        """Return the rows that are whole, and those that are not, in the order of the images."""
        names, positions, expected = self._entries(sorted(digests))
        inside = np.flatnonzero((positions >= 0) & (positions < self._file.count()))
        whole = np.zeros(len(names), dtype=np.bool_)
        unvouched: dict[str, tuple[int, int]] = {}
        for chosen, rows in self._file.blocks(positions[inside]):
            places = inside[chosen]
            actual = self._checksums([names[place] for place in places.tolist()], rows)
            unknown = expected[places] == _NO_CHECKSUM
            unknown[unknown] = self._are_finite(rows[unknown])
            whole[places] = unknown | (actual == expected[places])
            for row in np.flatnonzero(unknown).tolist():
                unvouched[names[places[row]]] = int(positions[places[row]]), int(actual[row])
        if unvouched:
            self._vouch(unvouched)
        damaged = np.zeros(len(names), dtype=np.bool_)
        damaged[inside] = ~whole[inside]
        found, lost = (
            dict(zip(compress(names, chosen.tolist()), positions[chosen].tolist(), strict=True))
            for chosen in (whole, damaged)
        )
        return found, lost

    def _entries(self, digests: Sequence[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
        """Return the images that the index has, and position and checksum of each."""
        columns = select(Feature.digest, Feature.position, Feature.checksum).where(self._ours)
        wanted = {digest: digest for digest in digests}  # a million digests are 113 MB: theirs are kept, not copies
        many = len(digests) > _MANY and len(digests) >= self._file.count() // 2
        statements = (
            [columns.order_by(Feature.digest)]
            if many
            else [columns.where(Feature.digest.in_(part)) for part in in_parts(digests)]
        )
        names: list[str] = []
        positions, checksums = array("q"), array("q")
        with self._database.read() as session:
            connection = session.connection()
            for statement in statements:
                for digest, position, expected in fetched(connection, statement):
                    if (name := wanted.get(digest)) is not None:
                        names.append(name)
                        positions.append(position)
                        checksums.append(_NO_CHECKSUM if expected is None else expected)
        return names, np.array(positions, dtype=np.int64), np.array(checksums, dtype=np.int64)

    def _checksums(self, names: Sequence[str], rows: NDArray[np.uint8]) -> NDArray[np.int64]:
        flat, length = np.ascontiguousarray(rows).reshape(-1).data, rows.shape[1]
        starts = range(0, len(flat), length)
        return np.array(
            [checksum(name, flat[start : start + length]) for name, start in zip(names, starts, strict=True)],
            dtype=np.int64,
        )

    def _are_finite(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell of rows whether they hold numbers alone, shape (n,)."""
        if self._dtype.kind != "f":
            return np.ones(len(rows), dtype=np.bool_)
        finite: NDArray[np.bool_] = np.isfinite(np.ascontiguousarray(rows).view(self._dtype)).all(axis=1)
        return finite

    def _vouch(self, rows: dict[str, tuple[int, int]]) -> None:
        """Enter the checksums of rows from a version of the backend that kept none: what they are now holds."""
        chosen = update(Feature).where(
            self._ours, Feature.digest == bindparam("whose"), Feature.position == bindparam("at")
        )
        entries = [{"whose": digest, "at": at, "sum": actual} for digest, (at, actual) in rows.items()]
        try:
            for part in in_parts(entries):  # short transactions: others wait for the database meanwhile
                with self._database.write() as session:
                    session.connection().execute(chosen.values(checksum=bindparam("sum")), list(part))
        except StorageError as error:
            logger.warning("Checksums of features are not kept yet: %s", error)

    def _forget(self, rows: dict[str, int]) -> None:
        logger.warning(
            "%d features in %s were changed or lost on disk; they are made anew. See that the disk of MODEL_DIR is"
            " sound.",
            len(rows),
            self._path,
        )
        chosen = delete(Feature).where(
            self._ours, Feature.digest == bindparam("whose"), Feature.position == bindparam("at")
        )
        entries = [{"whose": digest, "at": position} for digest, position in rows.items()]
        try:
            for part in in_parts(entries):
                with self._database.write() as session:
                    session.connection().execute(chosen, list(part))
        except StorageError as error:
            logger.warning("Damaged features are not forgotten yet: %s", error)

    def _drop_lost(self) -> None:
        beyond = (self._ours, Feature.position >= self._file.count())
        with self._database.read() as session:
            if session.scalar(select(Feature.digest).where(*beyond).limit(1)) is None:
                return
        with self._database.write() as session:
            session.execute(delete(Feature).where(*beyond))

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
            raise unwritable(self._path, error) from None
        try:
            yield
        finally:
            self._lock.release()
