"""One simulated project: a reader who labels, round after round, what a strategy puts first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.lab.experiments.coverage import ClassCoverage
from clinical_backend.lab.experiments.strategies import Situation, is_live, needs_detector, order
from clinical_backend.learner.evaluation.metrics import average_precision, evaluate, recall_at_specificity
from clinical_backend.multilabel import findings_of
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.lab.experiments.learners import Learner
    from clinical_backend.lab.experiments.phrasings import SetWords
    from clinical_backend.lab.experiments.protocol import Draw as Drawn
    from clinical_backend.lab.experiments.protocol import Protocol
    from clinical_backend.settings import Settings
    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.outside import OutsideExemplars
    from clinical_backend.strategy.tasks import RankedTask

__all__ = ["CHECKPOINTS", "Outcome", "simulate"]

CHECKPOINTS = (50, 100, 200, 300)
"""Labels after which the classifier is measured, beside the start and the end."""
_NOISE = 1
"""Tells these random numbers from the others of a seed."""


@dataclass
class Outcome:
    """What a simulated reader met.

    Attributes
    ----------
    rare
        Rare cases in the pool that could be found.
    found
        How many of them were found after each label.
    classes_found
        The same by rare class.
    measured
        The classifier on the held-out images, and the class coverage, by number of labels.
    chosen
        What chose each batch.
    seconds
        Of fit and rank in each round.
    """

    rare: int
    found: list[int] = field(default_factory=list)
    classes_found: dict[str, list[int]] = field(default_factory=dict)
    measured: dict[int, dict[str, float | None]] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def simulate(
    protocol: Protocol,
    drawn: Drawn,
    data: LabelledImages,
    learner: Learner,
    strategy: str,
    *,
    seed: int,
    frozen: NDArray[np.float32] | None = None,
    outside: OutsideExemplars | None = None,
    words: SetWords | None = None,
    settings: Settings | None = None,
    groups: Mapping[int, str] | None = None,
    witness: Callable[[Situation, Sequence[RankedTask]], None] | None = None,
) -> Outcome:
    """Run the rounds of one project with the code of the live round: target, fit, rank.

    The reader tags the exemplars at the start; where there are none, the first case of each rare class
    that is met. Where the lead names the rare classes, they are looked for from their first case on. What is found is
    told by the truth, also where the reader answers another class (``label_noise``).

    Parameters
    ----------
    learner
        Makes the features.
    frozen
        Frozen features of the whole labelled set, in which the class coverage is measured; without them it is not.
    outside
        What stands for rare classes from the start without being a case of the project, in the learner's features.
    words
        What words for rare classes tell of each image of the labelled set, from the start.
    settings
        Those of a project, by which the live round orders; by default those of this machine with the protocol's share
        of random draws, and a queue that is read to its end.
    groups
        What stands for the patient or study of each image that has one.
    witness
        Called with each queue of the live round, before it is labelled.
    """
    settings = (settings or _settings(protocol)).model_copy(update={"seed": seed})
    project = _Project(protocol, drawn, data, seed)
    outcome = Outcome(project.rare_left(), classes_found={name: [] for name in drawn.rare_classes})
    coverage = None if frozen is None else ClassCoverage(frozen, project.rare_cases())
    checkpoints = {0, protocol.labels, *(stop for stop in CHECKPOINTS if stop < protocol.labels)}

    for number in count(1):
        started = time.perf_counter()
        target = find_target(
            project.labels,
            project.exemplars,
            (),
            drawn.rare_classes if protocol.named else (),
            data.classes,
            targeted=project.drawn_as(Draw.TARGET),
            for_classifier=project.drawn_as(Draw.MARGIN),
            outside=None if outside is None else outside.labels,
            words=() if words is None else words.findings,
        )
        features, own = learner.learn(project.labels, target.query, _indices(project.pool()), seed)
        shown = project.labels, project.pool(), target.query
        inputs = _inputs_of(learner, features, shown, groups)
        pool, labelled = inputs.pool, inputs.labelled
        inputs = replace(
            inputs,
            outside=outside,
            words=None if words is None else words.of(pool, inputs.query),
            of_target={name: _inputs_of(learner, rows, shown, groups) for name, rows in learner.of_target.items()},
        )
        seen = inputs if needs_detector(strategy) else Inputs.of(labelled, groups=groups)
        fitted = fit_labels(seen, project.labels, data.classes, target, seed=seed, judge=is_live(strategy))
        if own is not None:
            fitted = replace(fitted, classifier=own)
        if not is_live(strategy) and len(drawn.validation):
            inputs, fitted = project.turned_to_errors(inputs, fitted, features)
        seconds = time.perf_counter() - started
        given = len(outcome.found)
        if given in checkpoints:
            outcome.measured[given] = _measure(fitted, data, features, drawn)
            if coverage is not None:
                outcome.measured[given]["class_coverage"] = coverage.of(project.labels)
        if given >= protocol.labels or not len(pool):
            break
        batch = min(protocol.batch, min(stop for stop in checkpoints if stop > given) - given)
        rare = project.is_rare[pool.tasks]
        situation = Situation(settings, target, fitted, inputs, number, rare, project.answers_to(pool.tasks))
        started = time.perf_counter()
        places, draws, chosen = order(strategy, situation, batch, witness)
        outcome.seconds.append(round(seconds + time.perf_counter() - started, 4))
        outcome.chosen.append(chosen)
        for task, draw in zip(pool.tasks[places].tolist(), draws, strict=False):
            project.annotate(task, outcome, draw)
    return outcome


def _inputs_of(
    learner: Learner,
    features: NDArray[np.float32],
    shown: Sequence[Iterable[int]],
    groups: Mapping[int, str] | None,
) -> Inputs:
    """Return what a round goes by: the labelled tasks, the pool and the query set in some features of a learner."""
    parts = learner.parts if sum(learner.parts) == features.shape[1] else ()
    labelled, pool, query = (FeaturedTasks(tasks, features[tasks], parts) for tasks in map(_indices, shown))
    return replace(Inputs.of(labelled, pool, query, groups), with_frozen=learner.with_frozen)


def _settings(protocol: Protocol) -> Settings:
    """Return what the live round is told where nothing else is said: a queue is as long as the labels of a round."""
    told = {"audit_share": protocol.audit_share, "goal": "rare", "queue_size": 1}
    return load_settings(label_studio_api_key="none", **told)


class _Project:
    """What a simulated project holds, and what its reader knows."""

    def __init__(self, protocol: Protocol, drawn: Drawn, data: LabelledImages, seed: int) -> None:
        self._drawn = drawn
        self._tags_first_cases = not protocol.exemplars
        self._names = [data.label(index) for index in range(len(data))]
        self._members = {name: data.members(name) for name in drawn.rare_classes}
        self.is_rare = np.logical_or.reduce([*self._members.values()])
        self._answers = self._names if data.shows is not None else _answers(data, protocol.label_noise, seed)
        self.labels = {int(task): self._names[task] for task in drawn.exemplars}
        self.labels |= {int(task): self._answers[task] for task in drawn.initial}
        self.exemplars = [int(task) for task in drawn.exemplars]
        self._draws: dict[int, Draw] = {}

    def drawn_as(self, draw: Draw) -> list[int]:
        """Return the tasks that were labelled for this reason."""
        return [task for task, reason in self._draws.items() if reason is draw]

    def pool(self) -> list[int]:
        """Return the tasks without a label."""
        return [int(task) for task in self._drawn.pool if int(task) not in self.labels]

    def rare_cases(self) -> list[NDArray[np.int64]]:
        """Return the cases of each rare class that the project holds, labelled or not."""
        return [self._drawn.pool[of_class[self._drawn.pool]] for of_class in self._members.values()]

    def classes_of(self, tasks: NDArray[np.int64]) -> list[str]:
        """Return the classes that tasks are of."""
        return [self._names[task] for task in tasks]

    def answers_to(self, tasks: NDArray[np.int64]) -> list[str]:
        """Return what the reader would answer."""
        return [self._answers[task] for task in tasks]

    def turned_to_errors(self, inputs: Inputs, fitted: Fit, features: NDArray[np.float32]) -> tuple[Inputs, Fit]:
        """Have the validation images that the classifier gets wrong for the query set, if there are any."""
        images = self._drawn.validation
        believed = fitted.probabilities(features[images])
        if believed is None:
            return inputs, fitted
        truth = self.classes_of(images)
        predicted = [fitted.classes[column] for column in believed.argmax(axis=1)]
        wrong = images[[name != true for name, true in zip(predicted, truth, strict=True)]]
        if not len(wrong):
            return inputs, fitted
        answers = dict(zip(images.tolist(), truth, strict=True))
        return (
            replace(inputs, query=FeaturedTasks(wrong, features[wrong], inputs.query.parts)),
            replace(fitted, labels={**fitted.labels, **answers}),
        )

    def rare_left(self) -> int:
        """Return how many rare cases are in the pool; one of two findings counts twice."""
        return sum(int(of_class[self.pool()].sum()) for of_class in self._members.values())

    def annotate(self, task: int, outcome: Outcome, draw: Draw) -> None:
        """Label a task, and tag it if it is the first case of a rare class that anyone saw to be one."""
        answer = self.labels[task] = self._answers[task]
        self._draws[task] = draw
        for rare, found in outcome.classes_found.items():
            found.append((found[-1] if found else 0) + bool(self._members[rare][task]))
        outcome.found.append(sum(found[-1] for found in outcome.classes_found.values()))
        known = frozenset[str]().union(*(findings_of(self.labels[exemplar]) for exemplar in self.exemplars))
        seen = [rare for rare, of_class in self._members.items() if of_class[task] and rare in findings_of(answer)]
        if self._tags_first_cases and not known.issuperset(seen):
            self.exemplars.append(task)


def _answers(data: LabelledImages, noise: float, seed: int) -> list[str]:
    """Return what the reader answers to each image: with this probability another class, any of them alike."""
    generator = np.random.default_rng([seed, _NOISE])
    others = generator.integers(1, len(data.classes), len(data.labels))
    wrong = generator.random(len(data.labels)) < noise
    return [data.classes[code] for code in np.where(wrong, (data.labels + others) % len(data.classes), data.labels)]


def _indices(tasks: Iterable[int]) -> NDArray[np.int64]:
    return np.asarray(list(tasks), dtype=np.int64)


def _measure(fitted: Fit, data: LabelledImages, features: NDArray[np.float32], drawn: Drawn) -> dict[str, float | None]:
    """Return the classifier's measures on the held-out images; a class that it never saw has probability 0."""
    if not len(drawn.test):
        return {}
    known = fitted.probabilities(features[drawn.test])
    if known is None:
        return {}
    if data.shows is not None:
        return _measure_findings(fitted, data, known, drawn)
    probabilities = np.zeros((len(known), len(data.classes)))
    probabilities[:, [data.classes.index(name) for name in fitted.classes]] = known
    found = evaluate(data.labels[drawn.test], probabilities, data.classes, rare=drawn.rare_classes)
    recalls = [one.recall for one in found.classes if one.name in drawn.rare_classes and one.recall is not None]
    return {
        "average_precision": found.rare_average_precision,
        "recall_at_specificity": found.rare_recall_at_specificity,
        "rare_accuracy": float(np.mean(recalls)) if recalls else None,
        "balanced_accuracy": found.balanced_accuracy,
        "accuracy": found.accuracy,
    }


def _measure_findings(
    fitted: Fit, data: LabelledImages, known: NDArray[np.float32], drawn: Drawn
) -> dict[str, float | None]:
    """Return the same of several findings: means over the rare ones that the classifier knows."""
    of_each = [
        (data.members(name)[drawn.test], known[:, fitted.classes.index(name)])
        for name in drawn.rare_classes
        if name in fitted.classes
    ]
    if not of_each:
        return {}
    return {
        "average_precision": float(np.mean([average_precision(truth, scores) or 0.0 for truth, scores in of_each])),
        "recall_at_specificity": float(
            np.mean([recall_at_specificity(truth, scores) or 0.0 for truth, scores in of_each])
        ),
    }
