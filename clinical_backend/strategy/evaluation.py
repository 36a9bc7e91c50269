"""How good the published classifier is, by labels that it did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.one_vs_rest import LEAST_HELD_OUT
from clinical_backend.learner.evaluation.metrics import average_precision, evaluate, recall_at_specificity
from clinical_backend.strategy.several_fit import said

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.learner.evaluation.metrics import Metrics
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["FindingScores", "evaluate_findings", "evaluate_labels"]


@dataclass(frozen=True, slots=True)
class FindingScores:
    """Measures of one of several findings on the labels that say something of it.

    Attributes
    ----------
    name
        The finding.
    present, labels
        Labels that say that it is there, and all that say something of it.
    average_precision
        Over all thresholds; ``None`` where fewer than two labels give the finding, or deny it.
    recall_at_specificity
        At the threshold where nine of ten labels without it stay below; likewise.
    predicted
        The mean of its predicted probabilities: calibrated if it is near the share of labels that give it; likewise.
    """

    name: str
    present: int
    labels: int
    average_precision: float | None
    recall_at_specificity: float | None
    predicted: float | None


def evaluate_findings(
    held_out: HeldOut, inputs: Inputs, labels: Mapping[int, str]
) -> tuple[list[FindingScores], NDArray[np.int64]]:
    """Return measures of each of several findings, each label judged by a training that had not seen it.

    Parameters
    ----------
    held_out, inputs, labels
        As for :func:`evaluate_labels`.

    Returns
    -------
    tuple
        The measures, and how many labels have both of two findings, shape (F, F).
    """
    findings, labelled = held_out.reference.classes, inputs.labelled
    known = np.array([task in labels for task in labelled.tasks.tolist()], dtype=bool)
    chosen = known & held_out.may_evaluate(labelled.tasks, inputs.groups)
    tasks = labelled.tasks[chosen]
    probabilities = held_out.probabilities_of(tasks, labelled.features[chosen])
    given = said(labels, tasks, findings)
    scores = []
    for column, name in enumerate(findings):
        told = ~np.isnan(given[:, column])
        truth, believed = given[told, column] > 0, probabilities[told, column]
        judged = min(truth.sum(), (~truth).sum()) >= LEAST_HELD_OUT
        scores.append(
            FindingScores(
                name,
                int(truth.sum()),
                len(truth),
                average_precision(truth, believed) if judged else None,
                recall_at_specificity(truth, believed) if judged else None,
                float(believed.mean()) if judged else None,
            )
        )
    there = np.nan_to_num(given).astype(np.int64)
    return scores, there.T @ there


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
