"""An estimate with the range that it lies in, or a bound alone where no estimate is to be had."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Interval"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval, or a one-sided 95 % bound without one.

    Attributes
    ----------
    estimate
        The likeliest value for a person to plan with (a median); ``None`` where the evidence carries only a bound.
    low, high
        Ends, which belong to it; ``None`` where it is not bounded on that side.
    """

    estimate: float | None
    low: float | None
    high: float | None
