"""The order while nothing is known of the target: each task unlike all that were seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.distances import Distances
from clinical_backend.acquisition.embedding import Embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["diverse_order"]

_COMPONENTS = 16


def diverse_order(
    pool: NDArray[np.float32], labelled: NDArray[np.float32], budget: int, *, parts: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Pick tasks farthest-first, in the leading principal components of each part of the features in turn.

    Distances in all dimensions are mostly noise, and the farthest images mostly odd ones: in the leading
    components a diverse order meets the first rare case earlier. Frozen and adapted features find different
    things odd, and none of them is the better on every set: by taking turns, the first rare case comes at most
    about twice as late as with the better one (docs/finding-power.md). Lowest index on a tie.

    Parameters
    ----------
    pool, labelled
        Features of the unlabelled and the labelled tasks, shapes (n, d) and (l, d).
    budget
        How many tasks to pick.
    parts
        Lengths of the parts that the features are joined of; empty for one.

    Returns
    -------
    NDArray
        min(budget, n) places in the pool, in order.

    References
    ----------
    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
    algorithm 1.
    """
    if not len(pool):
        return np.empty(0, dtype=np.int64)
    edges = np.cumsum(parts, dtype=np.intp)[:-1]
    blocks = zip(np.split(pool, edges, axis=1), np.split(labelled, edges, axis=1), strict=True)
    views = [_View(*block) for block in blocks]
    picks = np.empty(min(budget, len(pool)), dtype=np.int64)
    for step in range(len(picks)):
        pick = picks[step] = views[step % len(views)].farthest(picks[:step])
        for view in views:
            view.see(pick)
    return picks


class _View:
    """How far each task of a pool is from what was seen, by one part of its features."""

    def __init__(self, pool: NDArray[np.float32], labelled: NDArray[np.float32]) -> None:
        centre = pool.mean(axis=0, keepdims=True)
        centred = pool - centre
        _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        leading = np.ascontiguousarray(directions[:, ::-1][:, :_COMPONENTS].astype(np.float32))
        self._distances = Distances(Embedding(centred @ leading))
        # Where nothing is labelled, the first task is the one farthest from the mean.
        self._nearest: NDArray[np.float64] | None = None
        for point in (labelled - centre) @ leading:
            self._approach(self._distances.to_point(point))

    def farthest(self, taken: NDArray[np.int64]) -> int:
        """Return the task that is farthest from all that was seen, of those that are not taken."""
        nearest = self._distances.squares if self._nearest is None else self._nearest
        nearest = nearest.astype(np.float64)
        nearest[taken] = -1
        return int(np.argmax(nearest))

    def see(self, pick: int) -> None:
        """Note that a task of the pool is picked."""
        self._approach(self._distances.to_row(pick))

    def _approach(self, distances: NDArray[np.float64]) -> None:
        self._nearest = distances if self._nearest is None else np.minimum(self._nearest, distances)
