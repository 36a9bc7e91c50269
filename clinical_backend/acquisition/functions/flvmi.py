"""FLVMI and FLCMI: facility location over the pool, capped by the query set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.coverage import Coverage
from clinical_backend.acquisition.compiled.greedy import complete
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.declaration import acquisition

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["flcmi", "flvmi"]

_ROUNDING = 1e-7
"""About the relative rounding of float32: a gain below it is none."""


@acquisition("like the exemplars and typical of the pool (FLVMI)", needs=["query"], conditional=True, settable=True)
def flvmi(request: Request) -> Selection:
    """Pick what represents that part of the pool which resembles the query set, and not P if given.

    f(A; Q) = Σ_{i∈V} min(max_{a∈A} s_ia, η max_{q∈Q} s_iq), with negative similarities counted as 0.
    With counter-exemplars P, FLCMI:
    f(A; Q | P) = Σ_{i∈V} [min(max_{a∈A} s_ia, η max_{q∈Q} s_iq) − ν max_{p∈P} s_ip]₊.

    Memo: c_i = max_{a∈A} s_ia, from ν max_p s_ip on. Gain of j: Σ_i [min(s_ij, m_i) − c_i]₊ with m_i =
    η max_q s_iq. Greedy is lazy and exact (see `coverage`). Time O(n² d / 2) once and O(n²) bytes read
    for each pick at worst; memory n² bytes, or none beyond the features where n² bytes are too many, at
    more time. Saturated where no gain reaches 1e-7 of the room Σ_i (m_i − c_i) of the start; the rest
    is then filled by the largest cosine to the query set.

    References
    ----------
    Kothawade et al., "PRISM", AAAI 2022, tables 1 (FLVMI) and 2 (FLCMI); DISTIL calls it fl1mi.
    """
    assert request.query is not None
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    with Workers() as workers:
        to = Map.of(request.similarity, non_negative=True)
        pool = Directions(request.pool, "pool", workers)
        nearest = cross(pool, Directions(request.query, "query", workers), to, workers, keep=False).nearest
        cap = np.float32(request.eta) * to(nearest)
        covered: NDArray[np.floating] = np.zeros(len(pool), np.float32)
        if request.conditioning is not None:
            private = Directions(request.conditioning, "conditioning", workers)
            covered = np.float32(request.nu) * to(cross(pool, private, to, workers, keep=False).nearest)
        least = _ROUNDING * float(np.maximum(cap - covered, 0).sum(dtype=np.float64))
        coverage = Coverage(pool, cap, covered, to=to, workers=workers)
        for step in range(request.budget):
            pick, gain = coverage.best(least)
            if gain <= least:
                return complete(indices[:step], gains[:step], request.budget, nearest)
            indices[step], gains[step] = pick, gain
            coverage.add(pick)
    return complete(indices, gains, request.budget, nearest)


flcmi = flvmi.given_counter_exemplars(
    "flcmi", "like the exemplars, typical of the pool, and unlike the counter-exemplars (FLCMI)"
)
