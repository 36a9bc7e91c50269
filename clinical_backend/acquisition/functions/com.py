"""COM: concave over modular."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.greedy import greedy
from clinical_backend.acquisition.request import Concave
from clinical_backend.acquisition.similarity import similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["com"]


def com(request: Request) -> Selection:
    """f(A; Q) = η Σ_{a∈A} ψ(Σ_q s_aq) + Σ_q ψ(Σ_{a∈A} s_aq)."""
    assert request.query is not None
    kernel = np.maximum(similarities(request.pool, request.query, request.similarity), 0)
    alone = request.eta * _concave(request.concave, kernel.sum(axis=1))
    covered = np.zeros(kernel.shape[1], np.float32)

    def gains() -> NDArray[np.floating]:
        grown = _concave(request.concave, kernel + covered) - _concave(request.concave, covered)
        return np.asarray(alone + grown.sum(axis=1))

    def update(pick: int) -> None:
        covered.__iadd__(kernel[pick])

    return greedy(request.budget, gains, update, kernel.max(axis=1))


def _concave(kind: Concave, values: NDArray[np.floating]) -> NDArray[np.floating]:
    match kind:
        case Concave.LOG:
            return np.asarray(np.log1p(values))
        case Concave.SQRT:
            return np.asarray(np.sqrt(values))
        case Concave.INVERSE:
            return np.asarray(1 - 1 / (1 + values))
