"""How alike two images are, for people: the cosine of their features around the pool's mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.half_precision import blocks_in_single

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["centre_of", "centred_cosine"]

_TELLING = 100_000
"""Features of which the mean is known to 0.3 % of their spread; of fewer than twice as many all count."""
_BLOCK = 16_384  # rows that float32 adds up with no loss that matters


def centre_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of features, shape (1, d), of very many as a sample tells it; without any, zeros."""
    some = features[:: max(1, len(features) // _TELLING)]
    total = np.zeros(features.shape[1], dtype=np.float64)
    for _, block in blocks_in_single(some, _BLOCK):
        total += block.sum(axis=0)
    return (total / max(1, len(some))).astype(np.float32)[None, :]


def centred_cosine(
    left: NDArray[np.float32], right: NDArray[np.float32], centre: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the cosine of each left with each right feature, shape (l, r), around the mean of the pool.

    Post-ReLU features all point one way; around their mean they differ.

    Parameters
    ----------
    left, right, centre
        Shapes (l, d), (r, d) and (1, d).
    """
    first, second = left - centre, right - centre
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None, :]
    cosine: NDArray[np.float32] = first @ second.T / np.maximum(norms, 1e-12)
    return cosine
