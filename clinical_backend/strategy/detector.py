"""What tells the target from the rest of the pool: learnt from exemplars, labels and the pool itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.strategy.kept_whitening import whitening_of
from clinical_backend.strategy.outside import outside_shares
from clinical_backend.strategy.shift import shifts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

__all__ = ["Detector", "fit_detector", "with_first_part"]

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
    shifts
        How far exemplars from outside lie off the pool, by finding, from 0 to 1; empty where there are none.
    """

    classifier: LinearClassifier
    rare_columns: tuple[int, ...]
    of_classes: LinearClassifier
    shifts: Mapping[str, float] = field(default_factory=dict)
    _scored: list[NDArray[np.float32]] = field(init=False, default_factory=list, repr=False, compare=False)

    def rare_probability_of_all(self, pool: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same as :meth:`rare_probability`, kept for whoever asks of the same pool next; not to be changed.

        The order of a million and the chances of its first ones would each take a pass over all.
        """
        if not self._scored or self._scored[0] is not pool:
            self._scored[:] = pool, self.rare_probability(pool)
        return self._scored[1]

    def rare_probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return P(rare), shape (n,), float32, as if all classes were equally frequent."""
        probabilities = self.classifier.probabilities(features)
        rare: NDArray[np.float32] = probabilities[:, list(self.rare_columns)].sum(axis=1)
        return rare


def fit_detector(inputs: Inputs, labels: Mapping[int, str], target: Target, *, seed: int) -> Detector | None:
    """Learn to tell what steers from all else; ``None`` where nothing does, or there is no pool.

    An exemplar stands for its class; one that has no class yet, for a class of its own. A labelled task of a
    target class that is not in the query set is left out: readers pointed at some of the class, not at it. A
    counter-exemplar is common, whatever its class.

    Exemplars from outside stand for their class as well. What is learnt with and without those of classes that have own
    cases is averaged, with the share that :func:`~clinical_backend.strategy.outside.outside_shares` gives them, where
    they lie off the pool: as examples of less weight they would not yield, since a few cases that lie apart are fitted
    whatever they weigh.
    """
    counter_exemplars, outside = inputs.counter_exemplars, inputs.outside
    if not len(inputs.steering) or not len(inputs.pool):
        return None
    against = set(counter_exemplars.tasks.tolist())
    wanted = set(inputs.query.tasks.tolist()) - against
    examples = [
        (labels.get(task, _UNLABELLED_EXEMPLAR), feature)
        for task, feature in zip(inputs.query.tasks.tolist(), inputs.query.features, strict=True)
        if task in wanted
    ]
    own = Counter(name for name, _ in examples)
    given = [] if outside is None else list(zip(outside.findings, outside.features, strict=True))
    rare = {*own, *(name for name, _ in given)}
    for task, feature in zip(inputs.labelled.tasks.tolist(), inputs.labelled.features, strict=True):
        if task not in wanted and task not in against and labels[task] not in rare | set(target.classes):
            examples.append((labels[task], feature))
    examples += [(_COUNTER_EXEMPLAR, feature) for feature in counter_exemplars.features]
    learn = partial(_detector, inputs, rare, trust=1.0 - target.doubt, seed=seed)
    if outside is None or not given:
        return learn(examples)
    shifts = shifts_of(inputs.pool.features, outside)
    together = learn([*examples, *given])
    shares = outside_shares(Counter(name for name, _ in given), own, shifts)
    if min(shares.values()) < 1.0:
        without = learn([*examples, *((name, feature) for name, feature in given if name not in own)])
        together = _averaged(without, together, shares)
    return replace(together, shifts=shifts)


def _detector(
    inputs: Inputs,
    rare: Collection[str],
    examples: Sequence[tuple[str, NDArray[np.float32]]],
    *,
    trust: float,
    seed: int,
) -> Detector:
    """Learn from examples with their classes, of which these are rare."""
    classes = tuple(sorted({name for name, _ in examples}))
    codes = np.asarray([classes.index(name) for name, _ in examples], dtype=np.intp)
    columns = tuple(index for index, name in enumerate(classes) if name in rare)
    rows = np.stack([feature for _, feature in examples])
    learn = partial(_learn, rows, codes, classes, columns, trust=trust, seed=seed)
    of_rare, of_classes = learn(inputs)
    if inputs.with_frozen:
        alone = learn(inputs.first_part())
        of_rare = with_first_part(of_rare, alone[0], inputs.pool)
        of_classes = with_first_part(of_classes, alone[1], inputs.pool)
    return Detector(of_rare, columns, of_classes)


def with_first_part(joined: LinearClassifier, first: LinearClassifier, tasks: FeaturedTasks) -> LinearClassifier:
    """Return the mean of a classifier of joined features and one of their first part alone, for joined features.

    Parameters
    ----------
    tasks
        Some with joined features.
    """
    width = tasks.features.shape[1]
    ratio = _ratio_of_lengths(tasks.features[:_SAMPLE], tasks.first_part().features[:_SAMPLE])
    return joined.mean_with(first.of_joined(width, ratio))


def _averaged(without: Detector, with_outside: Detector, shares: Mapping[str, float]) -> Detector:
    """Return the average of two detectors of the same classes: of each class with its share of the second."""
    names = without.classifier.classes
    of_common = sum(shares.values()) / len(shares)
    share = np.array(
        [shares.get(name, of_common if place not in without.rare_columns else 0.0) for place, name in enumerate(names)],
        dtype=np.float32,
    )
    return Detector(
        _moved(without.classifier, with_outside.classifier, share),
        without.rare_columns,
        _moved(without.of_classes, with_outside.of_classes, share),
    )


def _moved(one: LinearClassifier, other: LinearClassifier, share: NDArray[np.float32]) -> LinearClassifier:
    """Return a classifier with a share of another one, for each class: shape (C,)."""
    weights = one.weights + share * (other.weights - one.weights)
    return LinearClassifier(one.classes, weights, one.bias + share * (other.bias - one.bias), one.counts)


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
    seed: int,
) -> tuple[LinearClassifier, LinearClassifier]:
    """Return what ranks rare cases, and what says which class an image has, from the features of these inputs."""
    pool = inputs.pool
    width = pool.features.shape[1]
    examples = PoolExamples.of(rows[:, :width], codes, classes, pool.features, rare=columns, trust=trust, seed=seed)
    of_rare = examples.fit(whitening_of([pool, inputs.labelled, inputs.query]))
    return of_rare, examples.joined(examples.fit(), of_rare)
