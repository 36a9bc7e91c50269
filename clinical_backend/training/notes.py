"""Where a training beside the rounds stands, for people. Where that cannot be written down, the training goes on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.learner.schedule import Throttle
from clinical_backend.workspace.lock import work_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Notes", "run_alone"]

logger = logging.getLogger(__name__)

_NOTE_SECONDS = 5.0  # each is a write to database or disk, and the page that shows it is looked at for longer


class Notes:
    """Writes down now and then how far a training is.

    Parameters
    ----------
    write
        Takes a message.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._throttle = Throttle(_NOTE_SECONDS)

    def __call__(self, share: float, message: str) -> None:
        """Note the share that is done, from 0 to 1, and a sentence."""
        if self._throttle.is_due(time.monotonic()):
            _try(self._write, f"{share:.0%}. {message}")


def run_alone(
    folder: Path, training: str, write: Callable[[str], object], work: Callable[[], str], *, busy: str
) -> str:
    """Train while no other process does in the same folder, and write down why where that fails.

    Parameters
    ----------
    folder
        In which the training is kept.
    training
        What it is called, for people.
    write
        Takes a message.
    work
        Trains, and returns what was done.
    busy
        What is returned where another process trains.

    Raises
    ------
    ClinicalError
        When it fails.
    """
    try:
        return work_alone(folder, work, busy=busy)
    except ClinicalError as error:
        _try(write, f"The last {training} failed. {error}")
        raise


def _try(write: Callable[[str], object], message: str) -> None:
    try:
        write(message)
    except ClinicalError as error:
        logger.warning("Where a training stands is not noted: %s", error)
