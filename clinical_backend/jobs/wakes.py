"""Wakes of projects, folded."""

from __future__ import annotations

from queue import Empty, Queue

__all__ = ["drain"]


def drain(queue: Queue[int], timeout: float) -> set[int]:
    """Wait for a wake, and fold all that came meanwhile into one look at each project."""
    woken: set[int] = set()
    try:
        woken.add(queue.get(timeout=timeout))
        while True:
            woken.add(queue.get_nowait())
    except Empty:
        return woken
