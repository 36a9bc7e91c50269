"""One sweep of a lazy greedy over bounds of gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK", "TAKEN", "sweep"]

BLOCK = 1024
TAKEN = np.float32(-1e30)


@compiled
def sweep(
    start: int,
    stop: int,
    kernel: NDArray[np.float32],
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    ratio: float,
    offset: float,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    increment: int,
    tie: float,
) -> tuple[int, float]:
    """Return the first point of a range that reaches its largest gain, and that gain; (−1, 0) if none is positive.

    The bound of a gain is own + ratio · part + offset. A part that is computed again is stored so that
    this is the gain itself.
    """
    kernel, own, parts = kernel[start:stop], own[start:stop], parts[start:stop]
    size = stop - start
    candidates = np.empty(BLOCK, np.int64)
    tops = np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    for block in range(len(tops)):
        top = TAKEN
        some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
        for place in range(len(some)):
            top = max(top, some[place] + (others[place] * ratio + offset))
        tops[block] = top
    level = np.float32(0)
    for block in range(
        len(tops)
    ):  # the most promising point of each block first: most others then need no look
        if tops[block] <= level:
            continue
        some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
        for place in range(len(some)):
            if some[place] + (others[place] * ratio + offset) >= tops[block]:
                part = _part(kernel[block * BLOCK + place], first, second, increment)
                others[place] = (part - offset) / ratio
                level = max(level, some[place] + part)
                break
    for block in range(len(tops)):
        if tops[block] <= level:
            continue
        some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
        rows = kernel[block * BLOCK : (block + 1) * BLOCK]
        count = 0
        for place in range(len(some)):
            candidates[count] = place
            count += some[place] + (others[place] * ratio + offset) > level
        for place in candidates[:count]:
            part = _part(rows[place], first, second, increment)
            others[place] = (part - offset) / ratio
            level = max(level, some[place] + part)
    best = level
    level -= tie * best
    for block in range(len(tops)):
        if best <= 0 or tops[block] < level:
            continue
        some, others = own[block * BLOCK : (block + 1) * BLOCK], parts[block * BLOCK : (block + 1) * BLOCK]
        for place in range(len(some)):
            if some[place] + (others[place] * ratio + offset) >= level - tie * best:
                part = _part(kernel[block * BLOCK + place], first, second, increment)
                others[place] = (part - offset) / ratio
                if some[place] + part >= level:
                    return start + block * BLOCK + place, np.float64(some[place] + part)
    return -1, 0.0


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
