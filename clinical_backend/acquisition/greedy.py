"""The greedy loop that the functions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["fill", "greedy"]


def greedy(
    budget: int,
    gains_of: Callable[[], NDArray[np.floating]],
    update: Callable[[int], None],
    relevance: NDArray[np.floating] | None = None,
) -> Selection:
    """Pick the largest gain, lowest index on a tie, `budget` times.

    Parameters
    ----------
    budget
        Number of picks, at most the size of the pool.
    gains_of
        Returns the (n,) gains of all points given the picks so far.
    update
        Called with each pick.
    relevance
        (n,) order of the points once no gain is positive; None if the function cannot saturate.
    """
    indices = np.empty(budget, np.int64)
    gains = np.empty(budget, np.float64)
    taken: NDArray[np.bool_] | None = None
    for step in range(budget):
        current = np.asarray(gains_of(), np.float64)
        if taken is None:
            taken = np.zeros(len(current), np.bool_)
        current[taken] = -np.inf
        best = int(np.argmax(current))
        if relevance is not None and current[best] <= 0:
            return fill(indices[:step], gains[:step], budget, relevance)
        indices[step], gains[step] = best, current[best]
        taken[best] = True
        update(best)
    return Selection(indices, gains)


def fill(
    indices: NDArray[np.int64],
    gains: NDArray[np.float64],
    budget: int,
    relevance: NDArray[np.floating],
) -> Selection:
    """Complete a selection whose function is saturated: by relevance, lowest index on a tie, with gain zero."""
    order = np.argsort(-relevance, kind="stable")
    rest = order[~np.isin(order, indices)][: budget - len(indices)]
    return Selection(
        np.concatenate([indices, rest.astype(np.int64)]),
        np.concatenate([gains, np.zeros(len(rest))]),
        saturated_at=len(indices),
    )
