"""Nearest: the neighbours of the exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import largest
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["nearest"]


def nearest(request: Request) -> Selection:
    """Rank by the similarity to the nearest exemplar; the gains are the similarities. O(n d q)."""
    assert request.query is not None
    to = Map.of(request.similarity)
    with Workers() as workers:
        pool = Directions(request.pool, "pool", workers, deferred=True)
        between = cross(pool, Directions(request.query, "query", workers), to, workers, keep=False)
    return largest(to(between.nearest).astype(np.float64), request.budget)
