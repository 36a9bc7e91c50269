"""CoreSet: k-center greedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request

__all__ = ["coreset"]


def coreset(request: Request) -> Selection:
    """Pick the image that is farthest from all labelled and picked ones; the gains are the distances."""
    features = request.pool.features
    squares = np.einsum("ij,ij->i", features, features).astype(np.float64)
    distances = np.full(len(features), np.inf)
    free = np.ones(len(features), np.bool_)
    if request.labelled is not None:
        for row in request.labelled.features:
            np.minimum(distances, np.maximum(squares + row @ row - 2 * (features @ row), 0), out=distances)
    elif len(features):
        mean = features.mean(axis=0)
        distances = np.maximum(squares + mean @ mean - 2 * (features @ mean), 0)
    first = request.labelled is None
    indices = np.empty(request.budget, np.int64)
    gains = np.empty(request.budget)
    for step in range(request.budget):
        pick = int(np.argmax(np.where(free, distances, -1)))
        indices[step], gains[step] = pick, np.sqrt(distances[pick])
        free[pick] = False
        away = np.maximum(squares + squares[pick] - 2 * (features @ features[pick]), 0)
        distances = away if first else np.minimum(distances, away)
        first = False
    return Selection(indices, gains)
