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
_TELLING = 50_000
"""Images of which the components are learnt; of fewer than twice as many, all. A hundred times as many as a component
has numbers, and a million would take a minute."""
_BLOCK = 16_384
"""Images whose distances from the centre are held at once: 84 MB in 1,280 dimensions."""


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
    sample = pool[:: max(1, len(pool) // _TELLING)] - centre
    _, directions = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    leading = np.ascontiguousarray(directions[:, ::-1][:, :_COMPONENTS].astype(np.float32))
    return View(Embedding(_along(pool, centre, leading)), Embedding((labelled - centre) @ leading))


def _along(rows: NDArray[np.float32], centre: NDArray[np.float32], leading: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the coordinates of rows in some directions from a centre."""
    found = np.empty((len(rows), leading.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        found[start : start + _BLOCK] = (rows[start : start + _BLOCK] - centre) @ leading
    return found
