"""The order while nothing is known of the target: each task unlike all that were seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.farthest import View, farthest_first
from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.learner.half_precision import as_single
from clinical_backend.strategy.cosine import centre_of
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["diverse_order"]

_COMPONENTS = 16
"""Distances in all dimensions are mostly noise: see `diverse_order`; docs/earlier-experiments.md says what it finds."""
_TELLING = 50_000
"""Images of which the components are learnt; of fewer than twice as many, all. A hundred times as many as a component
has numbers, and a million would take a minute."""
_BLOCK = 16_384
"""Images whose distances from the centre are held at once: 84 MB in 1,280 dimensions."""


def diverse_order(
    pool: NDArray[np.float32],
    labelled: NDArray[np.float32],
    budget: int,
    *,
    parts: Sequence[int] = (),
    among: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Pick tasks farthest-first, in the leading principal components of the features.

    Distances in all dimensions are mostly noise, and the farthest images mostly odd ones: in the leading
    components a diverse order meets the first rare case earlier. Frozen features alone, and all that are joined,
    find different things odd, and neither is the better on every set, so they take turns, each away from what the
    other picked as well (docs/earlier-experiments.md). Lowest index on a tie.

    Parameters
    ----------
    pool, labelled
        Features of the unlabelled and the labelled tasks, shapes (n, d) and (l, d).
    budget
        How many tasks to pick.
    parts
        Lengths of the parts that the features are joined of, the frozen ones first; empty for one.
    among
        Places in the pool that may be picked, as if there were no others, shape (m,); by default all.

    Returns
    -------
    NDArray
        min(budget, m) places in the pool, in order.
    """
    places = np.arange(len(pool)) if among is None else among
    if not len(places):
        return np.empty(0, dtype=np.int64)
    widths = dict.fromkeys([*parts[:1], pool.shape[1]])
    views = [_view(pool[:, :width], labelled[:, :width], places) for width in widths]
    return places[farthest_first(views, min(budget, len(places))).indices]


def _view(pool: NDArray[np.float32], labelled: NDArray[np.float32], places: NDArray[np.int64]) -> View:
    sample = as_single(pool[places[:: max(1, len(places) // _TELLING)]])
    centre = centre_of(sample)
    sample = sample - centre
    _, directions = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    leading = np.ascontiguousarray(directions[:, ::-1][:, :_COMPONENTS].astype(np.float32))
    along = np.concatenate([(as_single(pool[block]) - centre) @ leading for block in _blocks(places)])
    return View(Embedding(along), Embedding((labelled - centre) @ leading))


def _blocks(places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(places), _BLOCK):
        note_progress()
        yield places[start : start + _BLOCK]
