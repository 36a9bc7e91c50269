"""A checksum of the whole SQLite database while nobody writes to it: SQLite itself keeps none of what rows hold."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from clinical_backend.system.permissions import file_mode, make_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Seal"]

logger = logging.getLogger(__name__)

_LARGEST = 2**30
"""Bytes; a larger database is not sealed: hashing one takes about a second, in which nobody can write."""


class Seal:
    """A file beside the database with its sha256. Whoever writes to the database removes it first.

    Every method is called while holding SQLite's write lock, so nobody else is at it.

    Parameters
    ----------
    database
        The database's file.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._path = database.with_name(f"{database.name}-seal")
        self.note = database.with_name(f"{database.name}-changed")
        """Is there once the database was found changed, until a person removes it."""

    def is_broken(self) -> bool:
        """Tell whether the database was changed since it was sealed, and by nobody who knows of seals."""
        try:
            expected = self._path.read_text().strip()
        except (OSError, ValueError):
            return False
        return expected != self._digest()

    def set(self) -> None:
        """Seal the database as it is, where all of it is in its file."""
        digest = self._digest()
        if digest is None:
            return
        try:
            make_file(self._path)
            self._path.chmod(file_mode(self._path.parent))
            self._path.write_text(f"{digest}\n")
        except OSError as error:
            logger.debug("The database is not sealed: %s", error.strerror)

    def lift(self) -> None:
        """Take the seal away, before something is written."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def tell(self) -> None:
        """Note that the database was changed past the backend, in the log and for the doctor."""
        logger.warning(
            "%s was changed past the backend: by hand, by a restored backup, or by a disk that fails. What can be is"
            " read back from Label Studio. If nobody changed it, restore the last backup; then, or if somebody did,"
            " remove %s.",
            self.database,
            self.note,
        )
        with suppress(OSError):
            make_file(self.note)
            self.note.write_text(time.strftime("Found at %Y-%m-%dT%H:%M:%SZ.\n", time.gmtime()))

    def _digest(self) -> str | None:
        """Return the sha256 of the file; ``None`` where it is not the whole of the database, or too large."""
        log = self.database.with_name(f"{self.database.name}-wal")
        try:
            if log.exists() and log.stat().st_size:
                return None
            if self.database.stat().st_size > _LARGEST:
                return None
            with self.database.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
