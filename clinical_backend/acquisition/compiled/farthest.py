"""Farthest-first traversal, in one embedding or in several that take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.distances import Distances
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["View", "farthest_first"]


class View:
    """How far each point of a pool is from the nearest that was seen, in one embedding.

    Parameters
    ----------
    pool
        (n) the points.
    seen
        What was seen before; with none, the first pick is the point farthest from the mean of the pool.
    """

    def __init__(self, pool: Embedding, seen: Embedding | None = None) -> None:
        self._distances = Distances(pool)
        self._began = seen is not None and len(seen) > 0
        starts = seen.features if seen is not None and self._began else pool.features.mean(axis=0)[None]
        self.nearest: NDArray[np.float64] = np.full(len(pool), np.inf)
        for point in starts:
            np.minimum(self.nearest, self._distances.to_point(point), out=self.nearest)

    def see(self, row: int) -> None:
        """Note that a point of the pool was picked."""
        away = self._distances.to_row(row)
        self.nearest = np.minimum(self.nearest, away) if self._began else away
        self._began = True


def farthest_first(views: Sequence[View], budget: int) -> Selection:
    """Pick the point farthest from all that was seen, by each view in turn; lowest index on a tie.

    The gains are the distances, each in the view that picked. O(n d) for each pick and view.

    Parameters
    ----------
    views
        Of the same n points, at least one.
    budget
        n at most.

    References
    ----------
    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
    algorithm 1.
    """
    indices, gains = np.empty(budget, np.int64), np.empty(budget)
    for step in range(budget):
        nearest = views[step % len(views)].nearest.copy()
        nearest[indices[:step]] = -1
        pick = int(np.argmax(nearest))
        indices[step], gains[step] = pick, np.sqrt(nearest[pick])
        for view in views:
            view.see(pick)
    return Selection(indices, gains)
