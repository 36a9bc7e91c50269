"""A time after which work is given up, wherever it is."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from clinical_backend.errors import ClinicalError

__all__ = ["DeadlinePassed", "deadline"]

_UNINTERRUPTED = {"__enter__", "__exit__", "__del__"}
"""What is raised in the last of them goes nowhere."""
_AGAIN = 0.05
"""Seconds between two looks whether that is done: soon for a person, rare for a core."""
_PATIENCE = 30.0
"""Seconds after which it is interrupted nevertheless, since it hangs: as long as the database waits for its lock."""


class DeadlinePassed(BaseException):
    """The time is over; no handler of errors may take it for one of its own and go on.

    Parameters
    ----------
    late
        What is said of it.
    """

    def __init__(self, late: ClinicalError) -> None:
        super().__init__(str(late))
        self.late = late


@contextmanager
def deadline(seconds: float, late: ClinicalError) -> Iterator[None]:
    """Interrupt the block after a time, in the main thread, by :class:`DeadlinePassed`; outside, ``late`` is raised.

    What is taken or given back by a ``with`` of the block is so to its end first, as far as that takes no long time:
    no lock is left behind. One deadline at a time.

    Parameters
    ----------
    seconds
        How long the block may take.
    late
        The error that tells so.

    Raises
    ------
    ClinicalError
        ``late``, once the time is over.
    """
    block = sys._getframe(2)  # behind the frame of contextlib  # noqa: SLF001
    strikes_at = time.monotonic() + seconds + _PATIENCE
    is_over = False

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if is_over:
            return
        if time.monotonic() < strikes_at and _takes_or_gives_back(frame, block):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            return
        raise DeadlinePassed(late)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except DeadlinePassed as passed:
        raise passed.late from None
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _takes_or_gives_back(frame: FrameType | None, block: FrameType) -> bool:
    """Tell whether a frame is called, within a block, by what an interruption would leave half done."""
    while frame is not None and frame is not block:
        if frame.f_code.co_name in _UNINTERRUPTED:
            return True
        frame = frame.f_back
    return False
