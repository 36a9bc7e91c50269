"""Several findings of one image: a classifier for each against the rest, on shared features, and calibrated.

A label may say nothing of a finding: it is then left out of that finding's training and held against nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from clinical_backend.learner.classifier import linear
from clinical_backend.learner.classifier.linear import LinearClassifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["LEAST_HELD_OUT", "calibrated", "fit_findings", "join_findings", "out_of_fold_margins"]

LEAST_HELD_OUT = 2
"""Cases with a finding, and as many without: of fewer, none is left when one is held out."""


def fit_findings(
    features: NDArray[np.float32], says: NDArray[np.float32], findings: Sequence[str], *, seed: int
) -> dict[str, LinearClassifier]:
    """Learn to tell each finding from its absence, both weighing the same.

    Parameters
    ----------
    features
        Shape (n, d), float32.
    says
        1 where a label says that a finding is there, 0 where it says that it is not, NaN where it says nothing:
        shape (n, F).
    findings
        Names of the F findings.

    Returns
    -------
    dict
        By finding a classifier of its absence and presence, in this order; those that no label gives, or all do, are
        left out.
    """
    found = {}
    for column, name in enumerate(findings):
        known = ~np.isnan(says[:, column])
        codes = says[known, column].astype(np.intp)
        if len(np.unique(codes)) == 2:
            found[name] = linear.fit(features[known], codes, ("", name), seed=seed)
    return found


def join_findings(of_each: Mapping[str, LinearClassifier]) -> LinearClassifier:
    """Return one classifier of several findings, each with a probability of its own.

    Parameters
    ----------
    of_each
        By finding, a classifier of its absence and presence, in this order. At least one.
    """
    weights = np.stack([one.weights[:, 1] - one.weights[:, 0] for one in of_each.values()], axis=1)
    bias = np.array([one.bias[1] - one.bias[0] for one in of_each.values()], dtype=np.float32)
    counts = np.array([one.counts[1] for one in of_each.values()], dtype=np.int64)
    return LinearClassifier(tuple(of_each), np.ascontiguousarray(weights), bias, counts, independent=True)


def out_of_fold_margins(
    features: NDArray[np.float32],
    says: NDArray[np.float32],
    *,
    folds: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return of each example and finding the log-odds by a classifier that did not learn from it.

    Parameters
    ----------
    features, says
        As for :func:`fit_findings`.
    folds, seed, groups
        As for :func:`linear.out_of_fold_logits`.

    Returns
    -------
    NDArray
        Shape (n, F), float32; NaN where a label says nothing, and for findings that fewer than two labels give, or
        deny.
    """
    margins = np.full(says.shape, np.nan, dtype=np.float32)
    for column in range(says.shape[1]):
        known = ~np.isnan(says[:, column])
        codes = says[known, column].astype(np.intp)
        if min(codes.sum(), len(codes) - codes.sum()) < LEAST_HELD_OUT:
            continue
        together = None if groups is None else groups[known]
        logits = linear.out_of_fold_logits(
            features[known], codes, ("", "present"), folds=folds, seed=seed, groups=together
        )
        with np.errstate(invalid="ignore"):
            margins[known, column] = logits[:, 1] - logits[:, 0]
    return margins


def calibrated(
    classifier: LinearClassifier, margins: NDArray[np.float32], says: NDArray[np.float32]
) -> tuple[LinearClassifier, NDArray[np.float32]]:
    """Return the classifier with probabilities that hold among the labels, and those of the labels, out of fold.

    Platt's logistic function of the margin with his targets, so that a handful of cases proves nothing for certain
    (Platt, Advances in Large Margin Classifiers, 1999; Lin, Lin and Weng, Machine Learning 68, 2007). A finding with
    too few cases to be held out has its margin moved to its share of the labels.

    Parameters
    ----------
    classifier
        Of F independent findings.
    margins
        As :func:`out_of_fold_margins` returns them, shape (n, F).
    says
        As for :func:`fit_findings`.
    """
    weights, bias = classifier.weights.copy(), classifier.bias.copy()
    probabilities = np.full(margins.shape, np.nan, dtype=np.float32)
    for column in range(margins.shape[1]):
        known = np.isfinite(margins[:, column])
        codes = says[~np.isnan(says[:, column]), column]
        if len(np.unique(says[known, column])) == 2:  # else all cases of a kind are of one group
            slope, offset = _platt(margins[known, column].astype(np.float64), says[known, column] > 0)
        else:
            slope, offset = 1.0, float(np.log((codes.sum() + 1) / (len(codes) - codes.sum() + 1)))
        weights[:, column] *= np.float32(slope)
        bias[column] = np.float32(slope * bias[column] + offset)
        probabilities[:, column] = expit(slope * margins[:, column] + offset)
    return LinearClassifier(classifier.classes, weights, bias, classifier.counts, independent=True), probabilities


def _platt(margins: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of the logistic function; the slope is kept from turning the order round."""
    positives, negatives = int(present.sum()), int((~present).sum())
    targets = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = parameters[0] * margins + parameters[1]
        errors = expit(logits) - targets
        return float(np.sum(np.logaddexp(0, logits) - targets * logits)), np.array([errors @ margins, errors.sum()])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
