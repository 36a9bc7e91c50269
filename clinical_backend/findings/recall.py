"""Whether enough of the rare cases is found, by a bound that holds however often somebody looks.

The rare cases of all tasks are R, found or not: a number that stays. Round after round draws at random from a pool that
holds R less what was found before it, so that R fixes how likely its draws were. Against each R stands a bet: that the
next draws come as a mixture of smaller numbers would have them, each by its likelihood so far and by 1 / (what it
leaves in the pool + what was found lately + 1), since a queue that still finds many leaves some. If R is true, what the
bets win is fair whatever is sought between and whenever one stops: it grows beyond 1 / error in at most that share of
projects (Ville's inequality). So R is refuted once its bet has won so much, and the greatest number that is not refuted
bounds the rare cases, at all looks together. It is a confidence sequence for sampling without replacement
(Waudby-Smith and Ramdas, NeurIPS 2020), one-sided, with predictable mixtures.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.evidence import LEAST_LABELS, MOST_UNCOVERED
from clinical_backend.findings.remaining import log_choose, spaced_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from clinical_backend.findings.remaining import RoundYield

__all__ = ["CONFIDENCE", "Recall", "RecallState", "TotalBound", "judge_recall", "likely_enough", "spared_at"]

CONFIDENCE = 0.95
"""The usual one; of several findings all together."""
_EXACT = 2000
_POINTS = 500
"""Every number of rare cases up to 2,000 is asked after; beyond, numbers 1.3 % apart in a project of a million."""
_SAFE = 0.5
"""Of what may be left. Where no more is likely to be left, random draws prove it with the fewest labels: among 1, 1/2,
1/4 and 1/10, by simulated projects of 5 and 10 % rare cases (docs/handover.md)."""
_NOT_REFUTED = -1e-9


class RecallState(StrEnum):
    """Whether the recall that was asked for is reached."""

    REACHED = "reached"
    NOT_YET = "not yet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of the rare cases is found for sure.

    Attributes
    ----------
    state
        Whether the recall is reached.
    target
        The recall that was asked for.
    found, most
        Rare cases found, and how many there are at most, found or not; ``None`` where that cannot be said.
    spared
        So many may be left in the pool at the recall.
    draws
        Further labels of random draws after which it is reached if none of them is rare; ``None`` where not even all of
        the pool would do, or nothing can be said.
    left
        Rare cases that are likely to be left in the pool (median).
    pool
        Tasks without a label: with all of them read it is reached for certain.
    patients
        Patients, or studies, of the cases found; ``None`` where none are told apart.
    uncovered
        Tasks that came after the draws, or whose image is not read, of which all this says nothing.
    missing
        Labels of random draws that are missing until anything can be said.
    """

    state: RecallState
    target: float
    found: int = 0
    most: int | None = None
    spared: int = 0
    draws: int | None = None
    left: int = 0
    pool: int = 0
    patients: int | None = None
    uncovered: int = 0
    missing: int = 0

    @property
    def least(self) -> float | None:
        """The recall that is reached at least, with the confidence."""
        return None if not self.most else self.found / self.most

    @property
    def most_patients(self) -> int | None:
        """How many patients with such cases there are at most: each that is not found has one in the pool."""
        return None if self.patients is None or self.most is None else self.patients + self.most - self.found

    @property
    def needs_queue(self) -> bool:
        """Whether too much is likely to be left: then the queue goes on, and else more random draws prove it."""
        return self.state is RecallState.NOT_YET and not likely_enough(self.left, self.spared)


class TotalBound:
    """Which numbers of rare cases the random draws refute.

    Parameters
    ----------
    tasks
        All tasks.
    error
        Probability with which it may err, over all looks together.
    """

    def __init__(self, tasks: int, error: float) -> None:
        self._totals, self._widths = spaced_counts(tasks, exact=_EXACT, points=_POINTS)
        self._likelihood = np.zeros(len(self._totals))
        self._won = np.zeros(len(self._totals))
        self._most_won = np.zeros(len(self._totals))
        self._enough = -math.log(error)
        self._lately: deque[tuple[int, int]] = deque()
        """Of the rounds that hold the last random draws: their number, and the rare cases labelled before."""

    def add(self, *, before: int, pool: int, draws: int, rare: int) -> None:
        """Take the random draws of the next round in.

        Parameters
        ----------
        before
            Rare cases that were labelled before it drew.
        pool
            Unlabelled tasks then.
        draws, rare
            Its random draws with a label, and the rare ones among them.
        """
        won, chances = self._bets(before, pool, draws, rare)
        self._lately.append((draws, before))
        while sum(count for count, _ in self._lately) - self._lately[0][0] >= LEAST_LABELS:
            self._lately.popleft()
        self._won = self._won + won
        self._likelihood = self._likelihood + chances
        self._most_won = np.maximum(self._most_won, self._won)

    def most(self, found: int) -> int:
        """Return how many rare cases there are at most, given how many were found."""
        return self._most(self._most_won, found)

    def likely_left(self, found: int) -> int:
        """Return how many rare cases are likely to be left, given how many were found (median)."""
        left = self._totals - found
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(left >= 0, self._likelihood + self._widths - np.log(left + 1.0), -np.inf)
        sums = np.logaddexp.accumulate(weights)
        return int(left[np.searchsorted(sums, sums[-1] + math.log(0.5))])

    def draws_to(self, most: int, *, found: int, pool: int) -> int | None:
        """Return how many further draws without a rare case it takes until there are so many at most.

        Parameters
        ----------
        most
            At least ``found``.
        found
            Rare cases found.
        pool
            Unlabelled tasks.
        """

        def bound(draws: int) -> int:
            won, _ = self._bets(found, pool, draws, 0)
            return self._most(np.maximum(self._most_won, self._won + won), found)

        if bound(pool) > most:
            return None
        low, high = 0, pool
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if bound(middle) <= most else (middle + 1, high)
        return low

    def _bets(self, before: int, pool: int, draws: int, rare: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the bet against each total wins by some draws, and how likely it makes them; logarithms."""
        left = self._totals - before
        lately = before - self._lately[0][1] if self._lately else 0
        chances = _log_chances(left, pool, draws, rare)
        with np.errstate(invalid="ignore", divide="ignore"):
            stakes = np.where(left >= 0, self._likelihood + self._widths - np.log(left + 1.0 + lately), -np.inf)
            smaller = np.logaddexp.accumulate(stakes + chances) - np.logaddexp.accumulate(stakes)
            won = smaller - chances
        # What is impossible by what was found or drawn is refuted for good.
        return np.where(np.isneginf(chances) | np.isneginf(self._likelihood), np.inf, won), chances

    def _most(self, won: NDArray[np.float64], found: int) -> int:
        standing = np.flatnonzero((won - self._enough < _NOT_REFUTED) & (self._totals >= found))
        if not len(standing):
            return found
        last = int(standing[-1])
        # Of numbers that are asked after from step to step, those up to the next one may stand as well.
        following = last + 1
        return int(self._totals[following]) - 1 if following < len(self._totals) else int(self._totals[last])


def judge_recall(
    rounds: Iterable[RoundYield],
    *,
    found: int,
    tasks: int,
    pool: int,
    target: float,
    together: int = 1,
    uncovered: int = 0,
) -> Recall:
    """Return whether a recall is reached, with the confidence of 95 % at all looks together.

    Parameters
    ----------
    rounds
        Those with random draws, oldest first.
    found
        Rare cases with a label.
    tasks, pool
        All tasks, and those without a label.
    target
        The recall, in (0, 1).
    together
        Of so many findings each is judged, so that all are right together (Bonferroni).
    uncovered
        Tasks beside these, of which nothing is known; of more than 5 % of them nothing is said of the others either.
    """
    spared = spared_at(target, found)
    bound = TotalBound(tasks, (1 - CONFIDENCE) / together)
    drawing = [one for one in rounds if one.audit_labels]
    for one in drawing:
        bound.add(before=found - one.found_since, pool=one.pool, draws=one.audit_labels, rare=one.audit_rare)
    missing = max(0, LEAST_LABELS - sum(one.audit_labels for one in drawing)) if pool else 0
    if not found or missing or uncovered > MOST_UNCOVERED * (tasks + uncovered):
        return Recall(RecallState.UNKNOWN, target, found, pool=pool, uncovered=uncovered, missing=missing)
    most = min(bound.most(found), found + pool)
    left = bound.likely_left(found)
    if most <= found + spared:
        return Recall(RecallState.REACHED, target, found, most, spared, 0, left, pool, uncovered=uncovered)
    draws = bound.draws_to(found + spared, found=found, pool=pool)
    return Recall(RecallState.NOT_YET, target, found, most, spared, draws, left, pool, uncovered=uncovered)


def likely_enough(left: int, spared: int) -> bool:
    """Tell whether so little is likely to be left that random draws prove it more cheaply than the queue goes on."""
    return left <= _SAFE * spared


def spared_at(target: float, found: int) -> int:
    """Return how many rare cases may be left at a recall, given how many were found."""
    return math.floor(found / target + 1e-9) - found


def _log_chances(left: NDArray[np.int64], pool: int, draws: int, rare: int) -> NDArray[np.float64]:
    """Return how likely draws are for each number of rare cases in the pool, but for a common factor; logarithms."""
    common = pool - left
    possible = (left >= rare) & (common >= draws - rare)
    one, other = np.where(possible, left, rare), np.where(possible, common, draws - rare)
    return np.where(possible, log_choose(one, rare) + log_choose(other, draws - rare), -np.inf)
