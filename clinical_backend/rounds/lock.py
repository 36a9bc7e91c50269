"""One process at a time works on a project."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from clinical_backend.errors import StorageError
from clinical_backend.private import file_mode, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clinical_backend.rounds.workshop import Workshop

__all__ = ["discard_locks", "project_lock", "training_lock"]

logger = logging.getLogger(__name__)

_NAME = re.compile(r"project-(\d+)\.lock")


@contextmanager
def project_lock(workshop: Workshop, project_id: int, *, seconds: float = 0.0) -> Iterator[None]:
    """Keep every other process out, on all machines that share MODEL_DIR. It ends with the process that holds it.

    Parameters
    ----------
    seconds
        How long to wait for the process that has it.

    Raises
    ------
    filelock.Timeout
        When another process has it.
    StorageError
        When the folder cannot be written.
    """
    folder = workshop.settings.model_dir / "locks"
    try:
        make_folder(folder)
        lock = FileLock(folder / f"project-{project_id}.lock", timeout=seconds, mode=file_mode(folder))
        lock.acquire()
    except TimeoutError:
        raise
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be written: {error.strerror}.",
            "Free some space, or make MODEL_DIR writable; the round that is due is run then.",
        ) from None
    try:
        yield
    finally:
        lock.release()


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


def discard_locks(workshop: Workshop) -> None:
    """Remove the locks of projects that the backend does not serve, but for those that a process still holds."""
    folder = workshop.settings.model_dir / "locks"
    served = set(workshop.stores.projects.ids())
    try:
        left = [
            path for path in folder.iterdir() if (named := _NAME.fullmatch(path.name)) and int(named[1]) not in served
        ]
        for path in left:
            try:
                with FileLock(path, timeout=0):
                    path.unlink()
            except Timeout:
                continue
    except OSError as error:
        logger.debug("Locks are left in %s: %s", folder, error.strerror)
