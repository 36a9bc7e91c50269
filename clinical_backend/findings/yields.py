"""What the estimate of the rare cases left says of the whole project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.findings.interval import Interval

if TYPE_CHECKING:
    from clinical_backend.findings.remaining import Remaining

__all__ = ["prevalence", "times_random"]


def prevalence(left: Remaining, *, found: int, tasks: int) -> Interval:
    """Return the share of rare cases among tasks.

    Parameters
    ----------
    left
        Rare cases among those that have no label.
    found
        Rare cases among those that have one.
    tasks
        All of them, at least 1.
    """
    share = left.interval()
    return Interval((found + share.estimate) / tasks, (found + share.low) / tasks, (found + share.high) / tasks)


def times_random(left: Remaining, *, found: int, labels: int, pool: int) -> Interval:
    """Return how many times as many rare cases were found as random order finds with as many labels.

    Parameters
    ----------
    left
        Rare cases in the pool.
    found, labels
        Rare cases and labels of the queue, labels ≥ 1.
    pool
        Tasks without a label.
    """
    if not found:
        return Interval(0.0, 0.0, 0.0)
    share = left.interval()
    # Of n tasks with r rare ones, random order finds labels × r / n.
    estimate, low, high = (
        found * (pool + labels) / (labels * (found + count)) for count in (share.estimate, share.high, share.low)
    )
    return Interval(estimate, low, high)
