"""The protocol of everything that runs rounds in the background."""

from __future__ import annotations

import logging
from queue import Empty, Queue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from clinical_backend.storage.stores.stores import Stores

__all__ = ["JobRunner", "drain", "end_silent"]

logger = logging.getLogger(__name__)


class JobRunner(Protocol):
    """Runs rounds outside the server's requests.

    What is due stands in the database; :meth:`wake` only says where to look now. So a call of it that is lost costs
    time, never a round.
    """

    def start(self) -> None:
        """Begin to run what is due."""

    def wake(self, project_id: int) -> None:
        """Have a project looked at now. Returns at once."""

    def stop(self) -> None:
        """End. A round that this runner has in its hands is cut off, and run again after the next start."""


def drain(queue: Queue[int], timeout: float) -> set[int]:
    """Wait until a project is named, and fold all that came meanwhile into one look at each."""
    woken: set[int] = set()
    try:
        woken.add(queue.get(timeout=timeout))
        while True:
            woken.add(queue.get_nowait())
    except Empty:
        return woken


def end_silent(stores: Stores, seconds: float) -> None:
    """Take projects away from what is silent for so long, on whatever machine: a worker, or a rollback."""
    for project_id in stores.leases.end_silent(seconds):
        logger.warning("Project %d is taken from a process that gave no sign of life", project_id)
