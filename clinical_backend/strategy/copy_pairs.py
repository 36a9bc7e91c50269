"""All pairs of tasks that show nearly the same image, as a queue's near-copies are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.half_precision import as_single
from clinical_backend.strategy.copies import NEAR_SHARE, NEIGHBOURS, NearCopies
from clinical_backend.strategy.leading_directions import ROUNDED, LeadingDirections, distances_of_pairs
from clinical_backend.strategy.tasks import Inputs
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clinical_backend.strategy.tasks import FeaturedTasks

__all__ = ["near_copy_pairs"]

_AT_ONCE, _BLOCK = 512, 4096
"""So many images are compared with so many at once: 8 MB of distances."""
_DIRECTIONS = 128
"""Of 7,470 skin images 4 of the others, of 5,840 X-rays 1, are within the limit in so many of 1,280; in 64 they are 17
and 8, and comparing these in all takes more time than the products in 64 directions more."""


def near_copy_pairs(
    featured: FeaturedTasks, show: Callable[[int, int | None], None] = lambda _done, _total: None
) -> NDArray[np.int64]:
    """Return the pairs of tasks that show nearly the same image, each with its near-copies, shape (p, 2).

    They are those that :class:`NearCopies` tells of each: by frozen features. It compares an image with all others to
    know how far its tenth nearest is. Here each pair is compared once, in a few directions; an image that has fewer
    than ten others within the distance of near-copies, all of them far nearer than that, needs no more.

    Parameters
    ----------
    featured
        The tasks.
    show
        Is told how many are compared with all others, of how many.
    """
    copies = NearCopies(Inputs.of(featured.none(), featured))
    if not copies.limit:
        return np.empty((0, 2), dtype=np.int64)
    close = _ClosePairs(featured.first_part().features, copies.limit * ROUNDED)
    close.find(show)
    pairs, distances = close.pairs()
    # The tenth nearest of such an image is farther than the limit: what is below so much of that is a copy.
    sure = distances < NEAR_SHARE * copies.limit / ROUNDED
    judged = np.union1d(np.flatnonzero(close.crowded), pairs[~sure, 0])
    told = [pairs[sure & ~np.isin(pairs[:, 0], judged)]]
    for start in range(0, len(judged), _AT_ONCE):
        part = judged[start : start + _AT_ONCE]
        found = [
            (place, other) for place, one in zip(part.tolist(), copies.of(part), strict=True) for other in one.pool
        ]
        told.append(np.array(found, dtype=np.int64).reshape(-1, 2))
    places = np.concatenate(told)
    return featured.tasks[places[np.lexsort(places.T[::-1])]]


class _ClosePairs:
    """Finds the pairs of images that are nearer than a limit, of images that have few.

    Parameters
    ----------
    features
        Of the images, shape (n, d).
    limit
        Of the squared distance.
    """

    def __init__(self, features: NDArray[np.floating], limit: float) -> None:
        self._features, self._limit = features, limit
        self._counts = np.zeros(len(features), dtype=np.int64)
        self._found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    @property
    def crowded(self) -> NDArray[np.bool_]:
        """Which have ten others or more within the limit, shape (n,): these pairs are not kept."""
        crowded: NDArray[np.bool_] = self._counts >= NEIGHBOURS
        return crowded

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the pairs of all others, each in both orders, shape (p, 2), and their squared distances."""
        pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *(pairs for pairs, _ in self._found)])
        distances = np.concatenate([np.empty(0, dtype=np.float32), *(distances for _, distances in self._found)])
        kept = ~self.crowded[pairs[:, 0]]
        return pairs[kept], distances[kept]

    def find(self, show: Callable[[int, int | None], None]) -> None:
        """Compare each image with those behind it."""
        size = len(self._features)
        blocks = (self._features[first : first + _BLOCK] for first in range(0, size, _BLOCK))
        directions = LeadingDirections.of(self._features, blocks, size, _DIRECTIONS)
        for start in range(0, size, _AT_ONCE):
            places = np.arange(start, min(start + _AT_ONCE, size))
            some = as_single(self._features[places])
            for first in range(start, size, _BLOCK):
                note_progress()
                block = self._features[first : first + _BLOCK]
                rows, others = directions.within(places, first, len(block), self._limit)
                crowded = self.crowded
                wanted = (places[rows] < others + first) & ~(crowded[places[rows]] & crowded[others + first])
                rows, others = rows[wanted], others[wanted]
                self._add(places[rows], others + first, distances_of_pairs(some, block, rows, others))
            # Each has fewer behind it than the one before.
            show(round(size * (1 - ((size - 1 - places[-1]) / size) ** 2)), size)

    def _add(self, ones: NDArray[np.int64], others: NDArray[np.int64], distances: NDArray[np.float32]) -> None:
        near = distances < self._limit
        pairs = np.column_stack([ones[near], others[near]])
        pairs, distances = np.concatenate([pairs, pairs[:, ::-1]]), np.tile(distances[near], 2)
        self._counts += np.bincount(pairs[:, 0], minlength=len(self._counts))
        kept = ~self.crowded[pairs[:, 0]]
        self._found.append((pairs[kept], distances[kept]))
