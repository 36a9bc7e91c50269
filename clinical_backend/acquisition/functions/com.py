"""COM: concave over modular."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.lazy import Increment, Terms, lazy_greedy
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Concave

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["Covered", "com", "com_terms", "concave"]


@acquisition("like the exemplars, saturating (COM)", needs=["query"], settable=True)
def com(request: Request) -> Selection:
    """Pick what resembles the query set, each exemplar counting less the better it is covered.

    f(A; Q) = η Σ_{a∈A} ψ(Σ_q s_aq) + Σ_q ψ(Σ_{a∈A} s_aq), with negative similarities counted as 0,
    below which ψ is not defined.

    Memo: c_q = Σ_{a∈A} s_aq. Gain of j: ηψ(Σ_q s_jq) + Σ_q [ψ(c_q + s_jq) − ψ(c_q)]. Time O(n q) for
    each pick at worst, on an (n, q) kernel; lazy and exact. The bound is tighter than the older gain:
    as c_q grows to c'_q, the increment ψ(c_q + s) − ψ(c_q) shrinks by a ratio that increases with s (ψ'
    is log-convex for all three ψ), so a sum x of increments is at most ρ x − Σ_q h_q (ρ − ρ_q) after a
    pick: ρ_q is the ratio at s = max_j s_jq, ρ the largest of them, h_q the increment at s = min_j
    s_jq. With ψ = log1p the sum is one logarithm of a product. Saturated where nothing is similar to
    the query set.

    References
    ----------
    Kothawade et al., "PRISM", AAAI 2022, table 1 (COM).
    """
    with Workers() as workers:
        return lazy_greedy(com_terms(request, workers), request.budget, workers)


def com_terms(request: Request, workers: Workers) -> Terms:
    """Return the gains of COM."""
    assert request.query is not None
    to = Map.of(request.similarity, non_negative=True)
    pool = Directions(request.pool, "pool", workers, deferred=True)
    between = cross(pool, Directions(request.query, "query", workers), to, workers)
    assert between.kernel is not None
    own = np.float32(request.eta) * concave(between.total, request.concave)
    top, bottom = (np.asarray(edge(between.kernel, axis=0), np.float64) for edge in (np.max, np.min))
    # By concavity of ψ a sum of ψ(s_q) is at most q ψ(Σ_q s_q / q): a bound to start from.
    size = np.float32(len(request.query))
    parts = size * concave(between.total / size, request.concave) * np.float32(1 + 1e-5)
    return Terms(between, own, parts, Covered(top, bottom, request.concave))


def concave(values: NDArray[np.floating], kind: Concave) -> NDArray[np.floating]:
    """Return ψ of non-negative values."""
    match kind:
        case Concave.LOG:
            return np.asarray(np.log1p(values))
        case Concave.SQRT:
            return np.asarray(np.sqrt(values))
        case Concave.INVERSE:
            return np.asarray(values / (1 + values))


class Covered:
    """c_q, the summed similarity of an exemplar to the picks.

    Parameters
    ----------
    top, bottom
        (q,) the largest and the least similarity of any point whose increments `add` bounds.
    kind
        ψ.
    """

    least = 0.0

    def __init__(self, top: NDArray[np.float64], bottom: NDArray[np.float64], kind: Concave) -> None:
        self._covered: NDArray[np.float64] = np.zeros(len(top))
        self._top, self._bottom = top, bottom
        self._kind = kind
        self.increment = {
            Concave.LOG: Increment.LOG,
            Concave.SQRT: Increment.SQRT,
            Concave.INVERSE: Increment.INVERSE,
        }[kind]

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the increment of ψ is computed with."""
        if self._kind is Concave.SQRT:
            return self._covered.astype(np.float32), np.sqrt(self._covered).astype(np.float32)
        scale = (1 / (1 + self._covered)).astype(np.float32)
        return scale, scale

    def add(self, similarities: NDArray[np.float32]) -> tuple[float, float]:
        """Add a pick; return the ratio and the offset of the bound."""
        before = self._covered
        self._covered = before + similarities
        reached = self._top > 0
        ratios = self._grown(self._covered, self._top)[reached] / self._grown(before, self._top)[reached]
        ratio = float(ratios.max(initial=0))
        sure = self._grown(before, self._bottom)[reached]
        return ratio * (1 + 1e-6), float(sure @ (ratios - ratio))

    def _grown(self, covered: NDArray[np.float64], similarities: NDArray[np.float64]) -> NDArray[np.floating]:
        return concave(covered + similarities, self._kind) - concave(covered, self._kind)
