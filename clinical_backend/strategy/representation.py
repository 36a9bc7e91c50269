"""Whether adapted features tell the target from the rest better than frozen ones, by the labels at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.classifier.semi_supervised import fit_with_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["adapted_is_better"]

_FOLDS = 3
"""So many are what the fewest rare labels that can judge are split into."""
_POOL_SAMPLE = 500
"""To learn from, and as many to rank among: six trainings then take the same time for a pool of any size."""
_LEAST_RARE = 3
"""Of fewer, a fold would hold out half or all that is known of the target."""


def adapted_is_better(
    rare: tuple[NDArray[np.float32], NDArray[np.float32]],
    common: tuple[NDArray[np.float32], NDArray[np.float32]],
    pool: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    seed: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[bool, str]:
    """Check by the labels at hand whether joined features tell the target apart better than frozen ones.

    By cross-validation over the rare labels: a detector that has not seen a case ranks it against a sample of
    the pool, which needs no label of a common class. The mean logarithm of these ranks decides. Fewer rare
    labels than three cannot judge; the joined features are taken then, since they halve the labels that it
    takes to meet the first rare case, and on no set lost against the frozen ones (docs/finding-power.md).

    Parameters
    ----------
    rare, common, pool
        Frozen and joined features of the query set, of other labelled tasks, and of the pool.
    groups
        A number for each of their tasks: of a patient whose case is held out, nothing is learnt from.

    Returns
    -------
    tuple
        The verdict and its reason, for people.
    """
    if len(rare[0]) < _LEAST_RARE or not len(pool[0]):
        return True, f"{len(rare[0])} rare labels are too few to judge the adapted network"
    generator = np.random.default_rng(seed)
    folds = generator.permutation(len(rare[0])) % min(_FOLDS, len(rare[0]))
    sample = generator.permutation(len(pool[0]))[: 2 * _POOL_SAMPLE]
    learnt, ranked = np.array_split(sample, 2) if len(sample) > 1 else (sample, sample)
    if groups is None:
        groups = _all_apart(*(len(part[0]) for part in (rare, common, pool)))
    else:
        folds = deal_folds(np.zeros(len(rare[0]), dtype=np.intp), _FOLDS, seed, groups[0])
        ranked = ranked[~np.isin(groups[2][ranked], groups[2][learnt])]
    if len(np.unique(folds)) < 2 or not len(ranked):
        return True, "too few patients to judge the adapted network"
    splits = _splits(folds, groups[0], groups[1], groups[2][learnt])
    frozen, joined = (
        _mean_log_rank(rare[which], common[which], pool[which][learnt], pool[which][ranked], splits, seed)
        for which in range(2)
    )
    better = joined < frozen
    verdict = "better" if better else "no better"
    return (
        better,
        f"the adapted network ranks held-out rare cases {verdict} (log rank {joined:.2f}, {frozen:.2f} without)",
    )


def _all_apart(*sizes: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return a number of its own for each task of three parts."""
    first, second, third = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return first, second, third


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
    for out, rare_kept, common_kept, learnt_kept in splits:
        seen, others = rare[rare_kept], common[common_kept]
        codes = np.repeat([0, 1], [len(seen), len(others)])
        classifier = fit_with_pool(
            np.concatenate([seen, others]), codes, ("rare", "common"), learnt[learnt_kept], rare=[0], seed=seed
        )
        held_out = classifier.probabilities(rare[out])[:, 0]
        scores = np.sort(classifier.probabilities(ranked)[:, 0])
        ranks += list(len(scores) - np.searchsorted(scores, held_out, side="right") + 1.0)
    return float(np.mean(np.log(ranks)))
