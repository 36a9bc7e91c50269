"""A time after which work is given up, wherever it is."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from clinical_backend.errors import ClinicalError

__all__ = ["DeadlinePassed", "deadline"]


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

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise DeadlinePassed(late)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except DeadlinePassed as passed:
        raise passed.late from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
