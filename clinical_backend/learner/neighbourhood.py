"""Neighbourhoods of a layout: parts of the plane that can be named where it cannot be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NEIGHBOURHOODS", "find_neighbourhoods", "nearest"]

NEIGHBOURHOODS = 24
"""A table that can be read through; by eye."""
_LEAST = 10
"""Points of a neighbourhood, on average: fewer can be listed one by one."""


def find_neighbourhoods(
    places: NDArray[np.float32], before: NDArray[np.float32] | None = None, *, seed: int = 0
) -> NDArray[np.float32]:
    """Return the middles of the neighbourhoods of some points (k-means), shape (k, 2), float32.

    Parameters
    ----------
    places
        Shape (n, 2).
    before
        Middles of the neighbourhoods so far, shape (b, 2): the new ones begin there, and keep their numbers.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import, and needed once in a while
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 (comes with scikit-learn)

    different = np.unique(places, axis=0)
    count = min(NEIGHBOURHOODS, -(-len(different) // _LEAST))
    if count < 2:
        return places[:1] if not count else different.mean(axis=0, keepdims=True)
    init = before if before is not None and len(before) == count else "k-means++"
    with threadpool_limits(1):  # sums of several threads come in any order
        found = KMeans(count, init=init, n_init=1, random_state=seed).fit(places).cluster_centers_
    return np.ascontiguousarray(found, dtype=np.float32)


def nearest(places: NDArray[np.float32], middles: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return which middle each point is nearest to, shape (n,); zeros where there is none."""
    if not len(middles):
        return np.zeros(len(places), dtype=np.intp)
    # The squared distance, less the square of the point, which is the same for all middles.
    squares: NDArray[np.float32] = (middles**2).sum(axis=1)[None, :] - 2 * places @ middles.T
    found: NDArray[np.intp] = squares.argmin(axis=1)
    return found
