"""What tells the target from the rest of the pool: learnt from exemplars, labels and the pool itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.strategy.kept_whitening import whitening_of
from clinical_backend.strategy.outside import worth_of_each

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["Detector", "fit_detector"]

_UNLABELLED_EXEMPLAR = "(exemplar)"
_COUNTER_EXEMPLAR = "(counter-exemplar)"
_SAMPLE = 100  # images that tell how much longer joined features are: all by the same ratio, but for rounding


@dataclass(frozen=True, slots=True)
class Detector:
    """A classifier whose rare classes are what the query set stands for.

    Attributes
    ----------
    classifier
        Of the labelled classes and of those that only a tag stands for: it ranks, rare ones before common ones.
    rare_columns
        Its outputs that belong to the target.
    of_classes
        Of the same classes: it says which class an image has.
    """

    classifier: LinearClassifier
    rare_columns: tuple[int, ...]
    of_classes: LinearClassifier

    def rare_probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return P(rare), shape (n,), float32, as if all classes were equally frequent."""
        probabilities = self.classifier.probabilities(features)
        rare: NDArray[np.float32] = probabilities[:, list(self.rare_columns)].sum(axis=1)
        return rare


def fit_detector(inputs: Inputs, labels: Mapping[int, str], target: Target, *, seed: int) -> Detector | None:
    """Learn to tell what steers from all else; ``None`` where nothing does, or there is no pool.

    An exemplar stands for its class; one that has no class yet, for a class of its own. A labelled task of a
    target class that is not in the query set is left out: readers pointed at some of the class, not at it. A
    counter-exemplar is common, whatever its class. Exemplars from outside stand for their class as well, and yield to
    the project's own cases as these come (:func:`~clinical_backend.strategy.outside.worth_of_each`).
    """
    labelled, query, counter_exemplars = inputs.labelled, inputs.query, inputs.counter_exemplars
    outside = inputs.outside
    if not len(inputs.steering) or not len(inputs.pool):
        return None
    against = set(counter_exemplars.tasks.tolist())
    wanted = set(query.tasks.tolist()) - against
    groups: list[str] = []
    rows: list[NDArray[np.float32]] = []
    rare: set[str] = set()
    for task, feature in zip(query.tasks.tolist(), query.features, strict=True):
        if task in wanted:
            groups.append(labels.get(task, _UNLABELLED_EXEMPLAR))
            rare.add(groups[-1])
            rows.append(feature)
    worth = [1.0] * len(rows)
    if outside is not None:
        counts = Counter(outside.findings)
        groups += outside.findings
        rare.update(counts)
        rows += list(outside.features)
        worth += [worth_of_each(counts[name]) for name in outside.findings]
    for task, feature in zip(labelled.tasks.tolist(), labelled.features, strict=True):
        if task not in wanted and task not in against and labels[task] not in rare | set(target.classes):
            groups.append(labels[task])
            rows.append(feature)
    groups += [_COUNTER_EXEMPLAR] * len(counter_exemplars)
    rows += list(counter_exemplars.features)
    worth += [1.0] * (len(rows) - len(worth))
    classes = tuple(sorted(set(groups)))
    codes = np.asarray([classes.index(group) for group in groups], dtype=np.intp)
    columns = tuple(index for index, name in enumerate(classes) if name in rare)
    learn = partial(
        _learn, np.stack(rows), codes, classes, columns, trust=1.0 - target.doubt, worth=np.array(worth), seed=seed
    )
    of_rare, of_classes = learn(inputs)
    if inputs.with_frozen:
        width = inputs.pool.features.shape[1]
        frozen = inputs.first_part()
        ratio = _ratio_of_lengths(inputs.pool.features[:_SAMPLE], frozen.pool.features[:_SAMPLE])
        alone = [one.of_joined(width, ratio) for one in learn(frozen)]
        of_rare, of_classes = of_rare.mean_with(alone[0]), of_classes.mean_with(alone[1])
    return Detector(of_rare, columns, of_classes)


def _ratio_of_lengths(joined: NDArray[np.float32], first: NDArray[np.float32]) -> float:
    """Return how much longer joined features are than their first part; 1 where all images are black."""
    lengths = np.linalg.norm(first, axis=1)
    told = lengths > 0
    return float(np.median(np.linalg.norm(joined[told], axis=1) / lengths[told])) if told.any() else 1.0


def _learn(
    rows: NDArray[np.float32],
    codes: NDArray[np.intp],
    classes: tuple[str, ...],
    columns: tuple[int, ...],
    inputs: Inputs,
    *,
    trust: float,
    worth: NDArray[np.float64],
    seed: int,
) -> tuple[LinearClassifier, LinearClassifier]:
    """Return what ranks rare cases, and what says which class an image has, from the features of these inputs."""
    pool = inputs.pool
    width = pool.features.shape[1]
    examples = PoolExamples.of(
        rows[:, :width], codes, classes, pool.features, rare=columns, trust=trust, worth=worth, seed=seed
    )
    of_rare = examples.fit(whitening_of([pool, inputs.labelled, inputs.query]))
    return of_rare, examples.joined(examples.fit(), of_rare)
