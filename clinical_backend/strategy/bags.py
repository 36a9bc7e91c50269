"""Which tasks are looked at to learn which image of a task decides, and what readers said of their images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.multilabel import says

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from clinical_backend.strategy.instances import Instances
    from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

__all__ = ["SaidOfImages", "common_tasks", "sampled_tasks"]

_SAMPLE = 800
"""Of the pool: as fine as one in 800 are the ranks by which images are chosen."""
_COMMON = 300
"""Common tasks that are learnt from, the last ones: more than a detector takes images of."""
_SCATTER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio, as in `whitening_of`."""


@dataclass(frozen=True, slots=True)
class SaidOfImages:
    """What readers said of single images.

    Attributes
    ----------
    labels
        Label of an image by its place, by task.
    tagged
        Places of the images that stand for what is looked for, by task.
    """

    labels: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    tagged: Mapping[int, Collection[int]] = field(default_factory=dict)

    def of(self, instances: Instances, target: Collection[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which images show something of the target, and which show nothing of it; shape (m,) each.

        Of many neither is known. An image that is tagged shows it, unless its label says that it does not.
        """
        shows, lacks = (np.zeros(len(instances.rows), dtype=np.bool_) for _ in range(2))
        if not self.labels and not self.tagged:
            return shows, lacks
        owners = np.repeat(instances.tasks, instances.counts)
        for row, (task, place) in enumerate(zip(owners.tolist(), instances.positions.tolist(), strict=True)):
            label = self.labels.get(task, {}).get(place)
            said = [] if label is None else [says(label, name) for name in target]
            lacks[row] = bool(said) and all(one is False for one in said)
            shows[row] = True in said or (not lacks[row] and place in self.tagged.get(task, ()))
        return shows, lacks


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
