"""Which of two rankings of the same cases is the better one, and whether that is more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.measures import average_precisions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEAST_CASES", "Comparison", "compare"]

LEAST_CASES = 5
"""Of the rare ones and of the others: with fewer, a resampling has too few different cases to draw from."""

_RESAMPLINGS = 500  # ten of them lie beyond the quantile that decides
_CONFIDENCE = 0.98
"""More than the usual 95 %: resampling the cases leaves out by how much trainings differ by chance."""
_CHUNK = 2_000_000
"""Weights held in memory at a time: 16 MB."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    worse
        Whether the candidate is worse, beyond chance.
    candidate, published
        Average precision of each.
    """

    worse: bool
    candidate: float
    published: float


def compare(
    truth: NDArray[np.bool_], candidate: NDArray[np.float32], published: NDArray[np.float32], *, seed: int
) -> Comparison:
    """Compare two rankings of the same cases by average precision, and tell whether the candidate's is worse.

    Paired bootstrap, of rare and other cases apart: it is worse if it is so in 98 % of the resamplings (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993).

    Parameters
    ----------
    truth
        Which cases are rare, shape (n,); some are, and some are not.
    candidate, published
        P(rare) by either, shape (n,).
    seed
        Of the resamplings.
    """
    once = np.ones((1, len(truth)))
    new, old = (float(average_precisions(truth, scores, once)[0]) for scores in (candidate, published))
    if new >= old:
        return Comparison(False, new, old)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(truth))
    differences = []
    for start in range(0, _RESAMPLINGS, chunk):
        size = min(chunk, _RESAMPLINGS - start)
        weights = np.empty((size, len(truth)))
        for cases in (truth, ~truth):
            count = int(cases.sum())
            weights[:, cases] = generator.multinomial(count, np.full(count, 1 / count), size)
        differences.append(
            average_precisions(truth, candidate, weights) - average_precisions(truth, published, weights)
        )
    return Comparison(bool(np.quantile(np.concatenate(differences), _CONFIDENCE) < 0), new, old)
