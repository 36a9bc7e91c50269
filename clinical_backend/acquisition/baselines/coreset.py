"""CoreSet: k-center greedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.distances import Distances
from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["coreset"]


def coreset(request: Request) -> Selection:
    """Pick the image whose features are farthest from all labelled and picked ones, lowest index on a tie.

    With nothing labelled the first pick is the image farthest from the mean of the pool. The gains are
    the distances. O(n d) for each pick and each labelled image.

    References
    ----------
    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
    algorithm 1.
    """
    features = request.pool.features
    distances = Distances(Embedding(features))
    labelled = request.labelled
    centers = features.mean(axis=0)[None] if labelled is None else labelled.features
    nearest: NDArray[np.float64] = np.full(len(features), np.inf)
    for center in centers:
        np.minimum(nearest, distances.to_point(center), out=nearest)
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    for step in range(request.budget):
        pick = int(np.argmax(nearest))
        indices[step], gains[step] = pick, np.sqrt(nearest[pick])
        away = distances.to_row(pick)
        nearest = away if step == 0 and labelled is None else np.minimum(nearest, away)
        nearest[indices[: step + 1]] = -1
    return Selection(indices, gains)
