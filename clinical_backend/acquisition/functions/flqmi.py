"""FLQMI: facility location between the picks and the query set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.lazy import Increment, Terms, lazy_greedy
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.declaration import acquisition

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["Covered", "flqmi", "flqmi_terms"]

_ROUNDING = 1e-7
"""About the relative rounding of float32: a gain below it is none."""


@acquisition("like the exemplars (FLQMI)", needs=["query"], settable=True)
def flqmi(request: Request) -> Selection:
    """Pick what covers the query set and resembles it.

    f(A; Q) = Σ_{q∈Q} max_{a∈A} s_aq + η Σ_{a∈A} max_{q∈Q} s_aq, with negative similarities counted as 0.

    Memo: c_q = max_{a∈A} s_aq. Gain of j: Σ_q (s_jq − c_q)₊ + η m_j with m_j = max_q s_jq. Time O(n q)
    for each pick at worst, on an (n, q) kernel; lazy and exact, since f is submodular. Saturated where
    no gain reaches 1e-7 q: η m_j = 0 and the query set is covered; the rest is then filled by the
    largest cosine to the query set.

    References
    ----------
    Kothawade et al., "PRISM", AAAI 2022, table 1 (FLQMI); DISTIL calls it fl2mi.
    """
    with Workers() as workers:
        return lazy_greedy(flqmi_terms(request, workers), request.budget, workers)


def flqmi_terms(request: Request, workers: Workers) -> Terms:
    """Return the gains of FLQMI."""
    assert request.query is not None
    to = Map.of(request.similarity, non_negative=True)
    pool = Directions(request.pool, "pool", workers, deferred=True)
    between = cross(pool, Directions(request.query, "query", workers), to, workers)
    own = np.float32(request.eta) * to(between.nearest)
    return Terms(between, own, between.total, Covered(len(request.query)))


class Covered:
    """c_q, the largest similarity of an exemplar to the picks; of `size` exemplars."""

    increment = Increment.COVERAGE

    def __init__(self, size: int) -> None:
        self._covered = np.zeros(size, np.float32)
        self.least = _ROUNDING * size

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return c, twice."""
        return self._covered, self._covered

    def add(self, similarities: NDArray[np.float32]) -> tuple[float, float]:
        """Add a pick; an increment is then at most what it was."""
        np.maximum(self._covered, similarities, out=self._covered)
        return 1.0, 0.0
