"""Quality × diversity: likely positives that differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.greedy import greedy
from clinical_backend.acquisition.volume import ConditionalVariance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["quality_diversity"]


def quality_diversity(request: Request) -> Selection:
    """f(A) = log det(S_A + λI) + w Σ_{a∈A} log P(rare | a)."""
    assert request.probabilities is not None
    quality = request.weight * np.log(np.maximum(request.probabilities[:, 0].astype(np.float64), 1e-12))
    variance = ConditionalVariance(
        request.pool,
        None,
        None,
        ridge=request.lambda_,
        similarity=request.similarity,
        budget=request.budget,
    )

    def gains() -> NDArray[np.floating]:
        return np.asarray(np.log(variance.variances) + quality)

    return greedy(request.budget, gains, variance.add)
