"""Which tasks are looked at to learn which image of a task decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

__all__ = ["common_tasks", "sampled_tasks"]

_SAMPLE = 800
"""Of the pool: as fine as one in 800 are the ranks by which images are chosen."""
_COMMON = 300
"""Common tasks that are learnt from, the last ones: more than a detector takes images of."""
_SCATTER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio, as in `whitening_of`."""


def common_tasks(inputs: Inputs) -> list[int]:
    """Return labelled tasks that are not looked for, and those that are tagged "not like this": the last ones."""
    query = set(inputs.query.tasks.tolist())
    against = [*inputs.labelled.tasks.tolist(), *inputs.counter_exemplars.tasks.tolist()]
    return [task for task in dict.fromkeys(against) if task not in query][-_COMMON:]


def sampled_tasks(pool: FeaturedTasks, seed: int) -> list[int]:
    """Return a sample of the pool, in random order: much the same as in the rounds before."""
    with np.errstate(over="ignore"):
        keys = (pool.tasks.astype(np.uint64) + np.uint64(seed)) * _SCATTER
    return [int(task) for task in pool.tasks[np.argsort(keys, kind="stable")[:_SAMPLE]]]
