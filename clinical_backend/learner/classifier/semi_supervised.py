"""A classifier that learns from the pool as well: unlabelled images stand in for the common classes.

While a finding is rare, an image that nobody has labelled is almost surely a common one. That is what a classifier
lacks most when a few exemplars are all that is known, and while labels are gathered around the rare class:
cases of everything else. So a sample of the pool joins the labels, each image under the common class that the
labels make most likely (one class "other" while no common class is labelled), with a weight that gives way to
real labels as they come. Learning from positive and unlabelled cases: Elkan and Noto, KDD 2008; pseudo-labels:
Lee, ICML workshop 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.classifier.examples import checked_features
from clinical_backend.learner.classifier.linear import LinearClassifier, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["OTHER", "PoolExamples"]

OTHER = "(other)"
"""The class of what is not rare, while no common class has a label."""

_SAMPLE = 1000  # of every kind of common image some, and a fit still takes a fraction of a second
_WORTH = 100.0
"""As many labels of common classes as the pool counts for. With it the findings of docs/finding-power.md were made."""
_LOGIT_VARIANCE = 10.0  # the loosest of where LOGIT_VARIANCE changed nothing; not measured with a pool
_LEAST_WEIGHT = 10.0  # of all examples, as of ten labels: the prior must not drown a single exemplar; a convention


@dataclass(frozen=True, slots=True)
class PoolExamples:
    """Labels, and a sample of the pool under the classes that it most likely has.

    Attributes
    ----------
    rows
        Features, shape (n, d), float32.
    indices
        Class indices, shape (n,).
    classes
        Names of the given classes, and ``OTHER`` behind them where no common class has a label.
    rare
        Indices of the rare classes.
    weights
        Of the examples, shape (n,).
    seed
        Of what is drawn.
    """

    rows: NDArray[np.float32]
    indices: NDArray[np.intp]
    classes: tuple[str, ...]
    rare: tuple[int, ...]
    weights: NDArray[np.float64]
    seed: int

    @classmethod
    def of(
        cls,
        features: ArrayLike,
        labels: ArrayLike,
        classes: Sequence[str],
        pool: ArrayLike,
        *,
        rare: Sequence[int],
        trust: float = 1.0,
        seed: int = 0,
    ) -> PoolExamples:
        """Join the pool to the labels.

        With n labels of common classes, a share of trust · 100 / (100 + n) of the weight of each common class is the
        pool's. It needs no label of a common class, and one of a rare class.

        Parameters
        ----------
        features
            Of the labelled images, shape (n, d).
        labels
            Their class indices, shape (n,).
        classes
            Names of the classes.
        pool
            Features of the unlabelled images, shape (m, d), m ≥ 1. A sample of 1,000 is taken.
        rare
            Indices of the rare classes.
        trust
            In [0, 1]: less than 1 gives the pool less weight beside labels of common classes.
        seed
            Of the sample.

        Raises
        ------
        InvalidArgumentError
            When there is no label of a rare class, or the pool is empty, or a shape is wrong.
        """
        rows, unlabelled = checked_features(features, None), np.asarray(pool)
        indices = np.asarray(labels, dtype=np.intp)
        is_rare = np.isin(indices, rare)
        if not is_rare.any():
            raise InvalidArgumentError("labels", "none is of a rare class.", "Give an exemplar.")
        if not len(unlabelled):
            raise InvalidArgumentError("pool", "it is empty.", "Learn from the labels alone.")
        if len(unlabelled) > _SAMPLE:
            unlabelled = unlabelled[np.random.default_rng(seed).choice(len(unlabelled), _SAMPLE, replace=False)]
        sampled = checked_features(unlabelled, None)
        names = tuple(classes)
        guesses: NDArray[np.intp]
        if is_rare.all():
            guesses = np.full(len(sampled), len(names), dtype=np.intp)
            names = (*names, OTHER)
        else:
            guesses = _likeliest_common(rows, indices, classes, sampled, rare=rare, seed=seed)
        weights = _weights(indices, guesses, set(rare), trust)
        return cls(
            np.concatenate([rows, sampled]),
            np.concatenate([indices, guesses]),
            names,
            tuple(rare),
            weights * max(len(rows), _LEAST_WEIGHT) / weights.sum(),
            seed,
        )

    def fit(self, whitening: NDArray[np.float32] | None = None) -> LinearClassifier:
        """Learn to tell the classes apart, every class weighing the same.

        Parameters
        ----------
        whitening
            That of the pool: rare cases are ranked higher with it, and common classes told apart worse
            (docs/features.md).
        """
        return fit(
            self.rows,
            self.indices,
            self.classes,
            self.weights,
            logit_variance=_LOGIT_VARIANCE,
            seed=self.seed,
            whitening=whitening,
        )

    def joined(self, every: LinearClassifier, of_rare: LinearClassifier) -> LinearClassifier:
        """Return the classifier that tells common classes apart as the first, and rare ones from them as both together.

        A rare class has the sum of its logits, each above the mean of the common classes' logits.
        """
        known = np.unique(self.indices)
        is_rare = np.isin(known, self.rare)
        common, rare = known[~is_rare], known[is_rare]
        weights, bias = _above(every, common)
        more_weights, more_bias = _above(of_rare, common)
        weights[:, rare] += more_weights[:, rare]
        bias[rare] += more_bias[rare]
        return LinearClassifier(every.classes, weights, bias, every.counts)


def _above(classifier: LinearClassifier, common: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and biases of logits above the mean of those of the common classes."""
    weights = classifier.weights - classifier.weights[:, common].mean(axis=1, keepdims=True)
    return weights, classifier.bias - classifier.bias[common].mean()


def _likeliest_common(
    rows: NDArray[np.float32],
    indices: NDArray[np.intp],
    classes: Sequence[str],
    pool: NDArray[np.float32],
    *,
    rare: Sequence[int],
    seed: int,
) -> NDArray[np.intp]:
    common = [index for index in np.unique(indices) if index not in rare]
    if len(common) == 1:
        return np.full(len(pool), common[0], dtype=np.intp)
    logits = fit(rows, indices, classes, seed=seed).logits(pool)
    likeliest: NDArray[np.intp] = np.asarray(common, dtype=np.intp)[logits[:, common].argmax(axis=1)]
    return likeliest


def _weights(indices: NDArray[np.intp], guesses: NDArray[np.intp], rare: set[int], trust: float) -> NDArray[np.float64]:
    """Return a weight for each label and each image of the pool, in all 1 for each class."""
    commons = sum(int(index) not in rare for index in indices)
    share = trust * _WORTH / (_WORTH + commons)
    weights, pooled = np.zeros(len(indices)), np.zeros(len(guesses))
    for index in np.unique(np.concatenate([indices, guesses])):
        labelled, guessed = indices == index, guesses == index
        if not guessed.any():
            weights[labelled] = 1.0 / labelled.sum()
        elif not labelled.any():
            pooled[guessed] = 1.0 / guessed.sum()
        else:
            weights[labelled] = (1.0 - share) / labelled.sum()
            pooled[guessed] = share / guessed.sum()
    return np.concatenate([weights, pooled])
