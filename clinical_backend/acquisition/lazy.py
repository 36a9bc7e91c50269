"""Lazy greedy on the (n, q) similarities to the query set, exact."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical_backend.acquisition.compiled import Workers, compiled
from clinical_backend.acquisition.greedy import TIE, complete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Selection
    from clinical_backend.acquisition.similarity import Cross

__all__ = ["Increment", "Memo", "lazy_greedy"]

_BLOCK = 1024
_TAKEN = np.float32(-1e30)


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
        """Add a pick; return (ratio, offset) such that each sum x of increments is now ≤ ratio · x + offset."""


def lazy_greedy(
    between: Cross,
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    memo: Memo,
    budget: int,
    workers: Workers,
) -> Selection:
    """Pick the largest own_j + Σ_q increment(s_jq), lowest index on a tie, `budget` times.

    The increments must not grow with the picks. Then the sum of a point's increments when last computed, sent
    through the bounds of the memo since, bounds it now; only a point whose bound still reaches the largest gain
    found is computed again. The bounds are affine, so that all sums are kept as they would have been at the start.

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
    """
    kernel = between.kernel
    assert kernel is not None
    indices, gains = np.empty(budget, np.int64), np.empty(budget)
    ratio, offset = 1.0, 0.0
    for step in range(budget):
        first, second = memo.values()
        found = workers.run(
            _sweep, len(own), kernel, own, parts, np.float32(ratio), np.float32(offset),
            first, second, int(memo.increment), TIE, least=_BLOCK,
        )  # fmt: skip
        best = max(gain for _, gain in found)
        if best <= 0:
            return complete(indices[:step], gains[:step], budget, between.nearest)
        pick, gain = next((row, gain) for row, gain in found if gain >= best - TIE * best)
        indices[step], gains[step] = pick, gain
        own[pick] = _TAKEN
        step_ratio, step_offset = memo.add(kernel[pick])
        ratio, offset = ratio * step_ratio, offset * step_ratio + step_offset
    return complete(indices, gains, budget, between.nearest)


@compiled
def _sweep(start, stop, kernel, own, parts, ratio, offset, first, second, increment, tie):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the first point of a range that reaches its largest gain, and that gain; (−1, 0) if none is positive."""
    kernel, own, parts = kernel[start:stop], own[start:stop], parts[start:stop]
    size = stop - start
    candidates = np.empty(_BLOCK, np.int64)
    tops = np.empty((size + _BLOCK - 1) // _BLOCK, np.float32)
    for block in range(len(tops)):
        top = _TAKEN
        some, others = (
            own[block * _BLOCK : (block + 1) * _BLOCK],
            parts[block * _BLOCK : (block + 1) * _BLOCK],
        )
        for place in range(len(some)):
            top = max(top, some[place] + others[place] * ratio + offset)
        tops[block] = top
    level = np.float32(0)
    for block in range(
        len(tops)
    ):  # the most promising point of each block first: most others then need no look
        some, others = (
            own[block * _BLOCK : (block + 1) * _BLOCK],
            parts[block * _BLOCK : (block + 1) * _BLOCK],
        )
        for place in range(len(some)):
            if some[place] + others[place] * ratio + offset >= tops[block] and tops[block] > level:
                others[place] = (
                    _part(kernel[block * _BLOCK + place], first, second, increment) - offset
                ) / ratio
                level = max(level, some[place] + others[place] * ratio + offset)
                break
    for block in range(len(tops)):
        if tops[block] <= level:
            continue
        some, others = (
            own[block * _BLOCK : (block + 1) * _BLOCK],
            parts[block * _BLOCK : (block + 1) * _BLOCK],
        )
        rows = kernel[block * _BLOCK : (block + 1) * _BLOCK]
        count = 0
        for place in range(len(some)):
            candidates[count] = place
            count += some[place] + others[place] * ratio + offset > level
        for place in candidates[:count]:
            others[place] = (_part(rows[place], first, second, increment) - offset) / ratio
            level = max(level, some[place] + others[place] * ratio + offset)
    best = level
    level -= tie * best
    for block in range(len(tops)):
        if best <= 0 or tops[block] < level:
            continue
        some, others = (
            own[block * _BLOCK : (block + 1) * _BLOCK],
            parts[block * _BLOCK : (block + 1) * _BLOCK],
        )
        for place in range(len(some)):
            if some[place] + others[place] * ratio + offset >= level:
                row = block * _BLOCK + place
                others[place] = (_part(kernel[row], first, second, increment) - offset) / ratio
                if some[place] + others[place] * ratio + offset >= level:
                    return start + row, np.float64(some[place] + others[place] * ratio + offset)
    return -1, 0.0


@compiled
def _part(values, first, second, increment):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    size = len(values)
    one = np.float32(1)
    summed = np.float32(0)
    if increment == 0:
        for column in range(size):
            summed += max(values[column] - first[column], np.float32(0))
    elif increment == 1:
        for start in range(0, size, 64):  # at most 2**64 in one product
            product = one
            for column in range(start, min(start + 64, size)):
                product *= one + values[column] * first[column]
            summed += np.log(product)
    elif increment == 2:
        for column in range(size):
            root = np.sqrt(first[column] + values[column]) + second[column]
            summed += values[column] / max(root, np.float32(1e-20))
    else:
        for column in range(size):
            value = values[column] * first[column]
            summed += value * first[column] / (one + value)
    return summed
