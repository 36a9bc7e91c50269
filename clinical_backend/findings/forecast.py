"""How many labels it takes until most of the rare cases are found.

The model is a biased urn (Wallenius, 1963): the queue meets each rare case of the pool ω times as readily as each
common one, and will go on so. It is the same as a race in which the rare cases arrive at the rate ω and the common
ones at the rate 1: so the time at which the m-th of X rare cases arrives is that of an order statistic, and the
common ones that arrived before it are binomial. The number X is drawn from what the audit says of it, and ω from its
likelihood under that X, given the labels of late, with a flat prior on its logarithm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.remaining import shortest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.interval import Interval
    from clinical_backend.findings.remaining import Remaining, RoundYield

__all__ = ["labels_to_share"]

_DRAWS = 1000
"""Beyond each end of a 95 % interval lie 25 of them."""
_RECENT = 500
"""Labels that tell how well the queue finds: two to three default queues, since that changes; not measured."""
_PREFERENCES = np.geomspace(0.1, 300.0, 50)
"""18 % apart, well beyond the 42 times random order that a queue reached (docs/earlier-experiments.md)."""


def labels_to_share(
    left: Remaining, rounds: Sequence[RoundYield], *, found: int, pool: int, share: float = 0.9, seed: int = 0
) -> Interval | None:
    """Return how many further labels it takes until this share of all rare cases is found.

    Parameters
    ----------
    left
        Rare cases in the pool.
    rounds
        Oldest first; the newest that make up 500 labels tell how well the queue finds.
    found
        Rare cases found so far.
    pool
        Tasks without a label.
    share
        In (0, 1].
    seed
        Of the draws.

    Returns
    -------
    Interval or None
        A prediction interval: where the number itself will lie, not its mean. ``None`` where the evidence carries no
        estimate of what is left: a bound would be nearly the whole pool (docs/findings.md).
    """
    if not left.evidence.carries_estimate:
        return None
    generator = np.random.default_rng(seed)
    cases = left.draw(_DRAWS, generator)
    needed = np.ceil(share * (found + cases) - 1e-9).astype(np.int64) - found
    preferences = _draw_preferences(cases, rounds, generator)
    labels = np.zeros(_DRAWS)
    open_ = needed > 0
    rare, m = cases[open_], needed[open_]
    # The m-th of so many uniform numbers is beta distributed; the logarithm makes arrival times of it.
    arrived = np.minimum(generator.beta(m, rare - m + 1), 1 - 1e-15)
    commons = -np.expm1(np.log1p(-arrived) / preferences[open_])
    labels[open_] = m + generator.binomial(pool - rare, commons)
    return shortest(labels)


def _draw_preferences(
    cases: NDArray[np.int64], rounds: Sequence[RoundYield], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw ω for each number of rare cases left, shape (n,)."""
    possible, case_of = np.unique(cases, return_inverse=True)
    logarithms = np.zeros((len(possible), len(_PREFERENCES)))
    labels = 0
    for one in reversed(rounds):
        if labels >= _RECENT:
            break
        labels += one.labels
        rare = np.maximum(possible + one.found_since - one.rare / 2, 1e-9)[:, None]  # in the middle of its labels
        common = np.maximum(one.pool - one.labels / 2 - rare, 0.5)
        logarithms += one.rare * np.log(_PREFERENCES) - one.labels * np.log(_PREFERENCES * rare + common)
    weights = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    sums = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    places = (generator.random(len(cases))[:, None] > sums[case_of]).sum(axis=1)
    drawn: NDArray[np.float64] = _PREFERENCES[np.minimum(places, len(_PREFERENCES) - 1)]
    return drawn
