"""Whether adapted features tell the target from the rest better than frozen ones, by the labels at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.classifier.linear import one_thread
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.learner.classifier.whitening import half_whitening
from clinical_backend.strategy.groups import group_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.strategy.tasks import Inputs

__all__ = ["adapted_is_better"]

_FOLDS = 3
"""So many are what the fewest rare labels that can judge are split into."""
_POOL_SAMPLE = 500
"""To learn from, and as many to rank among: six trainings then take the same time for a pool of any size."""
_LEAST_RARE = 3
"""Of fewer, a fold would hold out half or all that is known of the target."""


def adapted_is_better(frozen: Inputs, joined: Inputs, *, seed: int) -> tuple[bool, str]:
    """Check by the labels at hand whether joined features tell the target apart better than frozen ones.

    By cross-validation over the rare labels: a detector that has not seen a case ranks it against a sample of
    the pool, which needs no label of a common class. The mean logarithm of these ranks decides. Fewer rare
    labels than three cannot judge; the joined features are taken then, since they halve the labels that it
    takes to meet the first rare case, and on no set lost against the frozen ones (docs/finding-power.md).

    Parameters
    ----------
    frozen, joined
        Features of the same tasks. Of a patient whose case is held out, nothing is learnt from.

    Returns
    -------
    tuple
        The verdict and its reason, for people.
    """
    rare, labelled, pool = frozen.query.tasks, frozen.labelled.tasks, frozen.pool.tasks
    if len(rare) < _LEAST_RARE or not len(pool):
        return True, f"{len(rare)} rare labels are too few to judge the adapted network"
    common = ~np.isin(labelled, rare)
    generator = np.random.default_rng(seed)
    folds = generator.permutation(len(rare)) % min(_FOLDS, len(rare))
    sample = generator.permutation(len(pool))[: 2 * _POOL_SAMPLE]
    learnt, ranked = np.array_split(sample, 2) if len(sample) > 1 else (sample, sample)
    tasks = np.concatenate([rare, labelled[common], pool])
    codes = group_codes(tasks.tolist(), frozen.groups) if frozen.groups else np.arange(len(tasks))
    of_rare, of_common, of_pool = np.split(codes, [len(rare), len(tasks) - len(pool)])
    if frozen.groups:
        folds = deal_folds(np.zeros(len(rare), dtype=np.intp), _FOLDS, seed, of_rare)
        ranked = ranked[~np.isin(of_pool[ranked], of_pool[learnt])]
    if len(np.unique(folds)) < 2 or not len(ranked):
        return True, "too few patients to judge the adapted network"
    splits = _splits(folds, of_rare, of_common, of_pool[learnt])
    without, with_it = (
        _mean_log_rank(
            one.query.features,
            one.labelled.features[common],
            one.pool.features[learnt],
            one.pool.features[ranked],
            splits,
            seed,
        )
        for one in (frozen, joined)
    )
    better = with_it < without
    verdict = "better" if better else "no better"
    return (
        better,
        f"the adapted network ranks held-out rare cases {verdict} (log rank {with_it:.2f}, {without:.2f} without)",
    )


def _splits(folds: NDArray[np.intp], *groups: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], ...]]:
    """Return, fold by fold, which rare cases are held out, and of each part what shares no group with them."""
    outs = [folds == fold for fold in np.unique(folds)]
    return [(out, *(~np.isin(part, groups[0][out]) for part in groups)) for out in outs]


def _mean_log_rank(
    rare: NDArray[np.float32],
    common: NDArray[np.float32],
    learnt: NDArray[np.float32],
    ranked: NDArray[np.float32],
    splits: list[tuple[NDArray[np.bool_], ...]],
    seed: int,
) -> float:
    ranks: list[float] = []
    with one_thread():
        whitening = half_whitening(np.concatenate([rare, common, learnt, ranked]), seed=seed)
    for out, rare_kept, common_kept, learnt_kept in splits:
        seen, others = rare[rare_kept], common[common_kept]
        codes = np.repeat([0, 1], [len(seen), len(others)])
        classifier = PoolExamples.of(
            np.concatenate([seen, others]),
            codes,
            ("rare", "common"),
            learnt[learnt_kept],
            rare=[0],
            seed=seed,
            whitening=whitening,
        ).fit_rare()
        held_out = classifier.probabilities(rare[out])[:, 0]
        scores = np.sort(classifier.probabilities(ranked)[:, 0])
        ranks += list(len(scores) - np.searchsorted(scores, held_out, side="right") + 1.0)
    return float(np.mean(np.log(ranks)))
