"""TypiClust: the typical image of each cluster, for the cold start."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Selection
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["typiclust"]

_MOST_CLUSTERS = 500  # as the authors'
_NEIGHBOURS = 20  # as the authors'
_SMALL = 5_000  # points that are clustered by k-means on all of them at every step
_CORE = 5_000  # members of a cluster, nearest to its centre, that compete for being typical


@acquisition("typical of its cluster")
def typiclust(request: Request) -> Selection:
    """Pick the most typical image of the largest of the clusters that hold fewest labelled images.

    The unit features of the pool and of what is labelled are clustered into as many clusters as there
    are labelled images and picks, at most 500. Typicality is the inverse of the mean distance to the 20
    nearest neighbours in the cluster; in clusters above 5,000 images the 5,000 nearest to the centre
    compete, the rest follow by their distance from it, with gain 0. The gains are the typicalities.

    References
    ----------
    Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low
    Budgets", ICML 2022, algorithm 1.
    """
    units = _units(request.pool.features, "pool")
    count = len(units)
    if request.labelled is not None:
        units = np.concatenate([units, _units(request.labelled.features, "labelled")])
    clusters = min(len(units) - count + request.budget, _MOST_CLUSTERS, len(units))
    assigned, centres = _cluster(units, clusters, request.seed)
    covered = np.bincount(assigned[count:], minlength=clusters)
    sizes = np.bincount(assigned[:count], minlength=clusters)
    ranked = [
        _ranked(units, np.flatnonzero(assigned[:count] == cluster), centres[cluster]) for cluster in range(clusters)
    ]
    used = np.zeros(clusters, np.int64)
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    for step in range(request.budget):
        order = np.lexsort((np.arange(clusters), -sizes, covered, used == sizes))
        cluster = order[0]
        rows, typicality = ranked[cluster]
        indices[step], gains[step] = rows[used[cluster]], typicality[used[cluster]]
        used[cluster] += 1
        covered[cluster] += 1
    return Selection(indices, gains)


def _cluster(units: NDArray[np.float32], clusters: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    from sklearn.cluster import KMeans, MiniBatchKMeans  # noqa: PLC0415 - a second to import
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    kind = KMeans if len(units) <= _SMALL else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # duplicates: some clusters then stay empty
        fitted = kind(clusters, n_init=1, random_state=seed).fit(units)
    return fitted.labels_.astype(np.int64), fitted.cluster_centers_


def _ranked(
    units: NDArray[np.float32], rows: NDArray[np.int64], centre: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the members of a cluster in the order in which they are picked, and their typicality."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - a second to import

    rows = rows[np.argsort(np.linalg.norm(units[rows] - centre, axis=1), kind="stable")]
    core, rest = rows[:_CORE], rows[_CORE:]
    typicality = np.zeros(len(core))
    neighbours = min(_NEIGHBOURS, len(core) - 1)
    if neighbours > 0:
        away, _ = NearestNeighbors(n_neighbors=neighbours).fit(units[core]).kneighbors()
        typicality = 1 / np.maximum(away.mean(axis=1), 1e-6)
    order = np.lexsort((core, -typicality))
    return np.concatenate([core[order], rest]), np.concatenate([typicality[order], np.zeros(len(rest))])


def _units(values: NDArray[np.float32], argument: str) -> NDArray[np.float32]:
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise InvalidArgumentError(
            argument,
            "it holds NaN or infinite numbers.",
            "Leave out the images whose features could not be computed.",
        )
    return np.asarray(values / np.where(norms > 0, norms, 1), np.float32)
