"""FLQMI: facility location between the picks and the query set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.greedy import greedy
from clinical_backend.acquisition.similarity import similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["flqmi"]


def flqmi(request: Request) -> Selection:
    """f(A; Q) = Σ_q max_{a∈A} s_aq + η Σ_{a∈A} max_q s_aq."""
    assert request.query is not None
    kernel = np.maximum(similarities(request.pool, request.query, request.similarity), 0)
    nearest = kernel.max(axis=1)
    covered = np.zeros(kernel.shape[1], np.float32)

    def gains() -> NDArray[np.floating]:
        return np.maximum(kernel - covered, 0).sum(axis=1) + np.float32(request.eta) * nearest

    def update(pick: int) -> None:
        np.maximum(covered, kernel[pick], out=covered)

    return greedy(request.budget, gains, update, nearest)
