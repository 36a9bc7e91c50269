"""When a round is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["LOW_QUEUE_SHARE", "reason_for_labels", "reason_for_queue"]

LOW_QUEUE_SHARE = 0.25
"""A queue with less than this share of its tasks left is running low."""


def reason_for_queue(left: int, size: int, pool: int) -> str | None:
    """Say why the state of the queue makes a round due, or ``None``.

    Parameters
    ----------
    left, size
        Tasks of the published queue that are still to be annotated, and how many it had; those are left out that a
        reader had skipped before: they would make one round after the other due.
    pool
        Tasks of the project that nobody annotated or skipped.
    """
    if size and left < LOW_QUEUE_SHARE * size and left < pool:
        return f"the queue is running low: {left} of {size} tasks are left"
    return None


def reason_for_labels(
    before: Mapping[int, tuple[str | None, int]], now: Mapping[int, tuple[str | None, int]], every: int
) -> str | None:
    """Compare labels with those of the last round, and say why a round is due, or ``None``.

    Parameters
    ----------
    before, now
        Class and steer (1 exemplar, −1 counter-exemplar, else 0) by task.
    every
        START_TRAINING_EACH_N_UPDATES.
    """
    if _steering(before) != _steering(now):
        return "the exemplars changed"
    if before.keys() - now.keys():
        return "annotations were deleted"
    changed = sum(before.get(task) != now.get(task) for task in before.keys() | now.keys())
    return f"{changed} annotations changed" if changed >= every else None


def _steering(labels: Mapping[int, tuple[str | None, int]]) -> Collection[tuple[int, int]]:
    return {(task, steer) for task, (_, steer) in labels.items() if steer}
