"""What a child process of ours does: it gives signs of life, gives way to others, and ends with its parent.

It writes a byte to its standard output each second or so for as long as its work gets on. A stopped process writes
none, nor does one that hangs. And it ends when its standard input does, so it never outlives its parent.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from clinical_backend.system.pulse import idle_seconds, note_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.settings import Settings

__all__ = ["end_with_input", "give_signs", "lines_of", "stay_in_background"]

_SIGNS = 4
"""Signs within the time after which a child counts as silent, so that one may be late."""
_LONGEST_PAUSE = 1.0
"""Between two signs: a parent that watches over many sees within a second or two which got on."""
_NICENESS = 10
"""More than a worker's 5: rounds go first."""
_CHUNK = 65_536
"""What a pipe holds on Linux."""


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


def stay_in_background() -> None:
    """Lower the priority of this process, and end it when its standard input ends.

    Raises
    ------
    SystemExit
        When it has no standard input: nobody would end it.
    """
    os.nice(_NICENESS)
    end_with_input()


def end_with_input() -> None:
    """End this process when its standard input ends, as it does with the process that started it.

    Raises
    ------
    SystemExit
        When it has no standard input: nobody would end it.
    """
    if sys.stdin is None:
        sys.exit("clinical: this process ends with its standard input, and there is none.")
    threading.Thread(target=_end_with_input, args=(sys.stdin.fileno(),), daemon=True, name="input").start()


def lines_of(descriptor: int) -> Iterator[str]:
    """Yield the lines that come through a pipe, until its other end is closed.

    Past Python's own file: a thread that waits in that holds its lock, and at the end of the process the interpreter
    wants it to close the file, and aborts where it cannot have it.
    """
    rest = b""
    while chunk := os.read(descriptor, _CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def _end_with_input(descriptor: int) -> None:
    for _ in lines_of(descriptor):
        pass
    os._exit(0)
