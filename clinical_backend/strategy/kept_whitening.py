"""The whitening of a project's features, kept from round to round."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.whitening import half_whitening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.tasks import FeaturedTasks

__all__ = ["whitening_of"]

_SAMPLE = 3000  # in 1,280 dimensions the covariance shrinks by 1 % then; of 1,000 by 3 %
_KEPT = 6
"""Matrices of 6.5 MB in 1,280 dimensions: of two projects with adapted features, or six without."""
_SCATTER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio: multiplied with it, ids that follow each other lie far apart (Knuth 1973, 6.4)."""

_known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
_lock = threading.Lock()


def whitening_of(tasks: Sequence[FeaturedTasks]) -> NDArray[np.float32]:
    """Return the half-whitening of the features of all these tasks, shape (d, d); see `half_whitening`.

    Of many tasks the same 3,000 are looked at, whoever is labelled by now, so that a matrix serves for many rounds: it
    is kept by the features that it comes from.

    Parameters
    ----------
    tasks
        Of one representation, labelled or not; at least one task.
    """
    ids = np.concatenate([part.tasks for part in tasks])
    _, places = np.unique(ids, return_index=True)
    with np.errstate(over="ignore"):
        order = ids[places].astype(np.uint64) * _SCATTER
    chosen = np.sort(places[np.argsort(order, kind="stable")[:_SAMPLE]])
    edges = np.cumsum([0, *(len(part) for part in tasks)])
    within = [
        chosen[(chosen >= low) & (chosen < low + len(part))] - low for part, low in zip(tasks, edges, strict=False)
    ]
    rows = np.concatenate([part.features[places] for part, places in zip(tasks, within, strict=True)])
    rows = np.ascontiguousarray(rows[np.argsort(ids[chosen], kind="stable")], dtype=np.float32)
    key = hashlib.blake2b(rows.tobytes(), digest_size=16).digest() + str(rows.shape).encode()
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
    matrix = half_whitening(rows)
    with _lock:
        _known[key] = matrix
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return matrix
