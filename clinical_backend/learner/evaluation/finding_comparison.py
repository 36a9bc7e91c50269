"""Several findings of two trainings, compared one by one: what a new one does worse stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.comparison import compare
from clinical_backend.learner.evaluation.held_out import HeldOut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.learner.evaluation.comparison import Comparison

__all__ = ["better_of_each"]


def better_of_each(
    candidate: HeldOut,
    published: HeldOut,
    tasks: NDArray[np.int64],
    features: NDArray[np.float32],
    says: NDArray[np.float32],
    *,
    least: int,
    seed: int,
) -> tuple[LinearClassifier, HeldOut, dict[str, Comparison]]:
    """Return the candidate, with those findings of the published training in it that it does worse beyond chance.

    Parameters
    ----------
    candidate, published
        Two trainings on features of the same representation.
    tasks
        Labelled tasks that both may evaluate, shape (m,).
    features
        Theirs, shape (m, d), float32.
    says
        What their labels say of the candidate's findings: 1, 0, or NaN for nothing; shape (m, F).
    least
        Cases with a finding, and as many without, that a comparison needs.
    seed
        Of the resampling.

    Returns
    -------
    tuple
        The classifier, what it is judged by, and of each finding that could be compared how they compare.
    """
    reference = candidate.reference
    weights, bias, counts = reference.weights.copy(), reference.bias.copy(), reference.counts.copy()
    probabilities = candidate.probabilities.copy()
    now, before = (one.probabilities_of(tasks, features) for one in (candidate, published))
    places = {task: row for row, task in enumerate(candidate.tasks.tolist())}
    rows = [places.get(task) for task in tasks.tolist()]
    found = {}
    for column, name in enumerate(reference.classes):
        known = ~np.isnan(says[:, column])
        truth = says[known, column] > 0
        if name not in published.reference.classes or min(truth.sum(), (~truth).sum()) < least:
            continue
        old = published.reference.classes.index(name)
        found[name] = compare(truth, now[known, column], before[known, old], seed=seed)
        if found[name].worse:
            weights[:, column], bias[column] = published.reference.weights[:, old], published.reference.bias[old]
            counts[column] = published.reference.counts[old]
            for place, row in enumerate(rows):
                if row is not None:
                    probabilities[row, column] = before[place, old]
    mixed = LinearClassifier(reference.classes, weights, bias, counts, independent=True)
    return mixed, HeldOut(candidate.tasks, probabilities, mixed), found
