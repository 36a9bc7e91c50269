"""One sweep of a lazy greedy over bounds of gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.threads import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK", "ROUNDING_OF_A_TERM", "TAKEN", "raised", "refresh", "sweep"]

BLOCK = 1024
"""Points that share one bound: what is read of them to look, 16 KiB, stays in the cache next to a core."""
TAKEN = np.float32(-1e30)
"""Below every gain and bound, and far enough above the least float32 that sums with it stay finite."""
ROUNDING_OF_A_TERM = np.float32(2.5e-7)
"""What rounding does, twice, to one factor of the product in `Increment.LOG`, however small the increment."""
_ROUNDING = np.float32(5e-7)
"""Relative: four times the spacing of float32 at 1, more than the two roundings of ratio · part + offset."""


@compiled
def raised(offset: np.float32, size: int, increment: int) -> np.float32:
    """Return the offset of a bound that holds for a sum of `size` increments although both are rounded."""
    terms = np.float32(size) * ROUNDING_OF_A_TERM if increment == 1 else np.float32(0)
    return offset + (terms + _ROUNDING * abs(offset))


@compiled
def sweep(
    start: int,
    stop: int,
    kernel: NDArray[np.float32],
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    ratio: np.float32,
    offset: np.float32,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    increment: int,
    tie: np.float32,
) -> tuple[int, float]:
    """Return the first point of a range that reaches its largest gain, and that gain; or (−1, 0).

    The bound of a gain is own + ratio · part + offset, the offset `raised` for rounding. A part that is computed
    again is stored so that this, without the raise, is the gain itself.
    """
    kernel, own, parts = kernel[start:stop], own[start:stop], parts[start:stop]
    above = raised(offset, kernel.shape[1], increment)
    tops = _tops(own, parts, ratio, above)
    level = np.float32(0)
    for block in range(len(tops)):  # the most promising point of each block first: few others then need a look
        if tops[block] > level:
            level = _look(block, tops[block], kernel, own, parts, ratio, offset, above, first, second, increment, level)
    for block in range(len(tops)):
        if tops[block] > level:
            level = _look(block, level, kernel, own, parts, ratio, offset, above, first, second, increment, level)
    if level <= 0:
        return -1, 0.0
    level -= tie * level
    for row in range(len(own)):
        if tops[row // BLOCK] >= level and own[row] + (parts[row] * ratio + above) >= level:
            part = _part(kernel[row], first, second, increment)
            parts[row] = (part - offset) / ratio
            if own[row] + part >= level:
                return start + row, np.float64(own[row] + part)
    return -1, 0.0


@compiled
def refresh(
    start: int,
    stop: int,
    kernel: NDArray[np.float32],
    parts: NDArray[np.float32],
    ratio: np.float32,
    offset: np.float32,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    increment: int,
) -> None:
    """Compute all parts again."""
    for row in range(start, stop):
        parts[row] = (_part(kernel[row], first, second, increment) - offset) / ratio


@compiled
def _tops(
    own: NDArray[np.float32], parts: NDArray[np.float32], ratio: np.float32, above: np.float32
) -> NDArray[np.float32]:
    """Return the largest bound of each block."""
    tops = np.empty((len(own) + BLOCK - 1) // BLOCK, np.float32)
    for block in range(len(tops)):
        some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
        top = TAKEN
        for place in range(len(some)):
            top = max(top, some[place] + (others[place] * ratio + above))
        tops[block] = top
    return tops


@compiled
def _look(
    block: int,
    least: np.float32,
    kernel: NDArray[np.float32],
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    ratio: np.float32,
    offset: np.float32,
    above: np.float32,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    increment: int,
    level: np.float32,
) -> np.float32:
    """Compute the gains of the points of a block whose bound reaches `least`; return the largest gain."""
    rows = kernel[block * BLOCK : (block + 1) * BLOCK]
    some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
    candidates = np.empty(BLOCK, np.int64)
    count = 0
    for place in range(len(some)):
        candidates[count] = place
        count += some[place] + (others[place] * ratio + above) >= least
    for place in candidates[:count]:
        part = _part(rows[place], first, second, increment)
        others[place] = (part - offset) / ratio
        level = max(level, some[place] + part)
    return level


@compiled
def _part(
    values: NDArray[np.float32], first: NDArray[np.float32], second: NDArray[np.float32], increment: int
) -> np.float32:
    """Sum the increments of one point: see `Increment`, whose numbers these are."""
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
