"""One more direction subtracted from all conditional variances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.threads import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["advance_features", "advance_gradients"]


@compiled
def advance_features(
    start: int,
    stop: int,
    values: NDArray[np.float32],
    inverse: NDArray[np.float32],
    first: NDArray[np.float32],
    difference: NDArray[np.float32],
    last: float,
    other: float,
    variances: NDArray[np.float64],
    explained: NDArray[np.float64],
) -> None:
    """Read the features once for both products: with one direction, and its difference to another."""
    size = values.shape[1]
    for row in range(start, stop):
        features = values[row]
        one, two = np.float32(0), np.float32(0)
        for column in range(size):
            one += features[column] * first[column]
            two += features[column] * difference[column]
        a = np.float64(one * inverse[row] + last)
        b = np.float64(two * inverse[row] + other)
        variances[row] -= a * a
        explained[row] -= b * (2 * a - b)  # a² − (a − b)², without cancellation


@compiled
def advance_gradients(
    start: int,
    stop: int,
    product: NDArray[np.float32],
    bias: NDArray[np.float32],
    residuals: NDArray[np.float32],
    inverse: NDArray[np.float32],
    last: float,
    other: float,
    variances: NDArray[np.float64],
    explained: NDArray[np.float64],
) -> None:
    """Do the same for factorised gradients, given the (n, 2C) products of the features with both."""
    classes = residuals.shape[1]
    for row in range(start, stop):
        one, two = np.float32(0), np.float32(0)
        for column in range(classes):
            one += (product[row, column] + bias[column]) * residuals[row, column]
            two += (product[row, classes + column] + bias[classes + column]) * residuals[row, column]
        a = np.float64(one * inverse[row] + last)
        b = np.float64(two * inverse[row] + other)
        variances[row] -= a * a
        explained[row] -= b * (2 * a - b)
