"""How far readers agree, from cases that two or more of them read without seeing each other's answer.

Krippendorff's α for classes (nominal data): 1 − observed / expected disagreement, so 1 where readers always agree and 0
where they agree as often as chance lets them (Content Analysis, 4th edition, chapter 12). Beside it the agreement of
each class: of the readings that gave it, the share whose partner gave it too (specific, or positive, agreement;
Cicchetti and Feinstein, Journal of Clinical Epidemiology 43, 1990). α alone hides how readers do on a rare class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.interval import Interval, upper_share
from clinical_backend.multilabel import findings_of, says

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "LEAST_CASES",
    "LEAST_DISAGREEMENTS",
    "LEAST_READINGS",
    "Agreement",
    "agreement",
    "agreement_on_findings",
    "nominal_alpha",
]

LEAST_CASES = 20
"""Below so many cases read twice nothing is said of α: even where none is disputed, up to 14 % of others may be."""

LEAST_DISAGREEMENTS = 5
"""Below so many disagreements resampling does not know how many there might be, so a bound alone is given."""

LEAST_READINGS = 10
"""Below so many readings of a class its agreement is not stated."""

_THERE, _ABSENT = "there", "absent"
_RESAMPLES = 2000
"""Beyond each end of a 95 % interval lie 50 of them."""
_ERROR = 0.05  # the usual 95 % of intervals and bounds
_MOST_CLASSES_TOLD = 50
"""Two readings of 50 classes fall into 1,275 patterns, whose resamples take 20 MB; patterns grow with the square."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far readers agree.

    Attributes
    ----------
    cases, disagreements
        Cases with two readings or more, and those of them on which not all readings are the same.
    alpha
        Krippendorff's α with its 95 % interval; a lower bound alone where disagreements are few; ``None`` where there
        are too few cases, or nothing but one class was read.
    missing
        How many more cases it takes until α can be stated.
    by_class
        The agreement of each class that was read often enough, as α is stated.
    readings
        How many readings gave each class.
    """

    cases: int
    disagreements: int
    alpha: Interval | None = None
    missing: int = 0
    by_class: Mapping[str, Interval] = field(default_factory=dict)
    readings: Mapping[str, int] = field(default_factory=dict)


def nominal_alpha(counts: NDArray[np.integer], times: NDArray[np.integer] | None = None) -> float | None:
    """Return Krippendorff's α of classes.

    Parameters
    ----------
    counts
        How many readings of each case gave each class, shape (cases, classes). Cases with one reading tell nothing.
    times
        How often each case counts, shape (cases,); once without it.

    Returns
    -------
    float or None
        ``None`` where no two classes were read, so that nobody could disagree.
    """
    paired = counts[counts.sum(axis=1) > 1]
    if not len(paired):
        return None
    weights = np.ones(len(paired), dtype=np.int64) if times is None else times[counts.sum(axis=1) > 1]
    value = _alphas(paired, weights[None, :])[0]
    return None if np.isnan(value) else float(value)


def agreement(cases: Sequence[Sequence[str]], *, seed: int = 0) -> Agreement:
    """Return how far readers agree, as far as the cases carry it.

    Intervals are of the bootstrap over cases (percentiles of 2,000 resamples). Where there are few disagreements,
    resampling shows too narrow a range (none at all without any): then the bound is that of Clopper and Pearson on the
    share of cases in dispute, carried over to α at the frequencies of classes as read.

    Parameters
    ----------
    cases
        The classes that the readers of each case gave. Cases with fewer than two tell nothing and are left out.
    seed
        Of the resamples.
    """
    paired = [tuple(case) for case in cases if len(case) > 1]
    classes = sorted({name for case in paired for name in case})
    patterns = Counter(tuple(case.count(name) for name in classes) for case in paired)
    counts = np.array(list(patterns), dtype=np.int64).reshape(len(patterns), len(classes))
    times = np.array(list(patterns.values()), dtype=np.int64)
    disputed = (counts > 0).sum(axis=1) > 1
    disagreements = int(times[disputed].sum())
    readings = dict(zip(classes, (counts * times[:, None]).sum(axis=0).tolist(), strict=True))
    missing = max(0, LEAST_CASES - len(paired))
    alpha = nominal_alpha(counts, times)
    if missing or alpha is None or len(classes) > _MOST_CLASSES_TOLD:
        return Agreement(len(paired), disagreements, missing=missing, readings=readings)
    drawn = np.random.default_rng(seed).multinomial(len(paired), times / times.sum(), size=_RESAMPLES)
    if disagreements >= LEAST_DISAGREEMENTS:
        stated = _interval(alpha, _alphas(counts, drawn))
    else:
        most = upper_share(disagreements, len(paired), _ERROR)
        observed = disagreements / len(paired)
        # Disputed cases weigh the same where all have two readings; α falls with them in proportion.
        per_dispute = (1 - alpha) / observed if observed else 1 / _expected(counts, times)
        stated = Interval(None, max(-1.0, 1 - per_dispute * most), None)
    by_class = {}
    for column, name in enumerate(classes):
        if readings[name] >= LEAST_READINGS:
            by_class[name] = _of_class(counts, times, drawn, column)
    return Agreement(len(paired), disagreements, stated, 0, by_class, readings)


def agreement_on_findings(cases: Sequence[Sequence[str]], *, seed: int = 0) -> Agreement:
    """Return how far readers agree on labels of several findings.

    α and disputes are of the labels as a whole; by class stands how far they agree that a finding is there, each of the
    cases of which two readers or more say something of it.

    Parameters
    ----------
    cases
        The labels that the readers of each case gave.
    seed
        Of the resamples.
    """
    whole = agreement(cases, seed=seed)
    findings = sorted({name for case in cases for label in case for name in findings_of(label)})
    by_class, readings = {}, {}
    for name in findings:
        told = [[said for label in case if (said := says(label, name)) is not None] for case in cases]
        found = agreement([[_THERE if said else _ABSENT for said in case] for case in told], seed=seed)
        readings[name] = found.readings.get(_THERE, 0)
        if _THERE in found.by_class:
            by_class[name] = found.by_class[_THERE]
    return replace(whole, by_class=by_class, readings=readings)


def _of_class(counts: NDArray[np.int64], times: NDArray[np.int64], drawn: NDArray[np.int64], column: int) -> Interval:
    """Return the agreement on one class: of the readings that gave it, the share whose partners gave it too."""
    own = counts[:, column]
    together = own * (own - 1) / (counts.sum(axis=1) - 1)
    given = int((own * times).sum())
    value = float((together * times).sum() / given)
    mixed = (own > 0) & (own < counts.sum(axis=1))
    if (disputes := int(times[mixed].sum())) < LEAST_DISAGREEMENTS:
        # Each dispute takes one reading of the class out of agreement; the cases in which it was given are the trials.
        named = int(times[own > 0].sum())
        most = upper_share(disputes, named, _ERROR)
        return Interval(None, (1 - most) / (1 - most + most / 2), None)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (drawn @ together) / (drawn @ own)
    return _interval(value, resampled)


def _alphas(counts: NDArray[np.integer], times: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return α of each set of weights, shape (sets,), from patterns of readings (patterns, classes); NaN for none."""
    sizes = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (sizes - 1)
    observed = times @ (sizes - agreeing)
    totals = times @ counts
    readings = totals.sum(axis=1)
    expected = readings.astype(np.float64) ** 2 - (totals.astype(np.float64) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: NDArray[np.float64] = 1 - (readings - 1) * observed / expected
    values[expected == 0] = np.nan
    return values


def _expected(counts: NDArray[np.int64], times: NDArray[np.int64]) -> float:
    """Return the share of pairs of readings from anywhere that differ."""
    totals = (counts * times[:, None]).sum(axis=0).astype(np.float64)
    readings = totals.sum()
    return float((readings**2 - (totals**2).sum()) / (readings * (readings - 1)))


def _interval(estimate: float, resampled: NDArray[np.float64]) -> Interval:
    known = resampled[~np.isnan(resampled)]
    low, high = np.quantile(known, [_ERROR / 2, 1 - _ERROR / 2])
    return Interval(estimate, float(low), float(high))
