"""Which features a round works with: frozen ones, those joined with the adapted network's, or both together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.strategy.groups import group_codes
from clinical_backend.strategy.kept_whitening import whitening_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.strategy.tasks import Inputs

__all__ = ["choose_representation"]

_FOLDS = 3
"""So many are what the fewest rare labels that can judge are split into."""
_POOL_SAMPLE = 500
"""To learn from, and as many to rank among: six trainings then take the same time for a pool of any size."""
_LEAST_RARE = 3
"""Of fewer, a fold would hold out half or all that is known of the target."""


def choose_representation(frozen: Inputs, joined: Inputs, *, seed: int) -> tuple[Inputs, str]:
    """Choose by the labels at hand: both together, unless one is better alone by more than a standard error.

    By cross-validation over the rare labels: a detector that has not seen a case ranks it against a sample of the pool,
    which needs no label of a common class. The mean logarithm of these ranks decides, and the standard error of the
    differences case by case (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3). *Both* is the mean of the two
    detectors' log-odds: it rarely finds less than the better of them, which a choice by few labels often misses
    (docs/finding-power.md). Fewer rare labels than three cannot judge.

    Parameters
    ----------
    frozen, joined
        Features of the same tasks. Of a patient whose case is held out, nothing is learnt from.

    Returns
    -------
    tuple
        What to work with and the reason, for people.
    """
    both = joined.both()
    rare, labelled, pool = frozen.query.tasks, frozen.labelled.tasks, frozen.pool.tasks
    if len(rare) < _LEAST_RARE or not len(pool):
        return both, f"frozen and adapted: {len(rare)} rare labels are too few to judge the adapted network"
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
    splits = _splits(folds, of_rare, of_common, of_pool[learnt])
    if len(splits) < 2 or not len(ranked) or not all(learnt_kept.any() for *_, learnt_kept in splits):
        return both, "frozen and adapted: too few patients to judge the adapted network"
    alone, with_it = (_held_out_scores(one, common, learnt, ranked, splits, seed) for one in (frozen, joined))
    held_out = [int(out.sum()) for out, *_ in splits]
    without, mean, full = (
        _log_ranks(scores, held_out)
        for scores in (alone, [(one + other) / 2 for one, other in zip(alone, with_it, strict=True)], with_it)
    )
    figures = f"log rank of held-out rare cases {full.mean():.2f}, {without.mean():.2f} without it"
    if _is_lower(without, mean):
        return frozen, f"frozen: the adapted network ranks worse ({figures})"
    if _is_lower(full, mean):
        return joined, f"frozen and adapted: the adapted network ranks better ({figures})"
    return both, f"frozen and adapted, and frozen alone, on average: neither is better beyond chance ({figures})"


def _is_lower(ranks: NDArray[np.float64], than: NDArray[np.float64]) -> bool:
    """Tell whether logarithms of ranks are lower than others, case by case, by more than a standard error.

    Where a single case differs, the mean is the standard error, and tells nothing.
    """
    differences = than - ranks
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > error and not np.isclose(differences.mean(), error))


def _splits(folds: NDArray[np.intp], *groups: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], ...]]:
    """Return, fold by fold, which rare cases are held out, and of each part what shares no group with them."""
    outs = [folds == fold for fold in np.unique(folds)]
    return [(out, *(~np.isin(part, groups[0][out]) for part in groups)) for out in outs]


def _held_out_scores(
    inputs: Inputs,
    common: NDArray[np.bool_],
    learnt: NDArray[np.int64],
    ranked: NDArray[np.int64],
    splits: list[tuple[NDArray[np.bool_], ...]],
    seed: int,
) -> list[NDArray[np.float64]]:
    """Return, fold by fold, the log-odds of the images to rank among, and behind them of the held-out rare cases."""
    whitening = whitening_of([inputs.pool, inputs.labelled, inputs.query])
    rare, commons, pool = inputs.query.features, inputs.labelled.features[common], inputs.pool.features
    scores = []
    for out, rare_kept, common_kept, learnt_kept in splits:
        seen, others = rare[rare_kept], commons[common_kept]
        codes = np.repeat([0, 1], [len(seen), len(others)])
        examples = PoolExamples.of(
            np.concatenate([seen, others]), codes, ("rare", "common"), pool[learnt][learnt_kept], rare=[0], seed=seed
        )
        logits = examples.fit(whitening).logits(np.concatenate([pool[ranked], rare[out]])).astype(np.float64)
        scores.append(logits[:, 0] - np.max(logits[:, 1:], axis=1))
    return scores


def _log_ranks(scores: list[NDArray[np.float64]], rare: list[int]) -> NDArray[np.float64]:
    """Return the logarithm of each held-out case's rank among the images of the pool."""
    ranks: list[NDArray[np.int64]] = []
    for of_fold, count in zip(scores, rare, strict=True):
        pool, held_out = of_fold[: len(of_fold) - count], of_fold[len(of_fold) - count :]
        ranks.append(len(pool) - np.searchsorted(np.sort(pool), held_out, side="right") + 1)
    logarithms: NDArray[np.float64] = np.log(np.concatenate(ranks).astype(np.float64))
    return logarithms
