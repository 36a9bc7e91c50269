"""Where a training beside the rounds stands, for people. Where that cannot be written down, the training goes on."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.learner.schedule import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Notes", "failure_noted"]

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


@contextmanager
def failure_noted(training: str, write: Callable[[str], object]) -> Iterator[None]:
    """Write down that a training failed, and why; the failure is raised all the same."""
    try:
        yield
    except ClinicalError as error:
        _try(write, f"The last {training} failed. {error}")
        raise


def _try(write: Callable[[str], object], message: str) -> None:
    try:
        write(message)
    except ClinicalError as error:
        logger.warning("Where a training stands is not noted: %s", error)
