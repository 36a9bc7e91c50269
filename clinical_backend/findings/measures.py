"""Figures of a classifier on weighted cases, of many sets of weights at once, as resampling needs them.

Each takes weights of shape (r, n) and returns a figure for each set, shape (r,), NaN where a set has no case that it
could be made of. They are those of scikit-learn with ``sample_weight``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["average_precisions", "brier_scores", "excesses", "means", "shares"]


def average_precisions(
    truth: NDArray[np.bool_], scores: NDArray[np.float32] | NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the average precision: the precision at each score that occurs, weighted by the recall that it adds.

    Parameters
    ----------
    truth
        Which cases are positive, shape (n,).
    scores
        Shape (n,); higher means more likely positive.
    weights
        Shape (r, n).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of cases with one score, which go together
    sorted_weights = weights[:, order]
    called = sorted_weights.cumsum(axis=1)[:, ends]
    found = (sorted_weights * truth[order]).cumsum(axis=1)[:, ends]
    gained = np.diff(found, axis=1, prepend=0.0)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratios((gained * precision).sum(axis=1), found[:, -1])


def shares(hits: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted share of the cases that are hits, shape (n,)."""
    return means(hits.astype(np.float64), weights)


def means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean of what the cases have, shape (n,)."""
    return _ratios(weights @ values, weights.sum(axis=1))


def brier_scores(
    truth: NDArray[np.bool_], probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean squared difference of probability and truth (Brier, Monthly Weather Review 78, 1950)."""
    return means((probabilities - truth) ** 2, weights)


def excesses(
    truth: NDArray[np.bool_], probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how much the mean probability exceeds the share of positive cases: calibration in the large."""
    return means(probabilities - truth, weights)


def _ratios(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    ratios: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return ratios
