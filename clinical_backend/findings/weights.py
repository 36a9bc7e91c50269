"""Weights that undo the targeted sampling, as far as the random draws allow it.

Every round draws n of the N tasks that are unlabelled then at random. Whatever the rest of the queue prefers, the
labels that were there before, and N / n times the labels of these draws, add up to the total over all tasks on average.
Each round gives such an estimate, and the error of one tells nothing of that of the next (it is a martingale), so a
mean of them has the sum of their variances: each counts in inverse proportion to its own, n / (N (N - n)), as if tasks
varied alike in all rounds. What a task counts in this mean is its weight; the weights add up to the number of tasks.
For one draw a round it is the estimator of Des Raj (1956), and that of Farquhar, Gal and Rainforth (ICLR 2021) for
learners that choose what they learn from; docs/handover.md has the derivation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings.evidence import LEAST_LABELS, LEAST_RARE
from clinical_backend.findings.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["DrawnRound", "SampledLabels", "mean_of_shares"]

LEAST_DRAWS = LEAST_RARE
"""Random draws of some tasks, such as the rare ones, from which on something is said of a share of them: as many as an
estimate of the rare cases needs. With fewer, the interval is nearly the whole of 0 to 1."""
_TAIL = 0.975  # of the usual two-sided 95 %
_HALVINGS = 40
"""An end of an interval is known to 1e-12 then."""


@dataclass(frozen=True, slots=True)
class DrawnRound:
    """A round whose random draws count.

    Attributes
    ----------
    number
        Of the round.
    pool
        Unlabelled tasks when it drew.
    draws
        Of its random draws those that have a label by now, at least 1.
    """

    number: int
    pool: int
    draws: int


@dataclass(frozen=True)
class SampledLabels:
    """Labelled tasks, by how they came to be labelled.

    Attributes
    ----------
    entered
        The round whose queue readers had when each was labelled, shape (n,); 0 before any.
    drawn
        Which of them are random draws of that round, shape (n,).
    rounds
        Those whose draws count, ascending by number.

    Raises
    ------
    InvalidArgumentError
        When a round has other draws than the labels say, or more than its pool, or the pools are not of one project.
    """

    entered: NDArray[np.int64]
    drawn: NDArray[np.bool_]
    rounds: Sequence[DrawnRound]

    def __post_init__(self) -> None:
        counts = np.bincount(self._own_round[self.counted], minlength=len(self.rounds)).tolist()
        totals = self.before(np.ones(len(self.entered), dtype=np.bool_)) + [one.pool for one in self.rounds]
        agree = counts == [one.draws for one in self.rounds] and len(set(totals.tolist())) <= 1
        if not agree or any(not 0 < one.draws <= one.pool for one in self.rounds):
            raise InvalidArgumentError(
                "rounds", "the numbers of a round contradict each other.", "Count them from one state of the ledger."
            )

    @property
    def missing(self) -> int:
        """How many more random draws it takes until anything can be said."""
        return max(0, LEAST_LABELS - sum(one.draws for one in self.rounds))

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """How many tasks each of them stands for, shape (n,); ``None`` where there are too few random draws to say."""
        if self.missing:
            return None
        # What was labelled before a round counts in it; of rounds with rising numbers these are the last ones.
        found: NDArray[np.float64] = np.append(self.parts[::-1].cumsum()[::-1], 0.0)[self._own_round + 1]
        stand_for = self.parts * (self.pools / self.draws)
        found[self.counted] += stand_for[self._own_round[self.counted]]
        return found

    def share(self, hits: NDArray[np.bool_], of: NDArray[np.bool_] | None = None) -> Interval | None:
        """Return which share of some tasks, labelled or not, are hits, with its 95 % interval.

        The interval holds what the draws do not refute, as Wilson's (1927): for each share that is asked after, the
        number of hits in the pool of each round follows, and so does how far chance makes its draws stray.

        Parameters
        ----------
        hits
            Which of the labelled tasks are hits, shape (n,).
        of
            Which belong to those tasks, the hits among them, shape (n,); all by default, as for a prevalence.

        Returns
        -------
        Interval or None
            ``None`` where there are too few random draws to say anything.
        """
        weights = self.weights
        domain = np.ones(len(hits), dtype=np.bool_) if of is None else of
        if weights is None or int((domain & self.counted).sum()) < LEAST_DRAWS:
            return None
        question = _Question(self, weights, hits & domain, domain, everything=of is None)
        return Interval(question.estimate, *question.ends())

    def before(self, some: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of some tasks, shape (n,), were labelled before each round drew, shape (rounds,)."""
        counts = np.bincount(self._own_round[some] + 1, minlength=len(self.rounds) + 1)
        return counts.cumsum()[:-1]

    @cached_property
    def parts(self) -> NDArray[np.float64]:
        """How much each round's estimate counts, shape (rounds,)."""
        # A round that drew its whole pool knows the total: half a task left keeps its share finite.
        precisions = self.draws / (self.pools * np.maximum(self.pools - self.draws, 0.5))
        parts: NDArray[np.float64] = precisions / precisions.sum()
        return parts

    @cached_property
    def pools(self) -> NDArray[np.float64]:
        """Unlabelled tasks when each round drew, shape (rounds,)."""
        return np.array([one.pool for one in self.rounds], dtype=np.float64)

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """Random draws of each round that have a label, shape (rounds,)."""
        return np.array([one.draws for one in self.rounds], dtype=np.float64)

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Which are random draws that count, shape (n,)."""
        numbers = np.array([-1, *(one.number for one in self.rounds)])
        counted: NDArray[np.bool_] = self.drawn & (numbers[self._own_round + 1] == self.entered)
        return counted

    @cached_property
    def _own_round(self) -> NDArray[np.int64]:
        """Place of the latest round that had drawn when each was labelled, shape (n,); −1 before the first."""
        numbers = [one.number for one in self.rounds]
        places: NDArray[np.int64] = np.searchsorted(numbers, self.entered, side="right") - 1
        return places


class _Question:
    """What share of some tasks are hits."""

    def __init__(
        self,
        labels: SampledLabels,
        weights: NDArray[np.float64],
        hits: NDArray[np.bool_],
        domain: NDArray[np.bool_],
        *,
        everything: bool,
    ) -> None:
        self._hits, self._cases = float(weights[hits].sum()), float(weights[domain].sum())
        misses = domain & ~hits
        self._hits_before, self._misses_before = labels.before(hits), labels.before(misses)
        self._hits_since, self._misses_since = hits.sum() - self._hits_before, misses.sum() - self._misses_before
        # How many of the tasks each pool held is known of all tasks alone, and else estimated from the draws.
        told = (domain & labels.counted).sum()
        self._deviations = float(ndtri(_TAIL) if everything else stdtrit(told, _TAIL))
        self._pools = labels.pools
        self._factors = labels.parts**2 * labels.pools * (labels.pools - labels.draws) / labels.draws
        tasks = float(weights.sum())
        # What was found is there: of all tasks, the share cannot be below it.
        self._least = float(hits.sum()) / tasks if everything else 0.0
        self._most = 1 - float((~hits).sum()) / tasks if everything else 1.0

    @property
    def estimate(self) -> float:
        """The weighted share."""
        return float(np.clip(self._hits / self._cases, self._least, self._most))

    def ends(self) -> tuple[float, float]:
        """Return the ends of the interval."""
        low, high = self._end(self._least), self._end(self._most)
        return min(low, self.estimate), max(high, self.estimate)  # which rounding may put beside it

    def _end(self, outside: float) -> float:
        if not self._refuted(outside):
            return outside
        inside = self.estimate
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if self._refuted(middle) else (middle, outside)
        return outside

    def _refuted(self, share: float) -> bool:
        error = abs(self._hits - share * self._cases)
        return error > self._deviations * math.sqrt(self._variance(share))

    def _variance(self, share: float) -> float:
        """Return the variance of the weighted sum of (hit − share) over the tasks, if this is their share."""
        hits = np.clip(share * self._cases - self._hits_before, self._hits_since, self._pools - self._misses_since)
        misses = (1 - share) * self._cases - self._misses_before
        misses = np.clip(misses, self._misses_since, self._pools - hits)
        sums = hits * (1 - share) - misses * share
        squares = hits * (1 - share) ** 2 + misses * share**2
        spreads = (squares - sums**2 / self._pools) / np.maximum(self._pools - 1, 1)
        return float((self._factors * spreads).sum())


def mean_of_shares(shares: Sequence[Interval]) -> Interval:
    """Return the mean of some shares of different tasks, such as sensitivity and specificity, with its 95 % interval.

    Ends are those of the shares, brought together as errors that tell nothing of each other (MOVER; Zou and Donner,
    Statistics in Medicine 27, 2008).

    Parameters
    ----------
    shares
        With both ends and an estimate, at least one.
    """
    values = np.array([(one.estimate, one.low, one.high) for one in shares], dtype=np.float64)
    mean = float(values[:, 0].mean())
    down, up = (float(np.sqrt(((values[:, 0] - values[:, end]) ** 2).sum())) / len(values) for end in (1, 2))
    return Interval(mean, max(0.0, mean - down), min(1.0, mean + up))
