"""What the estimate of the rare cases left says of the whole project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.findings.interval import Interval

if TYPE_CHECKING:
    from clinical_backend.findings.remaining import Remaining

__all__ = ["prevalence", "times_random"]


def prevalence(left: Remaining, *, found: int, tasks: int) -> Interval | None:
    """Return the share of rare cases among tasks, at most where no more can be said; ``None`` where nothing can.

    Parameters
    ----------
    left
        Rare cases among those that have no label.
    found
        Rare cases among those that have one.
    tasks
        All of them, at least 1.
    """

    def share(count: float | None) -> float | None:
        return None if count is None else (found + count) / tasks

    cases = left.interval()
    return cases and Interval(share(cases.estimate), share(cases.low), share(cases.high))


def times_random(left: Remaining, *, found: int, labels: int, pool: int) -> Interval | None:
    """Return how many times as many rare cases were found as random order finds with as many labels.

    At least so many where no more can be said; ``None`` where nothing can.

    Parameters
    ----------
    left
        Rare cases in the pool.
    found, labels
        Rare cases and labels of the queue, labels ≥ 1.
    pool
        Tasks without a label.
    """

    def times(count: float | None) -> float | None:
        # Of n tasks with r rare ones, random order finds labels × r / n.
        return None if count is None else found * (pool + labels) / (labels * max(1.0, found + count))

    cases = left.interval()
    return cases and Interval(times(cases.estimate), times(cases.high), times(cases.low))
