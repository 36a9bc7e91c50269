"""A random sample of tasks that takes whole patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.strategy.splits import tied

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

__all__ = ["ClusterSample", "sample_clusters"]


@dataclass(frozen=True, slots=True)
class ClusterSample:
    """What was drawn from what.

    Attributes
    ----------
    drawn
        The tasks that were drawn, in random order.
    tasks, clusters, drawn_clusters
        How many tasks could be drawn, of how many patients, and how many of these were.
    excluded
        Tasks that could not be drawn.
    """

    drawn: tuple[int, ...]
    tasks: int
    clusters: int
    drawn_clusters: int
    excluded: int


def sample_clusters(
    tasks: Sequence[int],
    ties: NDArray[np.int64],
    barred: Collection[int],
    *,
    size: int | None = None,
    share: float = 0.0,
    seed: int,
) -> ClusterSample:
    """Draw whole patients at random, without replacement, until so many tasks are reached.

    Parameters
    ----------
    tasks
        Those that are drawn from, ascending.
    ties
        Pairs of tasks that may not be parted, shape (p, 2): what hangs together is a patient. They may name others.
    barred
        Tasks, of these or others, whose patients may not be drawn.
    size
        How many tasks are wanted; without it, ``share`` says how many patients.
    share
        Of the patients, 0 to 1.
    seed
        The same one draws the same tasks from the same ones.
    """
    out = set(barred)
    clusters = [one for one in tied(sorted(out.union(tasks)), ties) if out.isdisjoint(one)]
    open_ = sum(map(len, clusters))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(clusters)).tolist()
    if size is None:
        chosen = order[: round(share * len(clusters))]
    else:
        reached = np.cumsum([len(clusters[place]) for place in order])
        chosen = order[: int(np.searchsorted(reached, size)) + 1] if size else []
    drawn = [task for place in chosen for task in clusters[place]]
    mixed = generator.permutation(len(drawn)).tolist()
    return ClusterSample(tuple(drawn[place] for place in mixed), open_, len(clusters), len(chosen), len(tasks) - open_)
