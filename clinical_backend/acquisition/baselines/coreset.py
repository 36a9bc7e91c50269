"""CoreSet: k-centre greedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.acquisition.compiled.farthest import View, farthest_first
from clinical_backend.acquisition.embedding import Embedding

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["coreset"]


def coreset(request: Request) -> Selection:
    """Pick the image whose features are farthest from all labelled and picked ones: see :func:`farthest_first`."""
    return farthest_first([View(Embedding(request.pool.features), request.labelled)], request.budget)
