"""Folds for cross-validation, and groups that are never split between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["deal_folds"]


def deal_folds(
    indices: NDArray[np.intp], folds: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.intp]:
    """Return the fold of each example, shape (n,), from 0.

    The shuffled examples are dealt out, class after class, so that folds differ by one example of a class at most.
    Groups are dealt out whole, each as a case of its rarest class.

    Parameters
    ----------
    indices
        Class index of each example, shape (n,).
    folds
        How many, at least 1. With fewer groups, some stay empty.
    seed
        Of the shuffle.
    groups
        A number for each example: those of the same number stay together. By default each stands for itself.
    """
    if groups is not None:
        _, group_of = np.unique(groups, return_inverse=True)
        rarest = np.argsort(np.bincount(indices)[indices], kind="stable")
        _, first = np.unique(group_of[rarest], return_index=True)
        dealt: NDArray[np.intp] = deal_folds(indices[rarest][first], folds, seed)[group_of]
        return dealt
    shuffled = np.random.default_rng(seed).permutation(len(indices))
    by_class = shuffled[np.argsort(indices[shuffled], kind="stable")]
    fold_of = np.empty(len(indices), dtype=np.intp)
    fold_of[by_class] = np.arange(len(indices)) % folds
    return fold_of
