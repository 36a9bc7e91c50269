"""TypiClust: the typical image of each cluster, for the cold start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["typiclust"]

_MOST_CLUSTERS = 500
_NEIGHBOURS = 20
_SMALL = 5_000


def typiclust(request: Request) -> Selection:
    """Pick the image of highest density in the largest cluster that holds fewest labelled images."""
    units = _units(request.pool.features)
    count = len(units)
    if request.budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0))
    known = (
        np.empty((0, units.shape[1]), np.float32)
        if request.labelled is None
        else _units(request.labelled.features)
    )
    everything = np.concatenate([units, known])
    clusters = min(len(known) + request.budget, _MOST_CLUSTERS, len(np.unique(everything, axis=0)))
    kind = KMeans if len(everything) <= _SMALL else MiniBatchKMeans
    assigned = kind(clusters, n_init=1, random_state=request.seed).fit_predict(everything)
    covered = np.bincount(assigned[count:], minlength=clusters)
    sizes = np.bincount(assigned[:count], minlength=clusters)
    members = [np.flatnonzero(assigned[:count] == cluster) for cluster in range(clusters)]
    ranked: list[list[tuple[float, int]]] = []
    for rows in members:
        ranked.append([])
        if len(rows) == 0:
            continue
        neighbours = min(_NEIGHBOURS, len(rows) - 1)
        density = np.full(len(rows), np.inf)
        if neighbours > 0:
            away, _ = NearestNeighbors(n_neighbors=neighbours).fit(units[rows]).kneighbors()
            density = 1 / np.maximum(away.mean(axis=1), 1e-6)
        order = np.argsort(-density, kind="stable")
        ranked[-1] = [(float(density[place]), int(rows[place])) for place in order[::-1]]
    indices = np.empty(request.budget, np.int64)
    gains = np.empty(request.budget)
    for step in range(request.budget):
        cluster = min((c for c in range(clusters) if ranked[c]), key=lambda c: (covered[c], -sizes[c], c))
        gains[step], indices[step] = ranked[cluster].pop()
        covered[cluster] += 1
    return Selection(indices, np.where(np.isfinite(gains), gains, 0))


def _units(values: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1))
