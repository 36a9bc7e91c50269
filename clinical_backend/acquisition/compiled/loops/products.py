"""The pass over a thin product that makes similarities of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.threads import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["finish"]


@compiled
def finish(
    start: int,
    stop: int,
    block: NDArray[np.float32],
    inverse: NDArray[np.float32],
    bias: NDArray[np.float32],
    factor: NDArray[np.float32],
    slope: np.float32,
    offset: np.float32,
    least: np.float32,
    nearest: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Turn inner products into similarities, in place, and reduce each row to its largest cosine and its sum.

    Parameters
    ----------
    block
        (n, q) inner products.
    inverse
        (n,) inverse norms of the rows.
    bias
        (q,) what each column adds, where `factor` has rows.
    factor
        (n, q) the inner products of the second factor, or no rows.
    """
    size = block.shape[1]
    for row in range(start, stop):
        values = block[row]
        if len(factor):
            others = factor[row]
            for column in range(size):
                values[column] = (values[column] + bias[column]) * others[column]
        largest = np.float32(-1)
        summed = np.float32(0)
        for column in range(size):
            cosine = min(max(values[column] * inverse[row], np.float32(-1)), np.float32(1))
            largest = max(largest, cosine)
            similarity = max(slope * cosine + offset, least)
            summed += similarity
            values[column] = similarity
        nearest[row] = largest
        total[row] = summed
