"""How good a classifier is, on rare classes first. Measures of which there is no case are ``None``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ClassMetrics",
    "Metrics",
    "average_precision",
    "confusion",
    "evaluate",
    "recall_at_specificity",
]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Measures of one class against the rest.

    Attributes
    ----------
    name
        The class.
    count
        Examples of it.
    recall, precision
        At the most likely class.
    average_precision
        Over all thresholds.
    recall_at_specificity
        At the threshold where the specificity is at least the one asked for.
    """

    name: str
    count: int
    recall: float | None
    precision: float | None
    average_precision: float | None
    recall_at_specificity: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Measures of a classifier on labelled examples; ``dataclasses.asdict`` makes JSON of it.

    Attributes
    ----------
    count
        Number of examples.
    accuracy, balanced_accuracy
        Share of right ones, and its mean over the classes that have examples.
    rare_average_precision, rare_recall_at_specificity
        Means over the rare classes that have examples.
    specificity
        The one that recalls are given for.
    classes
        Measures of each class.
    confusion
        Counts by true class (rows) and most likely class (columns).
    """

    count: int
    accuracy: float | None
    balanced_accuracy: float | None
    rare_average_precision: float | None
    rare_recall_at_specificity: float | None
    specificity: float
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]


def average_precision(positive: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the average precision of scores for positive cases; ``None`` without a positive case.

    Parameters
    ----------
    positive
        Whether each case is one, shape (n,), bool.
    scores
        Shape (n,); higher means more likely positive.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 (slow to import)

    truth = np.asarray(positive, dtype=bool)
    return float(average_precision_score(truth, np.asarray(scores))) if truth.any() else None


def recall_at_specificity(positive: ArrayLike, scores: ArrayLike, specificity: float = 0.9) -> float | None:
    """Return the largest recall at a threshold with at least this specificity.

    ``None`` without positive or without negative cases.

    Parameters
    ----------
    positive
        Whether each case is one, shape (n,), bool.
    scores
        Shape (n,); higher means more likely positive.
    specificity
        Least share of the negative cases that stay below the threshold.
    """
    from sklearn.metrics import roc_curve  # noqa: PLC0415 (slow to import)

    truth = np.asarray(positive, dtype=bool)
    if truth.all() or not truth.any():
        return None
    false_positive_rate, recall, _ = roc_curve(truth, np.asarray(scores), drop_intermediate=False)
    return float(recall[false_positive_rate <= 1.0 - specificity + 1e-12].max())


def confusion(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return counts by true class (rows) and predicted class (columns), shape (classes, classes)."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (np.asarray(labels, dtype=np.intp), np.asarray(predicted, dtype=np.intp)), 1)
    return table


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    *,
    rare: Iterable[str] = (),
    specificity: float = 0.9,
) -> Metrics:
    """Measure probabilities against labels.

    Parameters
    ----------
    labels
        Class indices, shape (n,).
    probabilities
        Shape (n, C).
    classes
        Names of the C classes.
    rare
        Those that count as rare.
    specificity
        At which recalls are given.

    Raises
    ------
    InvalidArgumentError
        When shapes do not match.
    """
    truth = np.asarray(labels, dtype=np.intp)
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.shape != (len(truth), len(classes)):
        raise InvalidArgumentError(
            "probabilities",
            f"they have shape {scores.shape}.",
            f"Give an array of shape ({len(truth)}, {len(classes)}).",
        )
    table = confusion(truth, scores.argmax(axis=1) if len(truth) else truth, len(classes))
    by_class = tuple(
        ClassMetrics(
            name=name,
            count=int(table[index].sum()),
            recall=_ratio(table[index, index], table[index].sum()),
            precision=_ratio(table[index, index], table[:, index].sum()),
            average_precision=average_precision(truth == index, scores[:, index]),
            recall_at_specificity=recall_at_specificity(truth == index, scores[:, index], specificity),
        )
        for index, name in enumerate(classes)
    )
    rare_names = frozenset(rare)
    rare_classes = [item for item in by_class if item.name in rare_names]
    return Metrics(
        count=len(truth),
        accuracy=_ratio(table.trace(), len(truth)),
        balanced_accuracy=_mean(item.recall for item in by_class),
        rare_average_precision=_mean(item.average_precision for item in rare_classes),
        rare_recall_at_specificity=_mean(item.recall_at_specificity for item in rare_classes),
        specificity=specificity,
        classes=by_class,
        confusion=tuple(tuple(int(count) for count in row) for row in table),
    )


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
