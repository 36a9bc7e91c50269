"""BADGE: k-means++ seeding on gradient embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.distances import Distances
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request

__all__ = ["badge"]


@acquisition("where the model would learn most, and varied", on_gradients=True)
def badge(request: Request) -> Selection:
    """Draw each pick with probability proportional to its squared distance from the picks so far.

    The first pick is the longest vector, as in the authors' code. With residuals the vectors are
    gradient embeddings (see `Embedding`), kept factorised; without, features. Where all that is left
    coincides with the picks, the lowest index is taken. The gains are the squared distances, of the
    first pick its squared length. O(n (d + C)) for each pick.

    References
    ----------
    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
    algorithm 1.
    """
    distances = Distances(request.pool)
    generator = np.random.default_rng(request.seed)
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    free = np.ones(len(request.pool), np.bool_)
    weights = distances.squares
    for step in range(request.budget):
        if step == 0:
            pick = int(np.argmax(weights))
        else:
            mass = np.cumsum(np.where(free, weights, 0))
            pick = int(np.searchsorted(mass, generator.random() * mass[-1], side="right"))
            if pick == len(mass) or not free[pick]:
                pick = int(np.argmax(free))
        indices[step], gains[step] = pick, weights[pick]
        free[pick] = False
        away = distances.to_row(pick)
        weights = away if step == 0 else np.minimum(weights, away)
    return Selection(indices, gains)
