"""The classifier: class-balanced multinomial logistic regression on frozen features.

Features are scaled to unit length, centred, and scaled by one common factor to a mean square of one per
dimension. The weights have a Gaussian prior, so chosen that a logit has the same variance before any label is
seen, whatever the number of features or labels. (Scaling each feature by its own deviation, the usual way,
lifts the noise of the quiet ones: on three medical sets it cost .02 to .09 of the rare classes' average
precision. The prior's variance was flat to .01 between 1 and 10, so nothing is searched for in a round.)
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.classifier.coordinates import Coordinates, lengths
from clinical_backend.learner.classifier.examples import checked_examples, checked_features, checked_labels
from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.half_precision import blocks_in_single
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from threadpoolctl import threadpool_limits

__all__ = [
    "LOGIT_VARIANCE",
    "LinearClassifier",
    "fit",
    "one_thread",
    "out_of_fold_logits",
    "out_of_fold_probabilities",
]

LOGIT_VARIANCE = 3.0  # the middle of where nothing changes (above), on a logarithmic scale

# Of the mean loss's gradient. The rough one halves the time and moved no average precision by .001.
_TOLERANCE = 3e-4
_ROUGH_TOLERANCE = 3e-3
_MAX_ITERATIONS = 1000  # only a bound: it warns where it is met
_ROWS = 16_384
"""Of a block: what is computed of it beside takes 21 MB in 1,280 dimensions, instead of a quarter of all features."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """A linear classifier of features: logits = (x / ‖x‖) W + b.

    Attributes
    ----------
    classes
        Names of all C classes, those without an example too.
    weights
        Shape (d, C), float32.
    bias
        Shape (C,), float32; −∞ for a class without an example, whose probability is 0.
    counts
        Number of examples by class that it learnt from, shape (C,), int64.
    independent
        Whether an image may have several of the classes: each has a probability of its own then.
    """

    classes: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    counts: NDArray[np.int64]
    independent: bool = False

    @property
    def dimension(self) -> int:
        """Length d of a feature."""
        return len(self.weights)

    @property
    def digest(self) -> str:
        """Sha256 of what it learnt, by which files that hold it name it."""
        return sha256(self.weights.tobytes() + self.bias.tobytes())

    def logits(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return the logits of features of shape (n, d): shape (n, C), float32.

        Raises
        ------
        InvalidArgumentError
            When the features have another shape or are not finite.
        """
        rows = np.asarray(features)
        if rows.ndim == 2 and len(rows) > _ROWS:
            found = np.empty((len(rows), len(self.classes)), dtype=np.float32)
            for start, block in blocks_in_single(rows, _ROWS):
                note_progress()
                found[start : start + _ROWS] = self.logits(block)
            return found
        rows = checked_features(rows, self.dimension)
        logits: NDArray[np.float32] = (rows @ self.weights) / lengths(rows) + self.bias
        return logits

    def among(self, classes: Sequence[str]) -> LinearClassifier:
        """Return the classifier that chooses among some of the classes only.

        Raises
        ------
        InvalidArgumentError
            When it does not know one of them.
        """
        if unknown := [name for name in classes if name not in self.classes]:
            raise InvalidArgumentError(
                "classes", f"the classifier does not know {unknown[0]!r}.", f"Choose of {', '.join(self.classes)}."
            )
        columns = [self.classes.index(name) for name in classes]
        kept = self.weights[:, columns], self.bias[columns], self.counts[columns]
        return LinearClassifier(tuple(classes), *kept, self.independent)

    def of_joined(self, width: int, ratio: float) -> LinearClassifier:
        """Return the same classifier for features that begin with those that it learnt.

        Parameters
        ----------
        width
            Length of the joined features.
        ratio
            Of the joined features' length to that of the part that it learnt, as vectors.
        """
        weights = np.zeros((width, len(self.classes)), dtype=np.float32)
        weights[: self.dimension] = np.float32(ratio) * self.weights
        return LinearClassifier(self.classes, weights, self.bias, self.counts)

    def mean_with(self, other: LinearClassifier) -> LinearClassifier:
        """Return the classifier whose logits are the mean of those of both, which know the same classes."""
        half = np.float32(0.5)
        weights, bias = half * (self.weights + other.weights), half * (self.bias + other.bias)
        return LinearClassifier(self.classes, weights, bias, self.counts)

    def probabilities(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return the softmax of the logits, or of each the logistic function, shape (n, C), float32.

        Classes that exclude each other count as equally frequent, since training weighs them so.

        Raises
        ------
        InvalidArgumentError
            When the features have another shape or are not finite.
        """
        logits = self.logits(features)
        found: NDArray[np.float32] = np.exp(-np.logaddexp(0, -logits)) if self.independent else softmax(logits, axis=1)
        return found

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
            indices = checked_labels(labels, len(residuals), len(self.classes))
        residuals[np.arange(len(residuals)), indices] -= 1.0
        return residuals


def fit(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    weights: NDArray[np.float64] | None = None,
    *,
    seed: int = 0,
    logit_variance: float = LOGIT_VARIANCE,
    whitening: NDArray[np.float32] | None = None,
) -> LinearClassifier:
    """Learn a classifier.

    Parameters
    ----------
    features
        Shape (n, d), finite.
    labels
        Class indices, shape (n,).
    classes
        Names of all C classes; not all need examples.
    weights
        Of the examples, shape (n,). By default every class weighs the same, however many examples it has.
    seed
        Of the solver. The present one draws nothing: the same input gives the same classifier.
    logit_variance
        Variance of a logit under the prior; less is smoother.
    whitening
        A symmetric matrix of shape (d, d) that features of unit length are multiplied with before they are scaled: it
        gives the weights another prior, and the classifier takes features as they are all the same.

    Raises
    ------
    InvalidArgumentError
        When an argument has another shape or holds values that cannot be.
    ModelError
        When fewer than two classes have examples.
    """
    rows, indices = checked_examples(features, labels, classes)
    with one_thread():
        coordinates = Coordinates.of(rows, whitening)
        solution = _solve(
            coordinates.rows,
            indices,
            len(classes),
            penalty=rows.shape[1] / logit_variance,
            tolerance=_TOLERANCE if weights is None else _ROUGH_TOLERANCE,
            seed=seed,
            weights=weights,
        )
        found = coordinates.unfold(*solution)
    counts = np.bincount(indices, minlength=len(classes)).astype(np.int64)
    return LinearClassifier(tuple(classes), *found, counts)


def out_of_fold_probabilities(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    logit_variance: float = LOGIT_VARIANCE,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return the softmax of ``out_of_fold_logits``, shape (n, C), float32."""
    logits = out_of_fold_logits(
        features, labels, classes, folds=folds, seed=seed, logit_variance=logit_variance, groups=groups
    )
    found: NDArray[np.float32] = softmax(logits, axis=1)
    return found


def out_of_fold_logits(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    logit_variance: float = LOGIT_VARIANCE,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return logits for each example from a classifier that did not learn from it.

    Folds hold about the same share of every class. A class's only example is evaluated by a classifier that
    has not seen the class: its logit there is −∞, as it would be for a new case.

    Parameters
    ----------
    features, labels, classes, logit_variance
        As for ``fit``.
    folds
        Number of classifiers.
    seed
        Of the draw of the folds.
    groups
        As for ``deal_folds``: the classifier that evaluates an example learnt from none of its group.

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
    rows, indices = checked_examples(features, labels, classes)
    fold_of = deal_folds(indices, min(folds, len(rows)), seed, groups)
    logits = np.full((len(rows), len(classes)), -np.inf, dtype=np.float32)
    with one_thread():
        # Centre and scale use no label, so they may be shared by the folds.
        coordinates = Coordinates.of(rows).rows
        for fold in np.unique(fold_of):
            out = fold_of == fold
            seen = np.unique(indices[~out])
            if len(seen) == 1:
                logits[out, seen[0]] = 0.0
                continue
            weights, bias = _solve(
                coordinates[~out],
                indices[~out],
                len(classes),
                penalty=rows.shape[1] / logit_variance,
                tolerance=_ROUGH_TOLERANCE,
                seed=seed,
            )
            logits[out] = coordinates[out] @ weights + bias
    return logits


def _solve(
    rows: NDArray[np.float32],
    indices: NDArray[np.intp],
    classes: int,
    *,
    penalty: float,
    tolerance: float,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights of shape (dimensions, classes) and biases of shape (classes,).

    Without weights of examples, classes weigh the same.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 (slow to import)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    model = LogisticRegression(
        C=1.0 / penalty,
        class_weight="balanced" if weights is None else None,
        tol=tolerance,
        max_iter=_MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, indices, sample_weight=weights)
    if model.n_iter_.max() >= _MAX_ITERATIONS:
        _log.warning("The classifier's solver stopped after %d steps.", _MAX_ITERATIONS)
    found, offset = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # one column, which tells the second class from the first
        found, offset = np.hstack([-found / 2, found / 2]), np.array([-offset[0] / 2, offset[0] / 2])
    directions = np.zeros((rows.shape[1], classes), dtype=np.float32)
    bias = np.full(classes, -np.inf, dtype=np.float32)
    directions[:, model.classes_] = found
    bias[model.classes_] = offset
    return directions, bias


def one_thread() -> threadpool_limits:
    """Keep linear algebra to one thread: with products this small, others only spin and wait."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 (comes with scikit-learn)

    return threadpool_limits(limits=1, user_api="blas")
