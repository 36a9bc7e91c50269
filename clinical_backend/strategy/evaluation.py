"""How good the published classifier is, by labels that it did not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.evaluation.metrics import evaluate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.learner.evaluation.metrics import Metrics
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["evaluate_labels"]


def evaluate_labels(
    held_out: HeldOut,
    inputs: Inputs,
    labels: Mapping[int, str],
    rare: Collection[str],
) -> Metrics:
    """Return measures of a classifier, each label judged by a training that had not seen it.

    Parameters
    ----------
    held_out
        What the classifier is judged by.
    inputs
        Labelled tasks, in its representation; those whose class it does not know are left out.
    labels
        Class by task, of those that somebody looked at: what a model said itself would prove it right.
    rare
        The rare classes.
    """
    classes, labelled = held_out.reference.classes, inputs.labelled
    known = np.array([labels.get(task) in classes for task in labelled.tasks.tolist()], dtype=bool)
    chosen = known & held_out.may_evaluate(labelled.tasks, inputs.groups)
    tasks = labelled.tasks[chosen]
    probabilities = held_out.probabilities_of(tasks, labelled.features[chosen])
    codes = np.array([classes.index(labels[task]) for task in tasks.tolist()], dtype=np.intp)
    return evaluate(codes, probabilities, classes, rare=rare)
