"""Tasks as the strategy sees them: with features on the way in, with a place and its reasons on the way out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.origins import Draw
    from clinical_backend.strategy.instances import Witnesses
    from clinical_backend.strategy.outside import OutsideExemplars
    from clinical_backend.strategy.words import WordScores

__all__ = ["FeaturedTasks", "Inputs", "RankedTask"]


@dataclass(frozen=True, slots=True)
class FeaturedTasks:
    """Tasks with their features.

    Attributes
    ----------
    tasks
        Ids, shape (n,).
    features
        Their features, shape (n, d), float32; of very many tasks float16, so that a million take 2.6 GB. What takes all
        of them takes block after block, each as float32.
    parts
        Lengths of the parts that each feature is joined of; empty for one.
    """

    tasks: NDArray[np.int64]
    features: NDArray[np.float32]
    parts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tasks)

    def first_part(self) -> FeaturedTasks:
        """Return the same tasks with the first part of joined features alone; themselves where none are joined."""
        return FeaturedTasks(self.tasks, self.features[:, : self.parts[0]]) if self.parts else self

    def those(self, chosen: NDArray[np.bool_]) -> FeaturedTasks:
        """Return some of them; ``chosen`` tells which, shape (n,)."""
        return replace(self, tasks=self.tasks[chosen], features=self.features[chosen])

    def none(self) -> FeaturedTasks:
        """Return no tasks, of the same representation."""
        return FeaturedTasks(self.tasks[:0], self.features[:0], self.parts)


@dataclass(frozen=True, slots=True)
class RankedTask:
    """A place in the queue, with what explains it.

    Attributes
    ----------
    task_id
        The task.
    draw
        Whether acquisition chose it or the audit drew it.
    predicted, probability
        The model's class and its probability; ``None`` without a model.
    rare_probability
        The detector's score, as if all classes were equally frequent: it orders, and is no chance.
    nearest_exemplar, similarity
        The task of the query set, or the exemplar from outside, that it is most like, and the cosine of their centred
        features.
    chance, chance_low, chance_high
        The chance that it is rare, with its interval; ``None`` while too little is known to say.
    targets
        Of several findings those that it is sought for; none where one order seeks them all.
    image, images, view
        Place, from 0, of the image that stands for a task with several, how many these are, and the name of its view;
        ``None`` where no single one does.
    words
        What was looked for by words and the task is like; ``None`` where it is not.
    """

    task_id: int
    draw: Draw
    predicted: str | None
    probability: float | None
    rare_probability: float | None
    nearest_exemplar: int | None
    similarity: float | None
    chance: float | None = None
    chance_low: float | None = None
    chance_high: float | None = None
    targets: tuple[str, ...] = ()
    image: int | None = None
    images: int | None = None
    view: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Features of a round's tasks, all of one representation.

    Attributes
    ----------
    key
        What the features are: those with one key are comparable.
    pool
        Tasks that may be queued.
    labelled
        Those with a class.
    query, counter_exemplars
        What the queue is to turn to, and away from.
    groups
        What stands for the patient or study, by task.
    with_frozen
        Whether what is learnt from joined features is averaged with what their first part, the frozen features, tells
        alone.
    images
        Place, from 0, of the image that stands for each task with several; empty where no single one does.
    witnesses
        What found these images; ``None`` where no single one stands for a task.
    outside
        What stands for the target beside the query set and is no task of the project; ``None`` where nothing does.
    of_target
        Of several findings or classes that are looked for, the same tasks by the image that shows each; empty where no
        single one stands for a task.
    words
        What words that stand for the target tell of the pool; ``None`` where none do.
    """

    key: str
    pool: FeaturedTasks
    labelled: FeaturedTasks
    query: FeaturedTasks
    counter_exemplars: FeaturedTasks
    groups: Mapping[int, str] = field(default_factory=dict)
    with_frozen: bool = False
    images: Mapping[int, int] = field(default_factory=dict)
    witnesses: Witnesses | None = None
    outside: OutsideExemplars | None = None
    of_target: Mapping[str, Inputs] = field(default_factory=dict)
    words: WordScores | None = None

    @property
    def steering(self) -> FeaturedTasks:
        """The query set, and behind it the exemplars from outside."""
        if self.outside is None or not len(self.outside):
            return self.query
        return replace(
            self.query,
            tasks=np.concatenate([self.query.tasks, self.outside.ids]),
            features=np.concatenate([self.query.features, self.outside.features]),
        )

    def both(self) -> Inputs:
        """Return the same, of which the first part takes part alone as well, where features are joined."""
        of_target = {name: one.both() for name, one in self.of_target.items()}
        return replace(self, with_frozen=len(self.pool.parts) > 1, of_target=of_target)

    def first_part(self) -> Inputs:
        """Return the same tasks with the first part of joined features alone; the same where none are joined."""
        return Inputs(
            self.key,
            self.pool.first_part(),
            self.labelled.first_part(),
            self.query.first_part(),
            self.counter_exemplars.first_part(),
            self.groups,
            images=self.images,
            witnesses=self.witnesses,
            outside=self.outside.first(self.pool.parts[0]) if self.outside and self.pool.parts else self.outside,
            of_target={name: one.first_part() for name, one in self.of_target.items()},
            words=self.words,
        )

    @classmethod
    def of(
        cls,
        labelled: FeaturedTasks,
        pool: FeaturedTasks | None = None,
        query: FeaturedTasks | None = None,
        groups: Mapping[int, str] | None = None,
    ) -> Inputs:
        """Return what there is where no key tells representations apart, and nothing is tagged "not like this"."""
        nothing = labelled.none()
        return cls("", pool or nothing, labelled, query or nothing, nothing, groups or {})
