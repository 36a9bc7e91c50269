"""How good the published classifier is, by labels that it did not learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.learner.evaluation.metrics import evaluate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["Evaluation", "evaluate_labels"]

_METHOD = (
    "{count} labelled tasks, each judged by classifiers that learnt from other labels alone (cross-validation, "
    "patients kept together). Queues seek the rare, so the shares are those of the labels, not of the project."
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of a classifier on labelled tasks, each judged by a training that had not seen it.

    Attributes
    ----------
    classes
        The C classes.
    confusion
        Counts, C × C: true class by row, most likely class by column.
    support
        Labelled tasks by class.
    method
        In one sentence.
    """

    classes: tuple[str, ...]
    confusion: list[list[int]]
    support: list[int]
    method: str

    def called(self, name: str) -> tuple[int, int] | None:
        """Return how often the class was right of how often it was the most likely one; ``None`` where it never was."""
        if name not in self.classes:
            return None
        column = self.classes.index(name)
        said = sum(row[column] for row in self.confusion)
        return (self.confusion[column][column], said) if said else None


def evaluate_labels(
    held_out: HeldOut,
    inputs: Inputs,
    labels: Mapping[int, str],
    rare: Collection[str],
) -> dict[str, Any]:
    """Return the evaluation of a classifier as it is kept in a round's report.

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
    chosen = known & held_out.may_judge(labelled.tasks, inputs.groups)
    tasks = labelled.tasks[chosen]
    probabilities = held_out.probabilities_of(tasks, labelled.features[chosen])
    codes = np.array([classes.index(labels[task]) for task in tasks.tolist()], dtype=np.intp)
    measured = evaluate(codes, probabilities, classes, rare=rare)
    found = Evaluation(
        classes=classes,
        confusion=[list(row) for row in measured.confusion],
        support=[item.count for item in measured.classes],
        method=_METHOD.format(count=len(tasks)),
    )
    return asdict(found)
