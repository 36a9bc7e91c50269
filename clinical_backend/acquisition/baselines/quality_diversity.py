"""Quality × diversity: likely positives that differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition.compiled.greedy import first_largest
from clinical_backend.acquisition.compiled.similarity import Directions, Map
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.compiled.volume import Volume
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["contenders", "quality_diversity"]

_LEAST = 1e-12
"""Keeps the logarithm finite; float32 gives probabilities below 1e-7 no meaning."""


@acquisition("probably rare, and varied", needs=["probabilities"], of_rare=True, logdet=True, settable=True)
def quality_diversity(request: Request) -> Selection:
    """Pick what the classifier believes to be rare and what differs from the other picks.

    f(A) = log det(S_A + λI) + w Σ_{a∈A} log P(rare | a), with P(rare) of at least 1e-12. The mode of a
    determinantal point process with quality P(rare)^{w/2}, found greedily.

    Memo: the variance of each point given the picks (see `volume`). Gain of j: log d_j + w log P_j. As
    λ ≤ d ≤ 1 + λ, a point whose quality is log((1 + λ)/λ) below the B-th largest can never be picked:
    it is left out from the start, exactly. O(m d) for each pick on the m points that are left.

    References
    ----------
    Kulesza and Taskar, "Determinantal Point Processes for Machine Learning", 2012, section 3.1;
    Chen, Zhang and Zhou, "Fast Greedy MAP Inference for Determinantal Point Process", NeurIPS 2018.
    """
    assert request.probabilities is not None
    rows = contenders(request.probabilities, request.budget, weight=request.weight, lambda_=request.lambda_)
    quality = _quality(request.probabilities[rows], request.weight)
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    with Workers() as workers:
        everything = Directions(request.pool, "pool", workers)
        volume = Volume(
            everything if len(rows) == len(everything) else everything.take(rows),
            None,
            None,
            to=Map.of(request.similarity),
            ridge=request.lambda_,
            workers=workers,
        )
        taken = np.zeros(len(rows), np.bool_)
        for step in range(request.budget):
            pick = first_largest(np.log(volume.variances) + quality, taken)
            variance, _ = volume.add(pick)
            indices[step], gains[step] = rows[pick], np.log(variance) + quality[pick]
    return Selection(indices, gains)


def contenders(
    belief: NDArray[np.floating[Any]], budget: int, *, weight: float = 1.0, lambda_: float = 1.0
) -> NDArray[np.int64]:
    """Return the points that quality × diversity may pick, in order: it picks the same from them alone.

    Parameters
    ----------
    belief
        P(rare) of each point, shape (n,).
    budget, weight, lambda_
        As for `select`.
    """
    if not 0 < budget < len(belief):
        return np.arange(len(belief))
    quality = _quality(belief, weight)
    place = len(quality) - budget
    reach = np.log1p(1 / lambda_) + 1e-6
    return np.flatnonzero(quality >= np.partition(quality, place)[place] - reach)


def _quality(belief: NDArray[np.floating[Any]], weight: float) -> NDArray[np.float64]:
    quality: NDArray[np.float64] = weight * np.log(np.maximum(belief.astype(np.float64), _LEAST))
    return quality
