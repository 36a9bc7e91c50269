"""What the greedy selections have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TIE", "complete", "first_largest", "foremost", "largest"]

TIE = np.float32(1e-6)
"""Gains whose relative difference is below this are equal: float32 cannot tell them apart."""


def largest(scores: NDArray[np.float64], budget: int) -> Selection:
    """Pick the largest scores, lowest index on a tie; the gains are the scores."""
    rows = foremost(scores, budget)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    bounds = np.flatnonzero(np.diff(scores[order]) < -TIE * np.abs(scores[order[:-1]])) + 1
    ties = np.repeat(np.arange(len(bounds) + 1), np.diff(np.concatenate([[0], bounds, [len(order)]])))
    order = order[np.lexsort((order, ties))][:budget]
    return Selection(order.astype(np.int64), scores[order].astype(np.float64))


def foremost(scores: NDArray[np.float64], budget: int) -> NDArray[np.int64]:
    """Return, in ascending order, the rows of which the `budget` largest are, with all that tie with the last."""
    if budget >= len(scores):
        return np.arange(len(scores))
    level = np.partition(scores, len(scores) - budget)[len(scores) - budget]
    return np.flatnonzero(scores >= level - TIE * abs(level))


def complete(
    indices: NDArray[np.int64], gains: NDArray[np.float64], budget: int, relevance: NDArray[np.floating]
) -> Selection:
    """Fill a selection whose function is saturated: by relevance, lowest index on a tie, with gain zero."""
    if len(indices) == budget:
        return Selection(indices, gains)
    left = relevance.astype(np.float64)
    left[indices] = -np.inf
    rest = largest(left, budget - len(indices)).indices
    return Selection(
        np.concatenate([indices, rest]),
        np.concatenate([gains, np.zeros(len(rest))]),
        saturated_at=len(indices),
    )


def first_largest(scores: NDArray[np.float64], taken: NDArray[np.bool_]) -> int:
    """Take the largest score that is free, lowest index on a tie; return its index."""
    scores[taken] = -np.inf
    best = scores.max()
    pick = int(np.argmax(scores >= best - TIE * abs(best)))
    taken[pick] = True
    return pick
