"""What a process in the background does: it gives way to others, and ends with the one that started it."""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["end_with_input", "stay_in_background"]

_NICENESS = 10


def stay_in_background() -> None:
    """Lower the priority of this process, and end it when its standard input ends."""
    os.nice(_NICENESS)
    end_with_input()


def end_with_input() -> None:
    """End this process when its standard input ends, as it does with the process that started it."""
    threading.Thread(target=_end_with_input, daemon=True, name="input").start()


def _end_with_input() -> None:
    # Not through a buffer, whose lock a thread that waits would still hold when the interpreter ends: a fatal error.
    while os.read(sys.stdin.fileno(), 65_536):
        pass
    os._exit(0)
