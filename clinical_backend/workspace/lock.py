"""One process at a time works at a project, and one trains what it keeps."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from clinical_backend.errors import ProjectBusyError, StorageError
from clinical_backend.system.permissions import file_mode, make_folder
from clinical_backend.system.pulse import idle_seconds, note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clinical_backend.settings import Settings
    from clinical_backend.storage.stores.leases import LeaseStore
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["folder_lock", "import_lock", "leased_project", "work_alone"]

logger = logging.getLogger(__name__)

_SIGNS = 4
"""Signs of life within the time after which the holder counts as silent, so that one may be late or lost."""

_LOOK_SECONDS = 0.5  # somebody waits for the project; it is two queries a second


@contextmanager
def leased_project(project: ProjectWorkspace, *, seconds: float = 0.0) -> Iterator[None]:
    """Keep every other process from working at a project within the block.

    A thread gives signs of life, and stops if the work does not get on for STALL_TIMEOUT_SECONDS. A process that is
    silent for WORKER_TIMEOUT_SECONDS loses the project; whatever it then writes is refused.

    Parameters
    ----------
    seconds
        How long to wait for the process that has it.

    Raises
    ------
    ProjectBusyError
        When another process has it.
    RoundAbandonedError
        From a write within the block, when the project was passed on.
    """
    leases, project_id, settings = project.stores.leases, project.id, project.workspace.settings
    token = _take(leases, project_id, seconds, settings.worker_timeout_seconds)
    if token is None:
        raise ProjectBusyError(
            f"Another process works at project {project_id}.", "Try again when `clinical status` shows its end."
        )
    note_progress()
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(leases, project_id, token, settings, ended), daemon=True, name="lease")
    heart.start()
    try:
        with leases.fence(project_id, token):
            yield
    finally:
        ended.set()
        heart.join()
        _give_back(leases, project_id, token)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep every other process that works in a folder out of it, making it where it is missing.

    Raises
    ------
    filelock.Timeout
        When another process works in it.
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
            "Free some space, or make MODEL_DIR writable.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def work_alone(folder: Path, work: Callable[[], str], *, busy: str) -> str:
    """Work while no other process does in the same folder, and return what was done; ``busy`` where one does.

    Raises
    ------
    StorageError
        When the folder cannot be written.
    """
    with _if_free(folder) as free:
        return work() if free else busy


@contextmanager
def import_lock(project: ProjectWorkspace) -> Iterator[None]:
    """Keep every other import out of a project within the block.

    Raises
    ------
    ProjectBusyError
        When another process imports.
    StorageError
        When MODEL_DIR cannot be written.
    """
    with _if_free(project.import_folder) as free:
        if not free:
            raise ProjectBusyError(
                f"Another import works at project {project.id}.",
                "Wait for its end and run this one then: what is there by that time is not made again.",
            )
        yield


@contextmanager
def _if_free(folder: Path) -> Iterator[bool]:
    """Take the lock of a folder for the block if no other process has it, and tell whether it is taken."""
    with ExitStack() as held:
        try:
            held.enter_context(folder_lock(folder))
        except Timeout:
            yield False
        else:
            yield True


def _take(leases: LeaseStore, project_id: int, seconds: float, silence: float) -> int | None:
    deadline = time.monotonic() + seconds
    while (token := leases.take(project_id)) is None and time.monotonic() < deadline:
        leases.end_silent(silence)
        time.sleep(_LOOK_SECONDS)
    return token


def _beat(leases: LeaseStore, project_id: int, token: int, settings: Settings, ended: threading.Event) -> None:
    while not ended.wait(settings.worker_timeout_seconds / _SIGNS):
        idle = idle_seconds()
        if idle >= settings.stall_timeout_seconds:
            continue  # who hangs is to lose the project
        try:
            if not leases.renew(project_id, token, idle_seconds=idle):
                return
        except StorageError as error:
            logger.debug("Project %d: a sign of life could not be given: %s", project_id, error)


def _give_back(leases: LeaseStore, project_id: int, token: int) -> None:
    try:
        leases.give_back(project_id, token)
    except StorageError as error:  # it is silent from now on
        logger.warning("Project %d: %s", project_id, error)
