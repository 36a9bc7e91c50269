"""Signs of life between a process and the one that started it, which ends it when there are none.

The child writes a byte to its standard output each second or so for as long as its work gets on. A stopped process
writes none, nor does one that hangs. The silence is measured in looks of the parent's own: while it stood still
itself, it heard nothing, and counts nothing.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from clinical_backend.system.pulse import idle_seconds, note_progress

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["START_SECONDS", "Listener", "give_signs"]

START_SECONDS = 300.0
"""Longest wait for the first sign, as for a decoder's: a busy machine takes a while to import everything."""

_SIGNS = 4
"""Signs within the time after which a child counts as silent, so that one may be late."""

_LONGEST_PAUSE = 1.0
_LONGEST_LOOK = 2.0


def give_signs(settings: Settings) -> None:
    """Have a thread show on the standard output that this process gets on, until nobody listens any more.

    What else is printed from now on goes to the standard error.
    """
    signs = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    note_progress()
    pause = min(_LONGEST_PAUSE, settings.worker_timeout_seconds / _SIGNS)
    thread = threading.Thread(
        target=_give, args=(signs, pause, settings.stall_timeout_seconds), daemon=True, name="signs"
    )
    thread.start()


def _give(signs: int, pause: float, stall: float) -> None:
    try:
        while True:
            if idle_seconds() < stall:
                os.write(signs, b".")
            time.sleep(pause)
    except OSError:
        return


class Listener:
    """Hears the signs of a child.

    Parameters
    ----------
    pipe
        The child's standard output.
    seconds
        It counts as silent after so long.
    """

    def __init__(self, pipe: IO[bytes], seconds: float) -> None:
        self._pipe = pipe
        self._seconds = seconds
        self._limit = max(seconds, START_SECONDS)
        self._silence = 0.0
        self._looked_at = time.monotonic()
        os.set_blocking(pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def hear(self, wait: float = 0.0) -> bool:
        """Listen for a while; tell whether the child may still be taken for alive, or has closed its output."""
        self._selector.select(wait)
        now = time.monotonic()
        self._silence += min(now - self._looked_at, _LONGEST_LOOK)
        self._looked_at = now
        if self._read():
            self._silence, self._limit = 0.0, self._seconds
        return self._silence < self._limit

    def close(self) -> None:
        """Listen no more."""
        self._selector.close()
        self._pipe.close()

    def _read(self) -> bool:
        heard = False
        while data := self._pipe.read(65_536):  # ``None`` for now, b"" at the end
            heard = heard or bool(data)
        return heard
