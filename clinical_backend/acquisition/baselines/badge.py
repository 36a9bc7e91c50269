"""BADGE: k-means++ seeding on gradient embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["badge"]


def badge(request: Request) -> Selection:
    """Draw each pick with probability proportional to its squared distance from the picks so far."""
    features, residuals = request.pool.features, request.pool.residuals
    generator = np.random.default_rng(request.seed)

    def inner(pick: int) -> NDArray[np.float64]:
        result = (features @ features[pick]).astype(np.float64)
        if residuals is not None:
            result = (result + 1) * (residuals @ residuals[pick])
        return result

    squares = np.einsum("ij,ij->i", features, features).astype(np.float64)
    if residuals is not None:
        squares = (squares + 1) * np.einsum("ij,ij->i", residuals, residuals)
    distances = np.full(len(squares), np.inf)
    free = np.ones(len(squares), np.bool_)
    indices = np.empty(request.budget, np.int64)
    gains = np.zeros(request.budget)
    for step in range(request.budget):
        if step == 0:
            pick = int(np.argmax(squares))
            gains[0] = squares[pick]
        else:
            weights = np.where(free, distances, 0)
            total = weights.sum()
            if total > 0:
                pick = int(np.searchsorted(np.cumsum(weights), generator.random() * total, side="right"))
                pick = min(pick, int(np.flatnonzero(weights)[-1]))
            else:
                pick = int(np.argmax(free))
            gains[step] = weights[pick]
        indices[step] = pick
        free[pick] = False
        np.minimum(distances, np.maximum(squares + squares[pick] - 2 * inner(pick), 0), out=distances)
    return Selection(indices, gains)
