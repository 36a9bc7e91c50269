"""Whether this process gets on with its work: whatever does a part of it says so here.

A thread that only shows that a process lives would show it for one that hangs, too.
"""

from __future__ import annotations

from time import monotonic

__all__ = ["idle_seconds", "note_progress"]

_last = monotonic()


def note_progress() -> None:
    """Note that a part of the work is done: an image read, an answer received, a batch learnt, a look around."""
    global _last  # noqa: PLW0603 - one process, one pulse
    _last = monotonic()


def idle_seconds() -> float:
    """Return how long ago that was last noted."""
    return monotonic() - _last
