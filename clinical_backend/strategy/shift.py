"""How far exemplars from outside lie off a project's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.half_precision import as_single
from clinical_backend.strategy.cosine import centre_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.strategy.outside import OutsideExemplars

__all__ = ["shifts_of"]

_SAMPLE = 2_000
"""Images of the pool whose distances from each other are taken, in 16 MB."""
_NEIGHBOURS = 5
"""Of which the distances are averaged: with the nearest alone a near-copy in the pool would decide."""
_TINY = 1e-12
"""Least squared distance: copies of one image have none between them."""


def shifts_of(pool: NDArray[np.float32], outside: OutsideExemplars) -> Mapping[str, float]:
    """Return the variance of the shift that exemplars from outside show, beside that within a class, by finding.

    Two images of one kind lie 2 σ² apart, and one of them and a shifted one 2 σ² + τ². So an exemplar's mean squared
    distance from its nearest images in the pool, over theirs from their own nearest ones, is 1 + τ² / (2 σ²): the
    square of a local outlier factor. It is measured by the median of the pool's own, since who is near somebody lies
    in a denser place. The neighbours of a rare case lie apart as it does: being rare is not taken for a shift.

    Parameters
    ----------
    pool
        Features of the pool, shape (n, d).
    outside
        The exemplars, of the same features.

    Returns
    -------
    dict
        τ² / σ² of each finding, the mean over its exemplars, from 0 to 1. More says no more: these are off. 1 where the
        pool has too few images to tell.

    References
    ----------
    Breunig, Kriegel, Ng and Sander, "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000.
    """
    findings = dict.fromkeys(outside.findings)
    if len(pool) <= _NEIGHBOURS:
        return dict.fromkeys(findings, 1.0)
    sample = as_single(pool[np.linspace(0, len(pool) - 1, min(len(pool), _SAMPLE)).astype(np.intp)])
    centre = centre_of(sample)
    sample, exemplars = sample - centre, outside.features - centre
    among = _squared_distances(sample, sample)
    np.fill_diagonal(among, np.inf)
    of_pool, neighbours = _from_nearest(among)
    usual = max(_TINY, float(np.median(of_pool / of_pool[neighbours].mean(axis=1))))
    of_exemplars, neighbours = _from_nearest(_squared_distances(exemplars, sample))
    factors = of_exemplars / of_pool[neighbours].mean(axis=1) / usual
    names = np.array(outside.findings, dtype=object)
    return {name: float(np.clip(2.0 * (factors[names == name].mean() - 1.0), 0.0, 1.0)) for name in findings}


def _squared_distances(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared distance of each row from each of others, shape (n, m)."""
    lengths = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    distances: NDArray[np.float32] = lengths - 2.0 * (rows @ others.T)
    return distances


def _from_nearest(distances: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the mean distance of each row from its nearest columns, and which these are."""
    nearest = np.argpartition(distances, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
    means = np.take_along_axis(distances, nearest, axis=1).mean(axis=1)
    return np.maximum(means, _TINY), nearest
