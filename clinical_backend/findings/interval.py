"""An estimate with the range that it lies in, or a bound alone where no estimate is to be had."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import betaincinv

__all__ = ["Interval", "interval_of_share", "lower_share", "upper_share"]

_ERROR = 0.05  # the usual 95 % of intervals
_LEAST = 20
"""Cases of a share before it is stated: with 20, the interval still reaches 23 points to each side of a half."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; where the evidence carries none, a one-sided bound or the interval alone.

    Attributes
    ----------
    estimate
        The likeliest value for a person to plan with (a median); ``None`` where the evidence carries none.
    low, high
        Ends, which belong to it; ``None`` where it is not bounded on that side.
    """

    estimate: float | None
    low: float | None
    high: float | None


def interval_of_share(hits: int, cases: int) -> Interval:
    """Return a share with its 95 % interval (Clopper and Pearson 1934); of fewer than 20 cases without an estimate.

    Parameters
    ----------
    hits, cases
        How many there are, of how many, at least 1.
    """
    low, high = (bound(hits, cases, _ERROR / 2) for bound in (lower_share, upper_share))
    return Interval(hits / cases if cases >= _LEAST else None, low, high)


def lower_share(hits: float, cases: float, error: float) -> float:
    """Return the one-sided lower bound of a share, which errs with this probability (Clopper and Pearson 1934)."""
    return float(betaincinv(hits, cases - hits + 1, error)) if hits else 0.0


def upper_share(hits: float, cases: float, error: float) -> float:
    """Return the one-sided upper bound of a share, which errs with this probability (Clopper and Pearson 1934)."""
    return float(betaincinv(hits + 1, cases - hits, 1 - error)) if hits < cases else 1.0
