"""How good a model is on cases that were drawn at random and read blind, with intervals that respect patients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.interval import Interval
from clinical_backend.findings.measures import average_precisions, excesses
from clinical_backend.findings.resampling import Resampling, effective_number, interval_of_effective_share
from clinical_backend.learner.evaluation.comparison import LEAST_CASES
from clinical_backend.multilabel import LIKELY, says

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Figure: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Gives a figure for each row of weights of the cases, shape (m, n)."""

__all__ = ["BlindClass", "BlindFigures", "blind_figures", "clustered_share"]


@dataclass(frozen=True, slots=True)
class BlindClass:
    """How a model does on one class, or one of several findings.

    Attributes
    ----------
    name
        The class.
    present, cases
        Labels that give it, and all that say something of it.
    sensitivity, specificity
        Of the cases with it, the share that the model calls so, and of those without it, the share that it does not;
        ``None`` without such a case. The model calls a case by its likeliest class, and of several findings those from
        a probability of 0.5 on.
    average_precision
        Over all thresholds; ``None`` unless five patients have it, and five have cases without it.
    predicted
        The mean of its predicted probabilities, which a calibrated model has near the share of cases with the class.
    excess
        That mean less that share; ``None`` as that of ``average_precision``.
    """

    name: str
    present: int
    cases: int
    sensitivity: Interval | None
    specificity: Interval | None
    average_precision: Interval | None
    predicted: float | None
    excess: Interval | None


@dataclass(frozen=True, slots=True)
class BlindFigures:
    """How a model does on all of them.

    Attributes
    ----------
    cases, patients
        How many there are, and of how many patients.
    balanced_accuracy
        The mean of the classes' sensitivities; of several findings that of sensitivity and specificity, over all.
        ``None`` unless every class that has cases has them of five patients.
    brier
        The mean squared distance of predicted probabilities from what is there: summed over classes, and of several
        findings the mean over them (Brier, Monthly Weather Review 78, 1950). 0 is best. ``None`` below five patients.
    classes
        The figures of each class, in the model's order.
    """

    cases: int
    patients: int
    balanced_accuracy: Interval | None
    brier: Interval | None
    classes: tuple[BlindClass, ...]


def blind_figures(
    classes: Sequence[str],
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    groups: Sequence[str],
    *,
    several: bool,
    seed: int = 0,
) -> BlindFigures:
    """Measure a model on cases that it did not learn from, each drawn with the same chance.

    Shares have the interval of :func:`clustered_share`, other figures that of the bootstrap over patients (percentiles
    of 1,000 resamples; Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8), whose ends are
    ``None`` where all resamples give the same, or many give none.

    Parameters
    ----------
    classes
        The C classes, or findings, that the model learnt.
    labels
        What readers say of each case, shape (n,).
    probabilities
        Shape (n, C).
    groups
        What stands for the patient of each case, shape (n,).
    several
        Whether an image may have several findings, each with a probability of its own.
    seed
        Of the resamples.
    """
    scores = np.asarray(probabilities, dtype=np.float64).reshape(len(labels), len(classes))
    _, codes = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    said = [[says(label, name) for name in classes] for label in labels]
    told = np.array([[one is not None for one in row] for row in said], dtype=bool).reshape(scores.shape)
    there = np.array([[bool(one) for one in row] for row in said], dtype=bool).reshape(scores.shape)
    called = scores >= LIKELY if several else _likeliest(scores)
    resampling = Resampling(seed)
    by_class = tuple(
        _of_class(name, there[use, place], called[use, place], scores[use, place], codes[use], resampling)
        for place, name in enumerate(classes)
        for use in [told[:, place]]
    )
    squared = np.where(told, (scores - there) ** 2, 0.0)
    loss = squared.sum(axis=1) / (np.maximum(told.sum(axis=1), 1) if several else 1)
    patients = int(codes.max(initial=-1)) + 1

    def brier(times: NDArray[np.float64]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = times @ loss / times.sum(axis=1)
        return mean

    return BlindFigures(
        len(labels),
        patients,
        _balanced(there, called, told, codes, resampling, several=several),
        _intervals([brier], codes, resampling)[0] if patients >= LEAST_CASES else None,
        by_class,
    )


def clustered_share(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> Interval | None:
    """Return a share of cases with its 95 % interval, where those of one patient are alike.

    That of Korn and Graubard, for cases of equal weight: see :func:`interval_of_effective_share`.

    Parameters
    ----------
    hits
        Shape (n,).
    groups
        The patient of each case, shape (n,).

    Returns
    -------
    Interval or None
        ``None`` without a case.
    """
    cases = len(hits)
    if not cases:
        return None
    return interval_of_effective_share(float(hits.mean()), effective_number(hits, np.ones(cases), groups))


def _intervals(figures: Sequence[Figure], codes: NDArray[np.int64], resampling: Resampling) -> list[Interval | None]:
    """Return figures with their intervals, ``None`` for one that has no value.

    Where all resamples give the same, as where no mistake is made, they know of no other value: no ends are given.
    """
    return [
        None
        if found.estimate is None or np.isnan(found.estimate)
        else Interval(found.estimate, None, None)
        if found.low == found.high
        else found
        for found in resampling.intervals(figures, np.ones(len(codes)), codes)
    ]


def _of_class(
    name: str,
    there: NDArray[np.bool_],
    called: NDArray[np.bool_],
    scores: NDArray[np.float64],
    codes: NDArray[np.int64],
    resampling: Resampling,
) -> BlindClass:
    judged = min(len(np.unique(codes[there])), len(np.unique(codes[~there]))) >= LEAST_CASES
    figures = [partial(average_precisions, there, scores), partial(excesses, there, scores)]
    precision, excess = _intervals(figures, codes, resampling) if judged else (None, None)
    return BlindClass(
        name,
        int(there.sum()),
        len(there),
        clustered_share(called[there], codes[there]),
        clustered_share(~called[~there], codes[~there]),
        precision,
        float(scores.mean()) if len(scores) else None,
        excess,
    )


def _balanced(
    there: NDArray[np.bool_],
    called: NDArray[np.bool_],
    told: NDArray[np.bool_],
    codes: NDArray[np.int64],
    resampling: Resampling,
    *,
    several: bool,
) -> Interval | None:
    """Return the mean of the shares called right: of the cases of each class, or with and without each finding."""
    sides = [(there & told, called & there & told)]
    if several:
        sides.append((~there & told, ~called & ~there & told))
    columns = [
        (cases[:, place], right[:, place])
        for cases, right in sides
        for place in range(there.shape[1])
        if cases[:, place].any()
    ]
    if not columns or min(len(np.unique(codes[cases])) for cases, _ in columns) < LEAST_CASES:
        return None
    of = np.array([cases for cases, _ in columns], dtype=np.float64).T
    right = np.array([hits for _, hits in columns], dtype=np.float64).T

    def mean(times: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: NDArray[np.float64] = ((times @ right) / (times @ of)).mean(axis=1)
        return shares

    return _intervals([mean], codes, resampling)[0]


def _likeliest(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    called = np.zeros(scores.shape, dtype=bool)
    if scores.size:
        called[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return called
