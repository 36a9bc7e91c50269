"""GCMI: the similarity of the picks to the query set, summed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import largest
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["gcmi", "gcmi_scores"]


@acquisition("like the exemplars, without regard to variety (GCMI)", needs=["query"], settable=True)
def gcmi(request: Request) -> Selection:
    """Pick what resembles all of the query set.

    f(A; Q) = 2λ Σ_{a∈A} Σ_{q∈Q} s_aq. submodlib leaves out the factor 2λ.

    No memo: f is modular, the picks are the largest Σ_q s_jq. On features Σ_q cos(j, q) = ⟨ĵ, Σ_q q̂⟩
    is one product of a matrix and a vector, O(n d); with clipped similarities or gradients O(n q) more.

    References
    ----------
    Kothawade et al., "PRISM", AAAI 2022, table 1 (GCMI).
    """
    return largest(gcmi_scores(request), request.budget)


def gcmi_scores(request: Request) -> NDArray[np.float64]:
    """Return the (n,) gains, which no pick changes."""
    assert request.query is not None
    to = Map.of(request.similarity)
    with Workers() as workers:
        pool = Directions(request.pool, "pool", workers)
        query = Directions(request.query, "query", workers)
        if len(pool.factors) == 1 and request.similarity is not Similarity.CLIPPED:
            factor = pool.factors[0]
            towards = query.factors[0].dense().sum(axis=0)
            total = to.slope * (factor.values @ towards) * factor.inverse + to.offset * np.float32(len(query))
        else:
            total = cross(pool, query, to, workers, keep=False).total
    return np.asarray(2 * request.lambda_ * total.astype(np.float64))
