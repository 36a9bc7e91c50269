"""One process at a time trains what a project keeps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from clinical_backend.errors import StorageError
from clinical_backend.system.permissions import file_mode, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["training_lock"]


@contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """Keep every other process out of the folder in which a project's training is kept, making it where it is missing.

    Raises
    ------
    filelock.Timeout
        When another process trains.
    StorageError
        When the folder cannot be written.
    """
    try:
        make_folder(folder)
        lock = FileLock(folder / ".lock", timeout=0, mode=file_mode(folder))
        lock.acquire()
    except TimeoutError:
        raise
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be written: {error.strerror}.",
            "Free some space, or make MODEL_DIR writable; the training is begun again then.",
        ) from None
    try:
        yield
    finally:
        lock.release()
