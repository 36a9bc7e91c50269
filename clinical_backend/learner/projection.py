"""Features in two dimensions: landmarks are laid out by t-SNE, and all else stands among its nearest landmarks.

So a layout costs the same however many images there are, and an image keeps its place for as long as the layout does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.half_precision import as_single

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["LANDMARKS", "Projection", "lay_out"]

LANDMARKS = 5000
"""Laid out in 22 s on one core, 50 dimensions, and twice as many in more than twice the time."""
_COMPONENTS = 50
"""The dimensions that t-SNE is given: van der Maaten and Hinton (2008) reduce to 30, scikit-learn advises 50."""
_PERPLEXITY = 30.0
"""Effective number of neighbours, scikit-learn's default; fewer where there are few landmarks."""
_STEPS = 1000
"""scikit-learn's default."""
_SPREAD = 1e-4
"""Standard deviation of the places that t-SNE starts from, as scikit-learn scales its own."""
_NEIGHBOURS = 8
"""Landmarks that tell where something stands: two more than a point of a plane has neighbours on a hexagonal grid."""
_SAME = 1e-6
"""Squared distance of unit vectors below which float32 does not tell them apart: the landmark's place is taken."""
_FEW = 4
"""Landmarks up to which the first two components are the layout: t-SNE has nothing to weigh."""
_BLOCK = 2048
"""Rows that are compared with all landmarks at once: 41 MB of distances."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A layout of landmarks, among which features find their places.

    Attributes
    ----------
    centre
        Mean of the features, shape (d,), float32.
    components
        Directions that are kept of what is left around it, at length 1; shape (c, d), float32.
    landmarks, places
        The landmarks in these directions, shape (m, c), and in the plane, shape (m, 2); float32.
    """

    centre: NDArray[np.float32]
    components: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    places: NDArray[np.float32]

    def place(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the place of each feature, shape (n, 2), float32.

        It is the mean of those of its nearest landmarks, weighted by (1/d − 1/R)², where R is the distance of the first
        that does not count (Franke and Nielson 1980): continuous, and exact at each landmark.

        Parameters
        ----------
        features
            Shape (n, d), finite.

        Raises
        ------
        InvalidArgumentError
            When one is not finite.
        """
        _require_finite(features)
        placed = np.zeros((len(features), 2), dtype=np.float32)
        if not len(self.landmarks):
            return placed
        for start in range(0, len(features), _BLOCK):
            rows = _reduced(features[start : start + _BLOCK], self.centre, self.components)
            placed[start : start + len(rows)] = _interpolated(rows, self.landmarks, self.places)
        return placed


def lay_out(
    features: NDArray[np.float32],
    known: NDArray[np.float32] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> Projection:
    """Lay features out in two dimensions, each of which becomes a landmark.

    Parameters
    ----------
    features
        Shape (m, d), finite, at most some thousands. Of several that are the same one counts.
    known
        Where they stood in an earlier layout, shape (m, 2), NaN where one did not. The new one starts there, and is
        turned, scaled and shifted onto it.
    seed
        The same one gives the same layout.
    progress
        Called between the steps, as a sign of life.

    Returns
    -------
    Projection
        Within ±1 where nothing was known.

    Raises
    ------
    InvalidArgumentError
        When a feature is not finite.
    """
    _require_finite(features)
    rows = np.asarray(features, dtype=np.float32)
    _, first = np.unique(rows, axis=0, return_index=True)
    first.sort()
    rows, known = rows[first], None if known is None else known[first]
    centre = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1], dtype=np.float32)
    components = _components(_directions(rows, centre), seed)
    reduced = _reduced(rows, centre, components)
    progress()
    start = None if known is None or not np.isfinite(known).any() else _completed(reduced, known)
    projection = Projection(centre, components, reduced, _plane(reduced, start, seed))
    progress()
    if known is None or start is None:
        return replace(projection, places=_scaled(projection.places))
    return replace(projection, places=_aligned(projection.places, known))


def _plane(rows: NDArray[np.float32], start: NDArray[np.float32] | None, seed: int) -> NDArray[np.float32]:
    """Return the places of landmarks, near where they start."""
    from sklearn.manifold import TSNE  # noqa: PLC0415 - slow to import, and needed once in a while
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 (comes with scikit-learn)

    first_two = np.zeros((len(rows), 2), dtype=np.float32)
    first_two[:, : rows.shape[1]] = rows[:, :2]
    if len(rows) <= _FEW:
        return first_two
    begin = first_two if start is None else start
    begin = begin - begin.mean(axis=0)
    deviation = float(begin[:, 0].std()) or float(begin.std()) or 1.0
    # One thread: sums of several come in any order, and readers' server shares the machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of neighbours at distance zero
        tsne = TSNE(
            2,
            perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
            max_iter=_STEPS,
            init=(begin / deviation * _SPREAD).astype(np.float32),
            random_state=seed,
            n_jobs=1,
        )
        placed: NDArray[np.float32] = tsne.fit_transform(rows).astype(np.float32)
    return placed if np.isfinite(placed).all() else begin.astype(np.float32)


def _directions(rows: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features around their centre at length 1: distances between them then go by their cosine."""
    around = as_single(rows) - centre
    lengths = np.linalg.norm(around, axis=1, keepdims=True)
    directions: NDArray[np.float32] = around / np.maximum(lengths, 1e-12)
    return directions


def _reduced(
    rows: NDArray[np.float32], centre: NDArray[np.float32], components: NDArray[np.float32]
) -> NDArray[np.float32]:
    return _directions(rows, centre) @ components.T


def _components(directions: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return the directions in which these differ most, the first ones first, shape (c, d)."""
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415

    count = min(_COMPONENTS, *directions.shape)
    if not count or not directions.any():
        return np.zeros((min(1, directions.shape[1]), directions.shape[1]), dtype=np.float32)
    _, _, components = randomized_svd(directions, count, random_state=seed)
    return np.ascontiguousarray(components, dtype=np.float32)


def _interpolated(
    rows: NDArray[np.float32], landmarks: NDArray[np.float32], places: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the weighted mean place of the landmarks nearest to each row."""
    squares = (rows**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1)[None, :] - 2.0 * rows @ landmarks.T
    count = min(_NEIGHBOURS, len(landmarks))
    wanted = min(count + 1, len(landmarks))
    nearest = np.argpartition(squares, wanted - 1, axis=1)[:, :wanted]
    found = np.take_along_axis(squares, nearest, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    nearest, found = np.take_along_axis(nearest, order, axis=1), np.take_along_axis(found, order, axis=1)
    inverse = 1.0 / np.sqrt(np.maximum(found, _SAME))
    beyond = inverse[:, count:] if wanted > count else np.zeros((len(rows), 1), dtype=np.float32)
    weights = (inverse[:, :count] - beyond) ** 2
    weights[~weights.any(axis=1)] = 1.0  # all are as far away
    same = found[:, 0] <= _SAME
    weights[same] = 0.0
    weights[same, 0] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    mean: NDArray[np.float32] = np.einsum("nk,nkc->nc", weights, places[nearest[:, :count]])
    return mean


def _completed(rows: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the known places; what has none stands where what is most like it does."""
    has = _is_known(known)
    completed = known.astype(np.float32)
    for start in range(0, len(rows), _BLOCK):
        missing = np.flatnonzero(~has[start : start + _BLOCK]) + start
        if len(missing):
            completed[missing] = _interpolated(rows[missing], rows[has], completed[has])
    return completed


def _scaled(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return places around their middle, within ±1."""
    if not len(places):
        return places
    around = places - (places.max(axis=0) + places.min(axis=0)) / 2
    scaled: NDArray[np.float32] = around / (float(np.abs(around).max()) or 1.0)
    return scaled


def _aligned(places: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn, mirror, scale and shift places as near to the known ones as that brings them (Procrustes)."""
    has = _is_known(known)
    before, after = known[has].astype(np.float64), places[has].astype(np.float64)
    middle = after.mean(axis=0)
    left, stretches, right = np.linalg.svd((after - middle).T @ (before - before.mean(axis=0)))
    spread = float(((after - middle) ** 2).sum())
    scale = float(stretches.sum()) / spread if spread > 0 else 0.0
    if scale <= 0:  # nothing tells how it is to be turned
        turned = _scaled(places) + before.mean(axis=0)
    else:
        turned = (places - middle) @ (left @ right) * scale + before.mean(axis=0)
    aligned: NDArray[np.float32] = turned.astype(np.float32)
    return aligned


def _is_known(places: NDArray[np.float32]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.asarray(np.isfinite(places).all(axis=1))
    return known


def _require_finite(features: NDArray[np.float32]) -> None:
    if not np.isfinite(features).all():
        raise InvalidArgumentError("features", "some are not finite.", "Leave those out, or make them anew.")
