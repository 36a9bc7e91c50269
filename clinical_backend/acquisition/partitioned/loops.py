"""The loop over the points that a shard keeps to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.threads import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NONE", "STEPS", "ceilings"]

NONE = np.float32(-1e30)  # below every gain and bound, and its sums stay finite
STEPS = 16
"""Intervals of the ratios 0 to 1 at which the largest own + ratio · part is taken."""


@compiled
def ceilings(
    start: int,
    stop: int,
    kernel: NDArray[np.float32],
    own: NDArray[np.float32],
    parts: NDArray[np.float32],
    groups: NDArray[np.int32],
    count: int,
    kept: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return for the points that are kept what no gain of theirs exceeds.

    Returns
    -------
    tuple
        (count,) the largest own part of each group, (count, q) its largest similarities, (q,) the least
        similarities of all, and (STEPS + 1,) the largest own + ratio · part for each ratio.
    """
    size = kernel.shape[1]
    owns = np.full(count, NONE, np.float32)
    tops = np.zeros((count, size), np.float32)
    bottom = np.full(size, np.float32(1), np.float32)
    support = np.full(STEPS + 1, NONE, np.float32)
    for row in range(start, stop):
        if not kept[row]:
            continue
        values, top = kernel[row], tops[groups[row]]
        owns[groups[row]] = max(owns[groups[row]], own[row])
        for column in range(size):
            top[column] = max(top[column], values[column])
            bottom[column] = min(bottom[column], values[column])
        for step in range(STEPS + 1):
            support[step] = max(support[step], own[row] + parts[row] * (np.float32(step) / np.float32(STEPS)))
    return owns, tops, bottom, support
