"""How many rare cases are left in the pool, from the draws that were made at random.

Every round draws a share of its queue at random from what is unlabelled then, while the rest of the queue depletes
the rare cases. So a draw of an early round and one of a late round are draws from different pools. Both are known
but for one number: with X rare cases left now, the pool of a round held X and those that were found in it since. Its
draws are hypergeometric given X, and the product over the rounds is the likelihood of X (a partial one in the sense
of Cox, 1975: what the rest of the queue found says nothing, lest a model of the ranking be needed).

The prior is p(X) ∝ 1 / (X + 1): all orders of magnitude alike. Intervals are the shortest that hold 95 % of the
posterior. While the draws carry no estimate, a bound is all that is given, and it is to hold whatever the share of rare
cases is: that of the flat prior does, which is nearly the exact bound of Clopper and Pearson. How often all this covers
the truth is simulated in docs/findings.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings.evidence import Evidence
from clinical_backend.findings.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Remaining", "RoundYield", "log_choose", "remaining", "shortest", "spaced_counts"]

_LEVEL = 0.95  # the usual 95 % of intervals and bounds
_EXACT = 1000
_POINTS = 500
"""Every number up to 1,000 counts; the points beyond are 1.4 % apart in a pool of a million, less in a smaller one."""


@dataclass(frozen=True, slots=True)
class RoundYield:
    """What a round's queue found, by the labels of now.

    Attributes
    ----------
    pool
        Unlabelled tasks when the round drew.
    audit_labels, audit_rare
        Of its random draws: those that have a label by now, and the rare ones among them.
    labels, rare
        The same of its whole queue.
    labelled_since, found_since
        Tasks of that pool that have a label by now, however they came by it, and the rare ones among them.
    """

    pool: int
    audit_labels: int
    audit_rare: int
    labels: int
    rare: int
    labelled_since: int
    found_since: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is believed of the number of rare cases left.

    Attributes
    ----------
    counts
        Possible numbers, ascending, shape (n,), int64: all of them up to 1,000, and 500 beyond.
    weights
        Their probabilities, shape (n,); they sum to 1.
    cautious
        The same under the flat prior, for upper bounds.
    evidence
        The random draws that this rests on.
    """

    counts: NDArray[np.int64]
    weights: NDArray[np.float64]
    cautious: NDArray[np.float64]
    evidence: Evidence

    def interval(self) -> Interval | None:
        """Return the median with the shortest interval that holds 95 %, or an upper bound, as the evidence allows."""
        if not self.evidence.carries_estimate:
            return self.bound()
        low, high = self._shortest()
        return Interval(self.quantile(0.5), low, high)

    def bound(self) -> Interval | None:
        """Return the one-sided upper bound of 95 %, below it the median where the evidence carries one."""
        if self.evidence.missing:
            return None
        if not self.evidence.carries_estimate:
            return Interval(None, None, _quantile(self.counts, self.cautious, _LEVEL))
        return Interval(self.quantile(0.5), None, self.quantile(_LEVEL))

    def quantile(self, level: float) -> float:
        """Return the least number that is not exceeded with this probability."""
        return _quantile(self.counts, self.weights, level)

    def draw(self, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return numbers drawn from it, shape (size,)."""
        drawn: NDArray[np.int64] = generator.choice(self.counts, size, p=self.weights)
        return drawn

    def _shortest(self) -> tuple[float, float]:
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        ends = np.searchsorted(sums, sums[:-1] + _LEVEL - 1e-12)
        starts = np.flatnonzero(ends <= len(self.weights))
        lows, highs = self.counts[starts], self.counts[ends[starts] - 1]
        best = int(np.argmin(highs - lows))
        return float(lows[best]), float(highs[best])


def remaining(pool: int, rounds: Iterable[RoundYield]) -> Remaining:
    """Return the posterior of the number of rare cases left.

    Parameters
    ----------
    pool
        Unlabelled tasks now.
    rounds
        Those with labelled random draws; without any, the prior is returned.

    Raises
    ------
    InvalidArgumentError
        When the numbers of a round contradict each other or the pool.
    """
    counts, logarithms = spaced_counts(pool, exact=_EXACT, points=_POINTS)
    draws = rare_draws = 0
    for one in rounds:
        _check(one, pool)
        draws, rare_draws = draws + one.audit_labels, rare_draws + one.audit_rare
        rare = counts + one.found_since
        logarithms += log_choose(rare, one.audit_rare)
        logarithms += log_choose(one.pool - rare, one.audit_labels - one.audit_rare)
    weights, cautious = _normalised(logarithms - np.log(counts + 1.0)), _normalised(logarithms)
    return Remaining(counts, weights, cautious, Evidence(draws, rare_draws))


def spaced_counts(most: int, *, exact: int, points: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return numbers of cases that are asked after, rising from 0, and the logarithm of how many each stands for.

    Parameters
    ----------
    most
        The last of them.
    exact
        Every number up to it is asked after.
    points
        So many are beyond, at even ratios.

    Returns
    -------
    tuple
        The numbers, int64, and the logarithms, float64, shape (n,) each.
    """
    counts = np.arange(min(most, exact) + 1)
    if most > exact:
        counts = np.unique(np.concatenate([counts, np.geomspace(exact + 1, most, points).astype(np.int64)]))
    return counts, np.log(np.diff(np.append(counts, most + 1)).astype(np.float64))


def log_choose(numbers: NDArray[np.int64], chosen: int) -> NDArray[np.float64]:
    """Return in how many ways so many are chosen of each number, shape (n,), but for a common factor; logarithms."""
    found: NDArray[np.float64] = gammaln(numbers + 1.0) - gammaln(numbers - chosen + 1.0)
    return found


def shortest(values: NDArray[np.float64]) -> Interval:
    """Return the median of drawn values with the shortest interval that holds 95 % of them.

    Parameters
    ----------
    values
        Shape (n,), n ≥ 1.
    """
    ordered = np.sort(values)
    held = int(np.ceil(_LEVEL * len(ordered)))
    start = int(np.argmin(ordered[held - 1 :] - ordered[: len(ordered) - held + 1]))
    return Interval(float(np.median(ordered)), float(ordered[start]), float(ordered[start + held - 1]))


def _normalised(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logarithms - logarithms.max())
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _quantile(counts: NDArray[np.int64], weights: NDArray[np.float64], level: float) -> float:
    place = int(np.searchsorted(np.cumsum(weights), level - 1e-12))
    return float(counts[min(place, len(counts) - 1)])


def _check(one: RoundYield, pool: int) -> None:
    common = (one.labels - one.rare, one.audit_labels - one.audit_rare, one.labelled_since - one.found_since)
    agrees = (
        0 <= one.audit_rare <= one.rare <= one.found_since
        and 0 <= common[1] <= common[0] <= common[2]
        and one.pool == pool + one.labelled_since
    )
    if not agrees:
        raise InvalidArgumentError(
            "rounds", "the numbers of a round contradict each other.", "Count them from one state of the ledger."
        )
