"""The longest time that a worker may be at one project."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from clinical_backend.errors import RoundTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["deadline"]


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt the block after a time, in the main thread, with an error that fails its round for a reason."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise RoundTimeoutError(
            f"The round was stopped after {seconds:.0f} seconds.",
            "Set ROUND_TIMEOUT_SECONDS higher if it needs more; the images it has embedded are kept.",
        )

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
