"""What a process in the background does: it gives way to others, and ends with the one that started it."""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["stay_in_background"]

_NICENESS = 10


def stay_in_background() -> None:
    """Lower the priority of this process, and end it when its standard input ends."""
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_input, daemon=True, name="input").start()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
