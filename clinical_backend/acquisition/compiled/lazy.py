"""Lazy greedy on the (n, q) similarities to the query set, exact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical_backend.acquisition.compiled.greedy import TIE, complete
from clinical_backend.acquisition.compiled.loops.sweep import TAKEN, raised, refresh, sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled.similarity import Cross
    from clinical_backend.acquisition.compiled.threads import Workers
    from clinical_backend.acquisition.request import Selection

__all__ = ["Increment", "Memo", "Terms", "first_of", "lazy_greedy"]

_LEAST_ROWS = 32_768  # of a thread
_REVIEWS = frozenset({2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512})
"""Numbers of picks after which points without a chance are left out, if they are many."""
_SAMPLE = 1000
"""Points that tell whether these are many: of 1,000, a share is known to ±3 points (95 %)."""
_FEW = 0.5
"""Above this share of points that stay, to copy them would save too little; chosen, not measured by itself."""


class Increment(IntEnum):
    """What one exemplar adds to the gain of a point with similarity s to it."""

    COVERAGE = 0
    """(s − c)₊; the memo holds c twice."""
    LOG = 1
    """log1p(c + s) − log1p(c) = log(1 + s/(1 + c)); the memo holds 1/(1 + c) twice."""
    SQRT = 2
    """√(c + s) − √c = s/(√(c + s) + √c); the memo holds c and √c."""
    INVERSE = 3
    """1/(1 + c) − 1/(1 + c + s); the memo holds 1/(1 + c) twice."""


class Memo(Protocol):
    """What the picks so far mean for each exemplar."""

    increment: Increment
    least: float
    """The function is saturated where no gain is above it."""

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the two (q,) arrays that the increment is computed with."""

    def add(self, similarities: NDArray[np.float32]) -> tuple[float, float]:
        """Add a pick; return (ratio, offset): each sum x of increments is now ≤ ratio · x + offset."""


@dataclass(frozen=True)
class Terms:
    """The gains of a pool: own_j + Σ_q increment(s_jq).

    Attributes
    ----------
    between
        Similarities of the pool to the query set, with their kernel.
    own
        (n,) the part of a gain that never changes.
    parts
        (n,) the sums of the increments before any pick, or bounds of them.
    memo
        Of no picks.
    """

    between: Cross
    own: NDArray[np.float32]
    parts: NDArray[np.float32]
    memo: Memo


def lazy_greedy(terms: Terms, budget: int, workers: Workers) -> Selection:
    """Pick the largest own_j + Σ_q increment(s_jq), lowest index on a tie, `budget` times.

    The increments must not grow with the picks. Then the sum of a point's increments when last
    computed, sent through the bounds of the memo since, bounds it now; only a point whose bound still
    reaches the largest gain found is computed again. The bounds are affine, so that all sums are kept
    as they would have been at the start. No gain falls below its own part, so that a point whose bound
    does not reach the B-th largest own part is left out for good. The arrays of the terms are overwritten.
    """
    kernel, own, parts, memo = terms.between.kernel, terms.own, terms.parts, terms.memo
    assert kernel is not None
    indices, gains = np.empty(budget, np.int64), np.empty(budget)
    ratio, offset = 1.0, 0.0
    rows = None
    sure = np.partition(own, len(own) - budget)[len(own) - budget] * (1 - TIE)
    for step in range(budget):
        state = (np.float32(ratio), np.float32(offset), *memo.values(), int(memo.increment))
        if step in _REVIEWS:
            alive = _alive(kernel, own, parts, state, sure, workers)
            if alive is not None:
                kernel, own, parts = kernel[alive], own[alive], parts[alive]
                rows = alive if rows is None else rows[alive]
        found = workers.run(sweep, len(own), kernel, own, parts, *state, TIE, least=_LEAST_ROWS)
        pick, gain = first_of(found)
        if gain <= memo.least:
            return complete(indices[:step], gains[:step], budget, terms.between.nearest)
        indices[step], gains[step] = pick if rows is None else rows[pick], gain
        own[pick] = TAKEN
        step_ratio, step_offset = memo.add(kernel[pick])
        ratio, offset = ratio * step_ratio, offset * step_ratio + step_offset
    return complete(indices, gains, budget, terms.between.nearest)


def first_of(found: list[tuple[int, float]]) -> tuple[int, float]:
    """Return the first of what parts of a pool found, in their order, that reaches the largest gain."""
    best = max(gain for _, gain in found)
    return next((row, gain) for row, gain in found if gain >= best - TIE * best)


def _alive(
    kernel: NDArray[np.float32],
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    state: tuple[np.float32, np.float32, NDArray[np.float32], NDArray[np.float32], int],
    sure: np.float32,
    workers: Workers,
) -> NDArray[np.int64] | None:
    """Return the points whose gain still reaches `sure`, or None where a sample says that most do."""
    ratio, offset, *_, increment = state
    above = raised(offset, kernel.shape[1], increment)
    some = slice(None, None, max(1, len(own) // _SAMPLE))
    sample = parts[some].copy()
    refresh(0, len(sample), kernel[some].copy(), sample, *state)
    if np.mean(own[some] + (sample * ratio + above) >= sure) > _FEW:
        return None
    workers.run(refresh, len(own), kernel, parts, *state)
    return np.flatnonzero(own + (parts * ratio + above) >= sure)
