"""Intervals of figures that are made of weighted cases of patients with several cases each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.interval import Interval, lower_share, upper_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["REPLICATIONS", "Resampling", "effective_number", "interval_of_effective_share"]

REPLICATIONS = 1000
"""Beyond each end of a 95 % interval lie 25 of them: as many as Efron and Tibshirani advise for percentiles (An
Introduction to the Bootstrap, 1993, chapter 13)."""
_ERROR = 0.05  # the usual 95 % of intervals
_MOST_UNDEFINED = 0.05
"""Share of the replications without a figure, such as those without a positive case, above which no interval is given:
as large as what the interval leaves out."""
_AT_ONCE = 2**21
"""Numbers of an array: 16 MiB."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """A bootstrap that draws patients, each with all of its cases, as often as there are patients.

    Attributes
    ----------
    seed
        Of the draws: the same cases give the same intervals.
    replications
        How often.
    """

    seed: int = 0
    replications: int = REPLICATIONS

    def intervals(
        self,
        figures: Sequence[Callable[[NDArray[np.float64]], NDArray[np.float64]]],
        weights: NDArray[np.float64],
        patients: NDArray[np.int64],
    ) -> list[Interval]:
        """Return each figure with its 95 % percentile interval, all by the same draws.

        Parameters
        ----------
        figures
            What gives a figure for each set of weights, shape (r, n) to (r,).
        weights
            Of the cases, shape (n,).
        patients
            A number for each case, shape (n,).
        """
        values = np.concatenate(
            [np.stack([figure(drawn) for figure in figures]) for drawn in self._replicates(weights, patients)], axis=1
        )
        estimates = [float(figure(weights[None])[0]) for figure in figures]
        return [_percentiles(estimate, row) for estimate, row in zip(estimates, values, strict=True)]

    def _replicates(self, weights: NDArray[np.float64], patients: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
        numbers, patient_of = np.unique(patients, return_inverse=True)
        generator, count = np.random.default_rng(self.seed), len(numbers)
        rows = max(1, _AT_ONCE // max(len(weights), 1))
        for start in range(0, self.replications, rows):
            sets = min(rows, self.replications - start)
            drawn = generator.integers(0, count, (sets, count)) + count * np.arange(sets)[:, None]
            times = np.bincount(drawn.ravel(), minlength=sets * count).reshape(sets, count)
            yield times[:, patient_of] * weights


def effective_number(hits: NDArray[np.bool_], weights: NDArray[np.float64], patients: NDArray[np.int64]) -> float:
    """Return how many equally weighted cases of different patients would tell as much of a share.

    (Σ w)² / Σ w² for the weights (Kish, Survey Sampling, 1965), over the design effect of the patients: the variance of
    the weighted share by patients over that by cases. It is never taken for less than 1, nor for more than if all cases
    of a patient said the same; where all cases do, nothing tells it, and that is what is taken.

    Parameters
    ----------
    hits
        Shape (n,), of at least one case with a weight.
    weights, patients
        Shape (n,).
    """
    patient_of = np.unique(patients, return_inverse=True)[1]
    total = weights.sum()
    of_cases = float(total**2 / (weights**2).sum())
    of_patients = float(total**2 / (np.bincount(patient_of, weights) ** 2).sum())
    errors = weights * (hits - float(weights @ hits) / total)
    by_cases, by_patients = (errors**2).sum(), (np.bincount(patient_of, errors) ** 2).sum()
    if by_cases <= np.finfo(np.float64).eps * (weights**2).sum():
        return of_patients
    return float(np.clip(of_cases * by_cases / max(by_patients, by_cases), of_patients, of_cases))


def interval_of_effective_share(share: float, number: float) -> Interval:
    """Return a share with its 95 % interval, as if so many cases were counted.

    Clopper and Pearson's interval (1934) for an effective number, as Korn and Graubard have it for surveys (Survey
    Methodology 24, 1998). Unlike a bootstrap's it has a width where all cases say the same.

    Parameters
    ----------
    share
        From 0 to 1.
    number
        As :func:`effective_number` has it, at least 1; it need not be whole.
    """
    hits = share * number
    low, high = (bound(hits, number, _ERROR / 2) for bound in (lower_share, upper_share))
    return Interval(share, min(low, share), max(high, share))


def _percentiles(estimate: float, values: NDArray[np.float64]) -> Interval:
    known = values[~np.isnan(values)]
    if len(known) < (1 - _MOST_UNDEFINED) * len(values):
        return Interval(estimate, None, None)
    low, high = np.quantile(known, [_ERROR / 2, 1 - _ERROR / 2])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))
