"""LOGDETMI and LOGDETCMI: how much of the picks' volume the query set explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.acquisition.greedy import greedy
from clinical_backend.acquisition.volume import ConditionalVariance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["logdetmi"]


def logdetmi(request: Request) -> Selection:
    """f(A; Q) = log det S_A − log det(S_A − η² S_AQ S_Q⁻¹ S_QA)."""
    assert request.query is not None
    pool, query, private = request.pool, request.query, request.conditioning
    etas = np.full(len(query), request.eta)
    if private is None:
        given, scales, nus = query, etas, None
    else:
        nus = np.full(len(private), request.nu)
        given = Embedding(
            np.concatenate([query.features, private.features]),
            None
            if query.residuals is None or private.residuals is None
            else np.concatenate([query.residuals, private.residuals]),
        )
        scales = np.concatenate([etas, nus])
    without = ConditionalVariance(
        pool, private, nus, ridge=request.lambda_, similarity=request.similarity, budget=request.budget
    )
    within = ConditionalVariance(
        pool, given, scales, ridge=request.lambda_, similarity=request.similarity, budget=request.budget
    )

    def gains() -> NDArray[np.floating]:
        return np.asarray(np.log(without.variances) - np.log(within.variances))

    def update(pick: int) -> None:
        without.add(pick)
        within.add(pick)

    return greedy(request.budget, gains, update)
