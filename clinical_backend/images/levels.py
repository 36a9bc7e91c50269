"""Measured values of any range become 256 grey levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["levels_between", "levels_by_percentiles"]

_PERCENTILES = (0.1, 99.9)


def levels_by_percentiles(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return values scaled linearly, so that their 0.1 and 99.9 percentiles become 0 and 255; constant ones are black.

    Parameters
    ----------
    values
        Any shape. NaN counts as the lower percentile, infinity as the nearer one.

    Returns
    -------
    NDArray
        Of the same shape, uint8, 0 to 255.

    Raises
    ------
    ValueError
        When no value is finite.
    """
    with np.errstate(over="ignore"):
        real = values.astype(np.float32)
    finite = real[np.isfinite(real)]
    if finite.size == 0:
        raise ValueError("no finite value")
    low, high = (2.0 * float(half) for half in np.percentile(finite * 0.5, _PERCENTILES))  # a range can overflow
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    return levels_between(real, low, high)


def levels_between(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return values scaled linearly, so that ``low`` and ``high`` become 0 and 255, and clipped beyond.

    Without a range between them all is black.
    """
    if not high > low:
        return np.zeros(values.shape, dtype=np.uint8)
    finite = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (finite * 0.5 - low * 0.5) * (255.0 / (high * 0.5 - low * 0.5))
    levels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    return levels
