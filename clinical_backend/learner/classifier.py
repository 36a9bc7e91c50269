"""The classifier: class-balanced multinomial logistic regression on frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["DEFAULT_STRENGTH", "LinearClassifier", "fit", "out_of_fold_probabilities"]

DEFAULT_STRENGTH = 1e-2


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """A linear classifier of features.

    Features are centred and scaled before the weights are applied: logits = ((x − mean) / scale) W + b.

    Attributes
    ----------
    classes
        Names of all C classes, those without an example too.
    mean, scale
        Shape (d,), float32.
    weights
        Shape (d, C), float32.
    bias
        Shape (C,), float32; −∞ for a class without an example, whose probability is 0.
    counts
        Number of examples by class that it learned from, shape (C,), int64.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    counts: NDArray[np.int64]

    @property
    def dimension(self) -> int:
        """Length of a feature."""
        return len(self.mean)

    def logits(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return the logits of features of shape (n, d): shape (n, C), float32.

        Raises
        ------
        InvalidArgumentError
            When the features have another shape or are not finite.
        """
        rows = _checked(features, self.dimension)
        # The scaling is folded into the weights, so that no copy of the features is made.
        weights = self.weights / self.scale[:, None]
        logits: NDArray[np.float32] = rows @ weights + (self.bias - self.mean @ weights)
        return logits

    def probabilities(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return the softmax of the logits, shape (n, C), float32.

        The classes count as equally frequent, since training weighs them so.

        Raises
        ------
        InvalidArgumentError
            When the features have another shape or are not finite.
        """
        return _softmax(self.logits(features))

    def residuals(self, features: ArrayLike, labels: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return softmax − onehot, the gradient of the cross-entropy with respect to the logits.

        Parameters
        ----------
        features
            Shape (n, d).
        labels
            Class indices, shape (n,): true labels, as the query set has. Without them the classifier's own
            most likely class is taken, as for the pool (CLINICAL, arXiv 2210.01520).

        Returns
        -------
        NDArray
            Shape (n, C), float32.

        Raises
        ------
        InvalidArgumentError
            When features or labels have another shape or hold values that cannot be.
        """
        residuals = self.probabilities(features)
        if labels is None:
            indices = residuals.argmax(axis=1)
        else:
            indices = _checked_labels(labels, len(residuals), len(self.classes))
        residuals[np.arange(len(residuals)), indices] -= 1.0
        return residuals


def fit(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    seed: int = 0,
    strength: float = DEFAULT_STRENGTH,
) -> LinearClassifier:
    """Learn a classifier in which every class weighs the same, however many examples it has.

    Parameters
    ----------
    features
        Shape (n, d), finite.
    labels
        Class indices, shape (n,).
    classes
        Names of all C classes; not all need examples.
    seed
        Reserved for solvers that draw; the same input gives the same classifier.
    strength
        Weight of the L2 penalty beside the mean loss.

    Raises
    ------
    InvalidArgumentError
        When an argument has another shape or holds values that cannot be.
    ModelError
        When fewer than two classes have examples.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 (slow to import)

    rows = _checked(features, None)
    indices = _checked_labels(labels, len(rows), len(classes))
    counts = np.bincount(indices, minlength=len(classes))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise ModelError(
            "A classifier needs labels of at least two classes.",
            "Annotate tasks until a second class has an example.",
        )
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale < 1e-6 * max(1.0, float(scale.max()))] = 1.0  # a constant feature says nothing
    standard = (rows - mean) / scale
    model = LogisticRegression(
        C=1.0 / (strength * len(rows)), class_weight="balanced", max_iter=500, random_state=seed
    )
    model.fit(standard, indices)
    weights, bias = model.coef_.T, model.intercept_
    if len(present) == 2:  # one column that tells the second class from the first
        weights, bias = np.hstack([-weights / 2, weights / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    all_weights = np.zeros((rows.shape[1], len(classes)), dtype=np.float32)
    all_bias = np.full(len(classes), -np.inf, dtype=np.float32)
    all_weights[:, present] = weights
    all_bias[present] = bias
    return LinearClassifier(tuple(classes), mean, scale, all_weights, all_bias, counts.astype(np.int64))


def out_of_fold_probabilities(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    strength: float = DEFAULT_STRENGTH,
) -> NDArray[np.float32]:
    """Return probabilities for each example from a classifier that did not learn from it.

    Folds hold about the same share of every class. A class's only example is judged by classifiers that
    have not seen the class: its probability there is 0, as it is for a new case.

    Returns
    -------
    NDArray
        Shape (n, C), float32.

    Raises
    ------
    InvalidArgumentError
        When an argument has another shape or holds values that cannot be.
    ModelError
        When fewer than two classes have examples.
    """
    rows = _checked(features, None)
    indices = _checked_labels(labels, len(rows), len(classes))
    if len(np.unique(indices)) < 2:
        raise ModelError(
            "A classifier needs labels of at least two classes.",
            "Annotate tasks until a second class has an example.",
        )
    fold_of = _folds(indices, min(folds, len(rows)), seed)
    probabilities = np.zeros((len(rows), len(classes)), dtype=np.float32)
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        seen = np.unique(indices[~held_out])
        if len(seen) == 1:
            probabilities[held_out, seen[0]] = 1.0
            continue
        classifier = fit(rows[~held_out], indices[~held_out], classes, seed=seed, strength=strength)
        probabilities[held_out] = classifier.probabilities(rows[held_out])
    return probabilities


def _folds(indices: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Deal the shuffled examples out, class after class, so that folds differ by one example at most."""
    shuffled = np.random.default_rng(seed).permutation(len(indices))
    by_class = shuffled[np.argsort(indices[shuffled], kind="stable")]
    fold_of = np.empty(len(indices), dtype=np.intp)
    fold_of[by_class] = np.arange(len(indices)) % folds
    return fold_of


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _checked(features: ArrayLike, dimension: int | None) -> NDArray[np.float32]:
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2 or (dimension is not None and rows.shape[1] != dimension):
        wanted = "d" if dimension is None else str(dimension)
        raise InvalidArgumentError(
            "features", f"they have shape {rows.shape}.", f"Give an array of shape (n, {wanted})."
        )
    if not np.isfinite(rows).all():
        raise InvalidArgumentError(
            "features", "they hold values that are not finite.", "Embed these images again."
        )
    return rows


def _checked_labels(labels: ArrayLike, count: int, classes: int) -> NDArray[np.intp]:
    indices = np.asarray(labels)
    if indices.shape != (count,) or (count and not np.issubdtype(indices.dtype, np.integer)):
        raise InvalidArgumentError(
            "labels",
            f"they have shape {indices.shape} and type {indices.dtype}.",
            f"Give {count} class indices.",
        )
    if count and (indices.min() < 0 or indices.max() >= classes):
        raise InvalidArgumentError(
            "labels", "one of them is no index of a class.", f"Give indices from 0 to {classes - 1}."
        )
    return indices.astype(np.intp)
