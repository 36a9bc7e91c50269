"""Whether one image stands for each task with several, or all of them together: judged by the labels at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.strategy.representation import choose_witnesses
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.strategy.witness import learn_witnesses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.instances import Instances, Witnesses

__all__ = ["COMMON", "SAMPLE", "Bags", "common_tasks", "sampled_tasks"]

SAMPLE = 1000
"""Tasks of the pool that are looked at, to learn from and to rank among, as `choose_representation` does."""
COMMON = 300
"""Common tasks that are learnt from, the last ones: more than a detector takes images of."""
_LEARNT = 400
"""Of the sample, to learn from; with 800 no more of the images that decide were found."""
_SCATTER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio, as in `whitening_of`."""


@dataclass(frozen=True, slots=True)
class Bags:
    """Images of the rare tasks, of common ones, and of a sample of the pool.

    Attributes
    ----------
    rare, common, sample
        The tasks, of which none is twice.
    seed
        Of what is drawn.
    """

    rare: Instances
    common: Instances
    sample: Instances
    seed: int

    def choose(self, pooled: Inputs) -> tuple[Witnesses | None, str]:
        """Return what finds the image that stands for each task; ``None`` where all together do; and why.

        Parameters
        ----------
        pooled
            Features of all images of each task together.
        """
        if not len(self.rare) or not len(self.sample):
            return None, "nothing is known of the target"
        labelled = np.concatenate([self.rare.tasks, self.common.tasks])
        few = replace(
            pooled,
            pool=_among(pooled.pool, self.sample.tasks),
            labelled=_among(pooled.labelled, labelled),
            query=_among(pooled.query, self.rare.tasks),
        ).first_part()  # of joined parts the means alone: a whitening of both takes eight times as long
        one_decides, reason = choose_witnesses(few, lambda out: self._inputs(few, self.learn(out)), seed=self.seed)
        return (self.learn() if one_decides else None), reason

    def learn(self, without: frozenset[int] = frozenset()) -> Witnesses:
        """Learn which image decides, without some rare tasks."""
        kept = ~np.isin(self.rare.tasks, list(without))
        learnt = self.sample.among(np.arange(min(_LEARNT, len(self.sample))))
        return learn_witnesses(self.rare.among(kept), self.common, learnt, seed=self.seed)

    def _inputs(self, few: Inputs, witnesses: Witnesses) -> Inputs:
        """Return the same tasks by the image that stands for each."""
        rows: dict[int, NDArray[np.float32]] = {}
        for part in (self.rare, self.common, self.sample):
            rows.update(zip(part.tasks.tolist(), part.rows[witnesses.of(part)], strict=True))

        def of(tasks: FeaturedTasks) -> FeaturedTasks:
            return FeaturedTasks(tasks.tasks, np.stack([rows[task] for task in tasks.tasks.tolist()]))

        labelled = few.labelled if len(few.labelled) else few.query
        return Inputs("", of(few.pool), of(labelled), of(few.query), few.query.none(), few.groups)


def common_tasks(inputs: Inputs) -> list[int]:
    """Return labelled tasks that are not looked for, and those that are tagged "not like this": the last ones."""
    query = set(inputs.query.tasks.tolist())
    against = [*inputs.labelled.tasks.tolist(), *inputs.counter_exemplars.tasks.tolist()]
    return [task for task in dict.fromkeys(against) if task not in query][-COMMON:]


def sampled_tasks(pool: FeaturedTasks, seed: int) -> list[int]:
    """Return a sample of the pool, in random order: much the same as in the rounds before."""
    with np.errstate(over="ignore"):
        keys = (pool.tasks.astype(np.uint64) + np.uint64(seed)) * _SCATTER
    return [int(task) for task in pool.tasks[np.argsort(keys, kind="stable")[:SAMPLE]]]


def _among(tasks: FeaturedTasks, wanted: NDArray[np.int64] | Sequence[int]) -> FeaturedTasks:
    kept = np.isin(tasks.tasks, wanted)
    return FeaturedTasks(tasks.tasks[kept], tasks.features[kept], tasks.parts)
