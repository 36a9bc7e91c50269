"""What a process in the background does: it gives way to others, and ends with the one that started it."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["end_with_input", "lines_of", "stay_in_background"]

_NICENESS = 10
_CHUNK = 65_536  # what a pipe holds on Linux


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
