"""An estimate with the range that it lies in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Interval"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes
    ----------
    estimate
        The likeliest value for a person to plan with (a median).
    low, high
        Ends of the interval; both belong to it.
    """

    estimate: float
    low: float
    high: float
