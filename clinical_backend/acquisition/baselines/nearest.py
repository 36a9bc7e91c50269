"""Nearest: the neighbours of the exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.acquisition.baselines.uncertainty import largest
from clinical_backend.acquisition.similarity import similarities

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["nearest"]


def nearest(request: Request) -> Selection:
    """Rank by the similarity to the nearest exemplar; the gains are the similarities."""
    assert request.query is not None
    return largest(similarities(request.pool, request.query, request.similarity).max(axis=1), request.budget)
