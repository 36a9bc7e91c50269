"""One process at a time works on a project."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from clinical_backend.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.rounds.workshop import Workshop

__all__ = ["project_lock"]


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
    lock = FileLock(folder / f"project-{project_id}.lock", timeout=seconds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
