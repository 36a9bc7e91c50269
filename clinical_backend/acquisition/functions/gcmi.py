"""GCMI: the similarity of the picks to the query set, summed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection
from clinical_backend.acquisition.similarity import similarities

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request

__all__ = ["gcmi"]


def gcmi(request: Request) -> Selection:
    """f(A; Q) = 2λ Σ_{a∈A} Σ_q s_aq."""
    assert request.query is not None
    sums = similarities(request.pool, request.query, request.similarity).sum(axis=1, dtype=np.float64)
    gains = 2 * request.lambda_ * sums
    order = np.argsort(-gains, kind="stable")[: request.budget]
    return Selection(order.astype(np.int64), gains[order])
