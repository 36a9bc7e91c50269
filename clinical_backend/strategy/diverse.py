"""The order while nothing is known of the target: each task unlike all that were seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.farthest import View, farthest_first
from clinical_backend.acquisition.embedding import Embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["diverse_order"]

_COMPONENTS = 16
"""Distances in all dimensions are mostly noise: see `diverse_order`, and docs/finding-power.md for what it finds."""


def diverse_order(
    pool: NDArray[np.float32], labelled: NDArray[np.float32], budget: int, *, parts: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Pick tasks farthest-first, in the leading principal components of the features.

    Distances in all dimensions are mostly noise, and the farthest images mostly odd ones: in the leading
    components a diverse order meets the first rare case earlier. Frozen features alone, and all that are joined,
    find different things odd, and neither is the better on every set, so they take turns, each away from what the
    other picked as well (docs/finding-power.md). Lowest index on a tie.

    Parameters
    ----------
    pool, labelled
        Features of the unlabelled and the labelled tasks, shapes (n, d) and (l, d).
    budget
        How many tasks to pick.
    parts
        Lengths of the parts that the features are joined of, the frozen ones first; empty for one.

    Returns
    -------
    NDArray
        min(budget, n) places in the pool, in order.
    """
    if not len(pool):
        return np.empty(0, dtype=np.int64)
    widths = dict.fromkeys([*parts[:1], pool.shape[1]])
    views = [_view(pool[:, :width], labelled[:, :width]) for width in widths]
    return farthest_first(views, min(budget, len(pool))).indices


def _view(pool: NDArray[np.float32], labelled: NDArray[np.float32]) -> View:
    centre = pool.mean(axis=0, keepdims=True)
    centred = pool - centre
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    leading = np.ascontiguousarray(directions[:, ::-1][:, :_COMPONENTS].astype(np.float32))
    return View(Embedding(centred @ leading), Embedding((labelled - centre) @ leading))
