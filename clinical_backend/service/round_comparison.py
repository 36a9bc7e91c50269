"""Two rounds beside each other: what each was learnt from, how good its model is, and how their queues differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from clinical_backend.multilabel import says
from clinical_backend.service.judged_labels import read_judged_labels

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["ClassComparison", "RoundComparison", "compare_rounds"]

_CHANCE = 0.05
"""Below this probability under equal models, a difference is not put down to chance."""


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """How two models call a class or finding, on the labels that judged both.

    Attributes
    ----------
    name
        The class or finding.
    present
        Labels that have it.
    first, second
        How many of them each model calls so.
    gained, lost
        Of all labels, also those without it: what the second model alone gets right, and what the first alone does.
    """

    name: str
    present: int
    first: int
    second: int
    gained: int
    lost: int

    @property
    def is_beyond_chance(self) -> bool:
        """Whether two models that are equally good would rarely differ so (McNemar's exact test)."""
        differ = self.gained + self.lost
        return differ > 0 and 2 * float(bdtr(min(self.gained, self.lost), differ, 0.5)) < _CHANCE


@dataclass(frozen=True, slots=True)
class RoundComparison:
    """Two rounds beside each other.

    Attributes
    ----------
    first, second
        The rounds.
    queues
        How many tasks each queue had.
    shared
        Tasks that both had.
    judged
        Labels that judged both models, which had seen none of them; 0 where one of the models is not kept.
    classes
        How both call each class or finding that both know.
    gained, lost
        Tasks that the second model alone calls right, and that the first alone does; some of them.
    """

    first: Round
    second: Round
    queues: tuple[int, int]
    shared: int
    judged: int
    classes: tuple[ClassComparison, ...]
    gained: tuple[int, ...]
    lost: tuple[int, ...]


def compare_rounds(project: ProjectWorkspace, first: Round, second: Round, *, shown: int = 24) -> RoundComparison:
    """Compare two rounds of a project by what is kept of them.

    Parameters
    ----------
    first, second
        The rounds, whose queues were published.
    shown
        How many tasks that changed are named at most, of either kind.
    """
    queues = [{row.task_id for row in project.stores.rounds.queue(one.id)} for one in (first, second)]
    sizes = len(queues[0]), len(queues[1])
    judged = [read_judged_labels(project, one) for one in (first, second)]
    before, after = judged
    if before is None or after is None:
        return RoundComparison(first, second, sizes, len(queues[0] & queues[1]), 0, (), (), ())
    tasks, left, right = np.intersect1d(before.tasks, after.tasks, return_indices=True)
    labels = [before.labels[place] for place in left]
    names = [name for name in after.classes if name in before.classes]
    classes, whole_before, whole_after = [], np.ones(len(tasks), dtype=bool), np.ones(len(tasks), dtype=bool)
    for name in names:
        said = [says(label, name) for label in labels]
        told = np.array([one is not None for one in said], dtype=bool)
        there = np.array([bool(one) for one in said], dtype=bool)
        calls = before.called(name)[left], after.called(name)[right]
        was, is_ = ((call == there) | ~told for call in calls)
        whole_before &= was
        whole_after &= is_
        classes.append(
            ClassComparison(
                name,
                int(there.sum()),
                int((calls[0] & there).sum()),
                int((calls[1] & there).sum()),
                int((is_ & ~was).sum()),
                int((was & ~is_).sum()),
            )
        )
    return RoundComparison(
        first,
        second,
        sizes,
        len(queues[0] & queues[1]),
        len(tasks),
        tuple(classes),
        tuple(tasks[whole_after & ~whole_before].tolist()[:shown]),
        tuple(tasks[whole_before & ~whole_after].tolist()[:shown]),
    )
