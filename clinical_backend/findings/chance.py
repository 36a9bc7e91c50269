"""From a detector's score to the chance that a task of the pool is rare.

A detector learns as if all classes were equally frequent: its score orders, but where one task of fifty is rare it is
far from the chance. That is taken to be a logistic function of the score's logit (Platt, 1999):
logit P(rare | s) = a + b logit s. What is believed of a and b rests on two sources:

- The audit. Each (a, b) implies how many tasks of the pool are rare, and :class:`Remaining` tells how likely that
  number is. While draws are few that says little.
- Labels of the queues: the score that was stored when a task was queued, and the label that came of it. Queues choose
  by the score, so the labels are fair given the score, and no detector had learnt the label that it is set against
  here. Audit draws count above, and are left out.

Every round learns a new detector, whose scores mean something else again. So the weight of a label halves with each 100
labels after it, and a is believed to move from one queue to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.interval import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.findings.remaining import Remaining

__all__ = ["LEAST_COMMON", "LEAST_RARE", "USED", "Calibration", "Judged", "calibrate", "missing_labels"]

USED = 400
"""Latest labels that are looked at; all before them would weigh less than ten new ones."""
LEAST_RARE, LEAST_COMMON = 3, 10
"""Labels from queues before a chance is stated. The first queues find nearly nothing but rare cases, which does not
tell where they end: stated before, chances of .65 came true in half of the cases (docs/findings.md)."""

_HALF_LIFE = 100.0  # labels; 50 and 300 do as well on blood cells and X-rays
_DRIFT = 0.5  # standard deviation of a from queue to queue, so that 95 % intervals hold what queues find
_SLOPE, _SLOPE_DEVIATION = 1.5, 0.5  # of ln b; fitted to whole pools, b was mostly 1 to 3
_SLOPES = np.geomspace(0.3, 6.0, 19)  # about three deviations of ln b to each side, a third of one apart
_OFFSETS = np.linspace(-9.0, 5.0, 71)  # P(rare) at a score of .5 from 1 in 8,000 to .993; closer together than _DRIFT
_LEVEL = 0.95  # the usual 95 % of intervals
_LEAST_SCORE = 1e-4  # keeps logits finite: within ±9.2, as far as the offsets reach
_SAMPLED = 2000  # of the pool's scores, at even ranks: a mean over them is off by about 1 in 2,000 at most
_NEGLIGIBLE = 1e-6  # of the likeliest weight: all 1,349 points of the grid at that would be a thousandth of it


@dataclass(frozen=True, slots=True)
class Judged:
    """Tasks that a queue held for their score, by what their labels say.

    Attributes
    ----------
    scores
        When they were queued, in the order in which they were labelled, shape (n,).
    rare
        Whether each is rare, shape (n,).
    """

    scores: NDArray[np.float64]
    rare: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is believed of a and b, as points with weights that sum to 1, shape (m,) each."""

    offsets: NDArray[np.float64]
    slopes: NDArray[np.float64]
    weights: NDArray[np.float64]

    def chances(self, scores: ArrayLike) -> list[Interval]:
        """Return the chance of each score: what to expect on average (a mean), with the 95 % interval."""
        rows = _sigmoid(self.offsets[:, None] + self.slopes[:, None] * _logit(scores)[None, :])
        order = np.argsort(rows, axis=0)
        ordered, sums = np.take_along_axis(rows, order, axis=0), np.cumsum(self.weights[order], axis=0)
        means = self.weights @ rows
        columns = np.arange(rows.shape[1])
        low, high = (
            ordered[np.minimum((sums < level).sum(axis=0), len(rows) - 1), columns]
            for level in ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2)
        )
        return [
            Interval(*map(float, one))
            for one in zip(means, np.minimum(low, means), np.maximum(high, means), strict=True)
        ]


def missing_labels(rare: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many more rare and common labels from queues it takes until chances are stated."""
    found = int(rare.sum())
    return max(0, LEAST_RARE - found), max(0, LEAST_COMMON - (len(rare) - found))


def calibrate(pool: ArrayLike, left: Remaining, judged: Judged) -> Calibration | None:
    """Learn what scores mean in the pool.

    Parameters
    ----------
    pool
        Scores of all its tasks, n ≥ 1.
    left
        How many of them are rare, as far as the audit tells.
    judged
        Labels from queues, audit draws left out; the latest 400 count.

    Returns
    -------
    Calibration or None
        ``None`` while these labels are too few.
    """
    scores, rare = judged.scores[-USED:], judged.rare[-USED:]
    if any(missing_labels(rare)):
        return None
    offsets, slopes = (grid.ravel() for grid in np.meshgrid(_OFFSETS, _SLOPES, indexing="ij"))
    logarithms = -0.5 * (np.log(slopes / _SLOPE) / _SLOPE_DEVIATION) ** 2 + _log_prior(offsets, slopes, pool, left)
    lines = offsets[:, None] + slopes[:, None] * _logit(scores)[None, :]
    ages = np.arange(len(scores))[::-1]
    logarithms -= np.logaddexp(0.0, np.where(rare, -lines, lines)) @ 0.5 ** (ages / _HALF_LIFE)
    weights = np.exp(logarithms - logarithms.max())
    kept = weights > _NEGLIGIBLE
    nodes, shares = np.polynomial.hermite_e.hermegauss(5)
    spread = np.outer(weights[kept], shares).ravel()
    return Calibration(
        (offsets[kept][:, None] + _DRIFT * nodes).ravel(), np.repeat(slopes[kept], len(nodes)), spread / spread.sum()
    )


def _log_prior(
    offsets: NDArray[np.float64], slopes: NDArray[np.float64], pool: ArrayLike, left: Remaining
) -> NDArray[np.float64]:
    """Return how likely the audit makes the share of rare cases that each (a, b) implies, as a density of a."""
    logits = np.sort(_logit(pool))
    logits = logits[np.linspace(0, len(logits) - 1, min(len(logits), _SAMPLED)).astype(np.intp)]
    believed = _sigmoid(offsets[:, None] + slopes[:, None] * logits[None, :])
    most = int(left.counts[-1])
    density = left.weights / np.diff(np.append(left.counts, most + 1))
    by_share = np.log(np.interp(believed.mean(axis=1) * most, left.counts, density) + 1e-300)
    logarithm: NDArray[np.float64] = by_share + np.log((believed * (1 - believed)).mean(axis=1) + 1e-300)
    return logarithm


def _logit(scores: ArrayLike) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(scores, dtype=np.float64), _LEAST_SCORE, 1 - _LEAST_SCORE)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-values))
    return bounded
