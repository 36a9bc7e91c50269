"""How good a model is, by class and subgroup, with intervals; what too few cases carry is not said.

Ranking by average precision; calling by sensitivity, specificity and balanced accuracy at the threshold that is kept;
calibration by the Brier score, by the mean probability beside the share that is there (calibration in the large) and
by the same of cases with about the same probability (a reliability table; Van Calster et al., BMC Medicine 17, 2019).
The expected calibration error is left out: it depends on its bins, and is not 0 for a model that is calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.interval import Interval
from clinical_backend.findings.measures import average_precisions, brier_scores, excesses, means, shares
from clinical_backend.findings.resampling import REPLICATIONS, Resampling, effective_number, interval_of_effective_share
from clinical_backend.findings.subgroups import group_by
from clinical_backend.findings.weights import LEAST_DRAWS, mean_of_shares

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.cases import JudgedCases

__all__ = ["LEAST_CASES", "ClassFigures", "Performance", "ReliabilityBin", "SubgroupFigures", "measure"]

LEAST_CASES = 10
"""Cases of a kind below which nothing is said of them: with 10, the interval of a share reaches over 60 points."""
_EDGES = (0.0, 0.05, 0.2, 0.5, 0.8, 1.0)
"""Of the probabilities of a reliability table; chosen closer where nearly all cases of a rare class are."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Cases with about the same probability.

    Attributes
    ----------
    low, high
        The probabilities; the upper end belongs to the last bin alone.
    cases
        How many cases with a weight there are.
    predicted, observed
        The mean probability, and the share that is there; ``None`` where there are too few cases.
    """

    low: float
    high: float
    cases: int
    predicted: float | None
    observed: Interval | None


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Figures of a class against all else.

    Attributes
    ----------
    name
        The class.
    cases, positives
        Cases with a weight that say something of it, and those that say that it is there.
    patients
        Of the cases.
    effective_positives, effective_negatives
        How many equally weighted cases of different patients tell as much (:func:`effective_number`).
    average_precision, sensitivity, specificity, brier_score, excess
        ``None`` where there are too few cases; without ends where resampling gives none. ``excess`` is the mean
        probability less the share that is there.
    predicted, observed
        These two: the mean probability, and the share; ``None`` likewise.
    """

    name: str
    cases: int
    positives: int
    patients: int
    effective_positives: float = 0.0
    effective_negatives: float = 0.0
    average_precision: Interval | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None
    brier_score: Interval | None = None
    excess: Interval | None = None
    predicted: float | None = None
    observed: Interval | None = None


@dataclass(frozen=True, slots=True)
class SubgroupFigures:
    """Figures of the subgroups of a field.

    Attributes
    ----------
    field
        Its name.
    how
        How the subgroups were made.
    withheld
        Values that too few patients have to be listed.
    classes
        By the name of a subgroup, the figures of each class in it.
    """

    field: str
    how: str
    withheld: int
    classes: Mapping[str, tuple[ClassFigures, ...]]


@dataclass(frozen=True, slots=True)
class Performance:
    """How good a model is.

    Attributes
    ----------
    classes
        Figures of each class, of all cases.
    balanced_accuracy
        The mean of the sensitivities of all classes; of several findings, of sensitivities and specificities. ``None``
        where one of them cannot be said.
    brier_score
        The mean squared distance of the probabilities from what is there: summed over classes, of several findings the
        mean over those that a label says something of (Brier, Monthly Weather Review 78, 1950). 0 is best. ``None``
        where there are too few cases.
    reliability
        By class.
    subgroups
        By field.
    resampling
        How intervals were made.
    """

    classes: tuple[ClassFigures, ...]
    balanced_accuracy: Interval | None
    brier_score: Interval | None
    reliability: Mapping[str, tuple[ReliabilityBin, ...]]
    subgroups: tuple[SubgroupFigures, ...]
    resampling: Resampling


def measure(cases: JudgedCases, *, seed: int = 0, replications: int = REPLICATIONS) -> Performance:
    """Return how good a model is by some cases.

    Parameters
    ----------
    cases
        What judges it, with the fields that subgroups are made of.
    seed, replications
        Of the resampling.
    """
    resampling = Resampling(seed, replications)
    counted = cases.those(cases.counted() > 0)
    classes = _classes(counted, resampling)
    return Performance(
        classes,
        _balanced_accuracy(classes, several=cases.threshold is not None),
        _brier_score(counted, resampling),
        {name: tuple(_Rows.of(counted, column).bins()) for column, name in enumerate(cases.classes)},
        tuple(_subgroups(counted, name, resampling) for name in cases.fields),
        resampling,
    )


def _subgroups(cases: JudgedCases, name: str, resampling: Resampling) -> SubgroupFigures:
    grouping = group_by(cases.fields[name], cases.patients)
    found = {one: _classes(cases.those(members), resampling) for one, members in grouping.members.items()}
    return SubgroupFigures(name, grouping.how, grouping.withheld, found)


def _classes(cases: JudgedCases, resampling: Resampling) -> tuple[ClassFigures, ...]:
    return tuple(_figures(cases, column, resampling) for column in range(len(cases.classes)))


def _figures(cases: JudgedCases, column: int, resampling: Resampling) -> ClassFigures:
    rows = _Rows.of(cases, column)
    truth, scores = rows.truth, rows.scores
    counts = (cases.classes[column], len(truth), int(truth.sum()), len(np.unique(rows.patients)))
    sensitivity, number_present = rows.share(rows.called, of=truth)
    specificity, number_absent = rows.share(~rows.called, of=~truth)
    if sensitivity is None or specificity is None:
        return ClassFigures(*counts, number_present, number_absent, None, sensitivity, specificity)
    figures = [partial(one, truth, scores) for one in (average_precisions, brier_scores, excesses)]
    precision, brier, excess = resampling.intervals(figures, rows.weights, rows.patients)
    return ClassFigures(
        *counts,
        number_present,
        number_absent,
        _widened(precision, number_present),
        sensitivity,
        specificity,
        brier,
        excess,
        float(rows.weights @ scores / rows.weights.sum()),
        rows.share(truth)[0],
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The cases that say something of a class, shape (m,) each."""

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    called: NDArray[np.bool_]
    weights: NDArray[np.float64]
    patients: NDArray[np.int64]
    carrying: NDArray[np.bool_]

    @classmethod
    def of(cls, cases: JudgedCases, column: int) -> _Rows:
        told = ~np.isnan(cases.truth[:, column])
        return cls(
            cases.truth[told, column] > 0,
            cases.probabilities[told, column],
            cases.called[told, column],
            cases.counted()[told],
            cases.patients[told],
            cases.carrying()[told],
        )

    def share(self, hits: NDArray[np.bool_], of: NDArray[np.bool_] | None = None) -> tuple[Interval | None, float]:
        """Return the share of some cases that are hits, ``None`` where it rests on too few, and on how many it does."""
        domain = np.ones(len(hits), dtype=np.bool_) if of is None else of
        if not domain.any():
            return None, 0.0
        weights = self.weights[domain]
        number = effective_number(hits[domain], weights, self.patients[domain])
        if domain.sum() < LEAST_CASES or self.carrying[domain].sum() < LEAST_DRAWS:
            return None, number
        return interval_of_effective_share(float(shares(hits[domain], weights[None])[0]), number), number

    def bins(self) -> Iterator[ReliabilityBin]:
        bin_of = np.clip(np.searchsorted(_EDGES, self.scores, side="right") - 1, 0, len(_EDGES) - 2)
        for place, (low, high) in enumerate(pairwise(_EDGES)):
            here = bin_of == place
            observed, _ = self.share(self.truth, of=here)
            weights = self.weights[here]
            mean = float(weights @ self.scores[here] / weights.sum()) if observed is not None else None
            yield ReliabilityBin(low, high, int(here.sum()), mean, observed)


def _widened(precision: Interval, positives: float) -> Interval:
    """Return an interval that is at least as wide as if average precision were a share of the positive cases.

    Resampling gives none of any width where each positive case is ranked before all others. The binomial interval of
    Boyd, Eng and Page (ECML PKDD 2013) has one, whatever the ranks.
    """
    if precision.estimate is None or precision.low is None or precision.high is None:
        return precision
    least = interval_of_effective_share(min(max(precision.estimate, 0.0), 1.0), positives)
    assert least.low is not None
    assert least.high is not None
    return Interval(precision.estimate, min(precision.low, least.low), max(precision.high, least.high))


def _balanced_accuracy(classes: Sequence[ClassFigures], *, several: bool) -> Interval | None:
    parts = [one.sensitivity for one in classes]
    if several:
        parts += [one.specificity for one in classes]
    known = [one for one in parts if one is not None]
    return mean_of_shares(known) if known and len(known) == len(parts) else None


def _brier_score(cases: JudgedCases, resampling: Resampling) -> Interval | None:
    told: NDArray[np.bool_] = np.any(~np.isnan(cases.truth), axis=1)
    known = cases.those(told)
    if len(known) < LEAST_CASES or known.carrying().sum() < LEAST_DRAWS:
        return None
    squared = (known.probabilities - known.truth) ** 2
    losses = np.nansum(squared, axis=1) if known.threshold is None else np.nanmean(squared, axis=1)
    return resampling.intervals([partial(means, losses)], known.counted(), known.patients)[0]
