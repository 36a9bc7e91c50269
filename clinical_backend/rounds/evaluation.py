"""How good the published classifier is, by labels that it did not learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.learner.metrics import evaluate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.held_out import HeldOut
    from clinical_backend.rounds.embed import FeaturedTasks
    from clinical_backend.storage.stores import Stores

__all__ = ["CalibrationBin", "Evaluation", "evaluate_labels", "read_evaluation"]

_BINS = 10
_METHOD = (
    "{count} labelled tasks, each judged by classifiers that learnt from other labels alone (cross-validation, "
    "patients kept together). Queues seek the rare, so the shares are those of the labels, not of the project."
)


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Labelled tasks of about the same P(rare).

    Attributes
    ----------
    predicted
        Their mean P(rare).
    rare
        The share of them that is rare.
    count
        How many they are.
    """

    predicted: float
    rare: float
    count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of a classifier on labelled tasks, each judged by a training that had not seen it.

    Attributes
    ----------
    classes
        The C classes.
    confusion
        Counts, C × C: true class by row, most likely class by column.
    recall, precision
        By class; ``None`` where there is no case.
    support
        Labelled tasks by class.
    calibration
        Bins of P(rare), ascending; empty where no class is rare.
    method
        In one sentence.
    """

    classes: tuple[str, ...]
    confusion: list[list[int]]
    recall: list[float | None]
    precision: list[float | None]
    support: list[int]
    calibration: list[CalibrationBin]
    method: str


def evaluate_labels(
    held_out: HeldOut,
    labelled: FeaturedTasks,
    labels: Mapping[int, str],
    rare: Collection[str],
    groups: Mapping[int, str],
) -> dict[str, Any]:
    """Return the evaluation of a classifier as it is kept in a round's report.

    Parameters
    ----------
    held_out
        What the classifier is judged by.
    labelled
        Labelled tasks, in its representation; those whose class it does not know are left out.
    labels
        Class by task.
    rare
        The rare classes.
    groups
        What stands for the patient or study, by task.
    """
    classes = held_out.reference.classes
    known = np.array([labels[task] in classes for task in labelled.tasks.tolist()], dtype=bool)
    chosen = known & held_out.may_judge(labelled.tasks, groups)
    tasks = labelled.tasks[chosen]
    probabilities = held_out.probabilities_of(tasks, labelled.features[chosen])
    codes = np.array([classes.index(labels[task]) for task in tasks.tolist()], dtype=np.intp)
    measured = evaluate(codes, probabilities, classes, rare=rare)
    columns = [column for column, name in enumerate(classes) if name in rare]
    bins = _calibration(probabilities[:, columns].sum(axis=1), np.isin(codes, columns)) if columns else []
    found = Evaluation(
        classes=classes,
        confusion=[list(row) for row in measured.confusion],
        recall=[item.recall for item in measured.classes],
        precision=[item.precision for item in measured.classes],
        support=[item.count for item in measured.classes],
        calibration=bins,
        method=_METHOD.format(count=len(tasks)),
    )
    return asdict(found)


def read_evaluation(stores: Stores, project_id: int) -> Evaluation | None:
    """Return the evaluation of the published classifier; ``None`` while too few labels judge one."""
    published = stores.rounds.published(project_id)
    found = published.report.get("evaluation") if published else None
    if found is None:
        return None
    bins = [CalibrationBin(**item) for item in found["calibration"]]
    return Evaluation(**{**found, "classes": tuple(found["classes"]), "calibration": bins})


def _calibration(probability: NDArray[np.float32], rare: NDArray[np.bool_]) -> list[CalibrationBin]:
    """Return bins of equal width that hold a task."""
    bin_of = np.minimum((probability * _BINS).astype(np.intp), _BINS - 1)
    return [
        CalibrationBin(float(probability[inside].mean()), float(rare[inside].mean()), int(inside.sum()))
        for inside in (bin_of == number for number in range(_BINS))
        if inside.any()
    ]
