"""FLVMI and FLCMI: facility location over the pool, capped by the query set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.greedy import complete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["flvmi"]


def flvmi(request: Request) -> Selection:
    """f(A; Q) = Σ_{i∈V} min(max_{a∈A} s_ia, η max_q s_iq)."""
    assert request.query is not None
    pool = request.pool
    relevance = cosines(pool, request.query, ("pool", "query")).max(axis=1)
    cap = request.eta * np.maximum(similarities(pool, request.query, request.similarity).max(axis=1), 0)
    floor = np.zeros(len(pool), np.float32)
    if request.conditioning is not None:
        private = similarities(pool, request.conditioning, request.similarity, ("pool", "conditioning"))
        floor = np.float32(request.nu) * np.maximum(private.max(axis=1), 0)
    cap = cap.astype(np.float32)
    covered = np.minimum(floor, cap)
    kernel = np.minimum(similarities(pool, pool, request.similarity), cap)  # column i belongs to row i

    def gains() -> NDArray[np.floating]:
        return np.maximum(kernel - covered, 0).sum(axis=1, dtype=np.float64)

    def update(pick: int) -> None:
        np.maximum(covered, kernel[pick], out=covered)

    return greedy(request.budget, gains, update, relevance)
