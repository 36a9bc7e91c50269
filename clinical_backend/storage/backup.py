"""A copy of a folder with databases and files, as a tar archive, made while both are in use."""

from __future__ import annotations

import os
import sqlite3
import stat
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from clinical_backend.errors import StorageError
from clinical_backend.storage.trail import TrailEntry
from clinical_backend.storage.trail_chain import verify_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.storage.trail_chain import Verification

__all__ = ["write_backup"]

_SQLITE: Final = b"SQLite format 3\0"
_BESIDE: Final = ("-wal", "-shm", "-journal", "-seal")
"""What lies beside a database and says nothing of a copy; that of the seal would be of other bytes."""
_SCRATCH: Final = ("locks", "numba")
"""Folders right below that hold nothing to go back to."""


def write_backup(folder: Path, archive: BinaryIO) -> Verification | None:
    """Write a folder into an archive: SQLite's databases first, each as it is at one moment, then the files.

    A file that grows meanwhile is taken as long as it was, one that is removed is left out. So what the databases
    index is in the files, as long as these are only appended to, or replaced as a whole.

    Parameters
    ----------
    folder
        MODEL_DIR, or Label Studio's folder of data.
    archive
        Where the archive goes; it is not moved in.

    Returns
    -------
    Verification or None
        What came of checking the trail in the copy; ``None`` where no database has one.

    Raises
    ------
    StorageError
        When the folder or something in it cannot be read, or the archive not be written.
    """
    if not folder.is_dir():
        raise StorageError(f"There is no folder {folder}.", "Name the one that is to be copied.")
    try:
        databases = [path for path in _paths(folder) if _is_database(path)]
        beside = {Path(f"{path}{suffix}") for path in databases for suffix in _BESIDE}
        with tarfile.open(fileobj=archive, mode="w|") as tar, _scratch(folder) as scratch:
            tar.add(folder, arcname=".", recursive=False)
            found = None
            for path in databases:
                found = _add_database(tar, path, path.relative_to(folder), Path(scratch, "copy")) or found
            left_out = {*databases, *beside}
            for path in _paths(folder, Path(scratch)):  # anew: what a database refers to may have come since
                if path not in left_out and path.suffix != ".lock":
                    _add(tar, path, path.relative_to(folder))
        return found
    except OSError as error:
        what = error.filename or "the archive"
        raise StorageError(
            f"The backup is not whole: {what}: {error.strerror}.",
            "See that there is space, and that this user may read the whole folder; then make it anew.",
        ) from None
    except sqlite3.Error as error:
        raise StorageError(
            f"The backup is not whole: a database in {folder} cannot be copied ({error}).",
            "Make it anew; a damaged database is restored from an earlier one.",
        ) from None


class _Padded:
    """A file that goes on with zeros where it was cut short since its length was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, count: int = -1, /) -> bytes:
        """Return so many bytes; without a number, all that there are."""
        return self._file.read(count).ljust(count, b"\0")


def _scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Return where a database is copied to: beside it if that can be, since ``/tmp`` may be memory."""
    return tempfile.TemporaryDirectory(dir=folder if os.access(folder, os.W_OK) else None)


def _paths(folder: Path, *without: Path) -> Iterator[Path]:
    """Yield what lies in a folder, folders before what lies in them."""

    def refuse(error: OSError) -> NoReturn:
        raise error  # a part that cannot be listed would be missing, and nobody know

    passed_over = {*without, *(folder / name for name in _SCRATCH)}
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if Path(parent, name) not in passed_over]
        yield from (Path(parent, name) for name in sorted((*folders, *files)))


def _is_database(path: Path) -> bool:
    """Tell whether a file is a database of SQLite."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _add_database(tar: tarfile.TarFile, path: Path, name: Path, copy: Path) -> Verification | None:
    copy.unlink(missing_ok=True)
    # The last reader of a database that it may write takes its journals away again.
    mode = "rw" if os.access(path, os.W_OK) else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        trail = _trail_of(target)
    copy.chmod(stat.S_IMODE(path.stat().st_mode))
    _add(tar, copy, name)
    return trail


def _trail_of(database: sqlite3.Connection) -> Verification | None:
    """Check the trail of a database, if it has one."""
    there = {name for _, name, *_ in database.execute("PRAGMA table_info(trail)")}
    names = [column.name for column in TrailEntry.__table__.columns]
    if not there.issuperset(names):
        return None
    rows = database.execute(f"SELECT {', '.join(names)} FROM trail ORDER BY number")  # noqa: S608 - our own names
    return verify_chain(dict(zip(names, row, strict=True)) for row in rows)


def _add(tar: tarfile.TarFile, path: Path, name: Path) -> None:
    """Add what lies at a path; of a file as many bytes as it has now."""
    try:
        entry = tar.gettarinfo(path, str(name))
        if entry.isreg():
            with path.open("rb") as file:
                tar.addfile(entry, _Padded(file))
        elif entry is not None:
            tar.addfile(entry)
    except FileNotFoundError:
        return
