"""Lazy greedy on the (n, q) similarities to the query set, exact."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical_backend.acquisition.greedy import TIE, complete
from clinical_backend.acquisition.loops.lazy import TAKEN, sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled import Workers
    from clinical_backend.acquisition.request import Selection
    from clinical_backend.acquisition.similarity import Cross

__all__ = ["Increment", "Memo", "lazy_greedy"]

_LEAST_ROWS = 32_768  # of a thread
_REVIEWS = frozenset({4, 8, 16, 32, 64, 128, 256, 512})  # picks after which hopeless points are left out


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

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the two (q,) arrays that the increment is computed with."""

    def add(self, similarities: NDArray[np.float32]) -> tuple[float, float]:
        """Add a pick; return (ratio, offset): each sum x of increments is now ≤ ratio · x + offset."""


def lazy_greedy(
    between: Cross,
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    memo: Memo,
    budget: int,
    workers: Workers,
    *,
    least: float = 0.0,
) -> Selection:
    """Pick the largest own_j + Σ_q increment(s_jq), lowest index on a tie, `budget` times.

    The increments must not grow with the picks. Then the sum of a point's increments when last
    computed, sent through the bounds of the memo since, bounds it now; only a point whose bound still
    reaches the largest gain found is computed again. The bounds are affine, so that all sums are kept
    as they would have been at the start. No gain falls below its own part, so that a point whose bound
    does not reach the B-th largest own part is left out for good.

    Parameters
    ----------
    between
        Similarities of the pool to the query set, with their kernel.
    own
        (n,) the part of a gain that never changes; overwritten.
    parts
        (n,) the sums of the increments before any pick; overwritten.
    memo
        Updated with each pick.
    least
        The function is saturated where no gain is above it.
    """
    kernel = between.kernel
    assert kernel is not None
    indices, gains = np.empty(budget, np.int64), np.empty(budget)
    ratio, offset = 1.0, 0.0
    rows = None
    sure = np.partition(own, len(own) - budget)[len(own) - budget] * (1 - TIE)
    for step in range(budget):
        if step in _REVIEWS:
            alive = np.flatnonzero(own + (parts * np.float32(ratio) + np.float32(offset)) >= sure)
            if 2 * len(alive) < len(own):
                kernel, own, parts = kernel[alive], own[alive], parts[alive]
                rows = alive if rows is None else rows[alive]
        first, second = memo.values()
        found = workers.run(
            sweep, len(own), kernel, own, parts, np.float32(ratio), np.float32(offset),
            first, second, int(memo.increment), TIE, least=_LEAST_ROWS,
        )  # fmt: skip
        best = max(gain for _, gain in found)
        if best <= least:
            return complete(indices[:step], gains[:step], budget, between.nearest)
        pick, gain = next((row, gain) for row, gain in found if gain >= best - TIE * best)
        indices[step], gains[step] = pick if rows is None else rows[pick], gain
        own[pick] = TAKEN
        step_ratio, step_offset = memo.add(kernel[pick])
        ratio, offset = ratio * step_ratio, offset * step_ratio + step_offset
    return complete(indices, gains, budget, between.nearest)
