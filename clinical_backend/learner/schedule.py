"""How fast a training learns as it goes on, and how often it says where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Schedule", "Throttle"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate that rises in a line and falls to zero with half a cosine.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, without restarts.

    Attributes
    ----------
    warm_up
        Share of the training in which it rises.
    start
        What it begins with, as a share of the highest.
    """

    warm_up: float
    start: float

    def rate(self, share: float) -> float:
        """Return the learning rate at a share of the training, as a share of the highest."""
        if share < self.warm_up:
            return self.start + (1.0 - self.start) * share / self.warm_up
        return 0.5 * (1.0 + math.cos(math.pi * (share - self.warm_up) / (1.0 - self.warm_up)))


class Throttle:
    """Lets something happen at once, then no more than once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = -math.inf

    def is_due(self, now: float) -> bool:
        """Tell whether it may happen, by ``time.monotonic``; if so it counts as done."""
        due = now - self._last >= self._seconds
        if due:
            self._last = now
        return due
