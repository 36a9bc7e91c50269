"""How alike two images are, for people: the cosine of their features around the pool's mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["centred_cosine"]


def centred_cosine(
    left: NDArray[np.float32], right: NDArray[np.float32], pool: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the cosine of each left with each right feature, shape (l, r), around the mean of the pool.

    Post-ReLU features all point one way; around their mean they differ.

    Parameters
    ----------
    left, right, pool
        Shapes (l, d), (r, d) and (p, d), p ≥ 1.
    """
    centre = pool.mean(axis=0, keepdims=True)
    first, second = left - centre, right - centre
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None, :]
    cosine: NDArray[np.float32] = first @ second.T / np.maximum(norms, 1e-12)
    return cosine
