"""Whether a trained network is better than a linear classifier, by labels that neither learnt from.

What is chosen with the held-out labels, the pass at which training stopped and the temperature, would flatter the
network if the same labels evaluated it. So the labels are halved: each half evaluates what the other half chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.calibration import fit_temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LEAST_OF_A_CLASS", "Gain", "class_mean", "cross_fitted", "gain", "hold_out", "losses"]

LEAST_OF_A_CLASS = 10
"""Labels of each class from which on a share is held out: fewer are worth more to learn from than to evaluate with."""

_HELD_OUT = 0.2  # the usual fifth: two of the ten labels that a class has at least, one for each half


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much less one classifier loses than another, mean over the classes, and that mean's standard error."""

    mean: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether it is more than its standard error."""
        return self.mean > self.error


def hold_out(
    labels: NDArray[np.intp],
    seed: int,
    *,
    held_out: NDArray[np.bool_] | None = None,
    learnt: NDArray[np.bool_] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Return which examples are held out: a fifth of each class, or none where a class has fewer than ten.

    With groups it may be more, since they are held out whole.

    Parameters
    ----------
    labels
        Class indices, shape (n,).
    held_out, learnt
        Which were held out earlier, and stay so, and which a network that is to be gone on with has learnt from:
        these cannot evaluate it. So a class that lost its labels may get fewer than a fifth, or none.
    groups
        A number for each example: those of the same number are held out together. A group that holds more than half
        of a class is learnt from.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    classes, counts = np.unique(labels, return_counts=True)
    if not len(counts) or counts.min() < LEAST_OF_A_CLASS:
        return chosen
    group_of = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if held_out is not None:
        chosen |= np.isin(group_of, group_of[held_out])
    free = ~chosen if learnt is None else ~chosen & ~np.isin(group_of, group_of[learnt])
    if groups is not None:
        free &= ~np.isin(group_of, _dominating(labels, group_of))
    random = np.random.default_rng([seed, 2])
    for label, count in zip(classes, counts, strict=True):
        wanted = round(_HELD_OUT * count)
        for row in random.permutation(np.flatnonzero((labels == label) & free)):
            if chosen[labels == label].sum() >= wanted:
                break
            chosen |= group_of == group_of[row]
        free &= ~chosen
    return chosen


def _dominating(labels: NDArray[np.intp], group_of: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the groups that hold more than half of a class."""
    table = np.zeros((int(group_of.max()) + 1, int(labels.max()) + 1))
    np.add.at(table, (group_of, labels), 1)
    dominating: NDArray[np.intp] = np.flatnonzero((table > table.sum(axis=0) / 2).any(axis=1))
    return dominating


def losses(logits: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the cross-entropy of each example, shape (n,)."""
    rows = logits.astype(np.float64)
    rows = rows - rows.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(rows)), labels]
    return found


def class_mean(values: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the mean over the classes of the mean of each."""
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def cross_fitted(passes: Sequence[NDArray[np.float32]], labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the logits of each held-out example by the pass and the temperature that the other half chose.

    Parameters
    ----------
    passes
        Logits of the held-out examples after each pass of a training, shape (m, C) each; of a classifier that
        knows no passes, one.
    labels
        Their class indices, shape (m,).
    """
    half = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        half[np.flatnonzero(labels == label)[::2]] = True
    found = np.empty_like(passes[0])
    for evaluated in (half, ~half):
        choosing = ~evaluated if (~evaluated).any() else evaluated
        best = min(passes, key=lambda logits: class_mean(losses(logits[choosing], labels[choosing]), labels[choosing]))
        found[evaluated] = best[evaluated] / np.float32(fit_temperature(best[choosing], labels[choosing]))
    return found


def gain(reference: NDArray[np.float32], candidate: NDArray[np.float32], labels: NDArray[np.intp]) -> Gain:
    """Return by how much less the candidate's logits lose than the reference's, class by class the same weight.

    The standard error is of the paired differences, with one variance for all classes.
    """
    differences = losses(reference, labels) - losses(candidate, labels)
    _, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.bincount(class_of, differences) / counts
    freedom = len(labels) - len(counts)
    if not freedom:
        return Gain(float(means.mean()), float("inf"))
    variance = float(((differences - means[class_of]) ** 2).sum() / freedom)
    return Gain(float(means.mean()), float(np.sqrt(variance * (1.0 / counts).sum()) / len(counts)))
