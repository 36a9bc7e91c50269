"""Stage 3: train the classifier on the labels at hand, and measure whether it sees the target."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from clinical_backend.learner.classifier import linear
from clinical_backend.learner.classifier.linear import out_of_fold_logits
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.learner.evaluation.metrics import average_precision
from clinical_backend.strategy.detector import Detector, fit_detector, with_first_part
from clinical_backend.strategy.groups import group_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.strategy.outside import OutsideExemplars
    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

__all__ = ["FOLDS", "Fit", "fit", "judgement"]

FOLDS = 5
"""The usual number: what is judged learnt from four fifths of the labels, close to all of them."""
_USEFUL_LIFT = 0.1
"""Share of the way from chance to perfect average precision from which on the classifier is believed."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The classifier of a round.

    Attributes
    ----------
    classifier
        ``None`` while fewer than two classes are labelled.
    classes
        Its classes, in the order of its outputs.
    rare_classes
        Those of them that are looked for.
    sees_target
        Whether it tells the target from the rest better than chance, by cross-validation.
    reason
        What it was judged by, for people.
    measurements
        Figures of the cross-validation, by name.
    labels
        Class by task, of the labels that it learnt from.
    detector
        Tells the target from the rest of the pool; ``None`` while nothing is known of the target.
    held_out
        What a later classifier is compared with; ``None`` where too few labels judge this one.
    inputs
        What it learnt from, where it is that of one of several targets.
    by_target
        Where an image may have several findings, or other images of a task decide for each of several classes: for each
        that is looked for, what tells it from its absence.
    findings
        Where an image may have several: those of the labeling config. Of one that the classifier has not learnt nothing
        is predicted.
    """

    classifier: linear.LinearClassifier | None
    classes: tuple[str, ...]
    rare_classes: tuple[str, ...]
    sees_target: bool
    reason: str
    measurements: dict[str, float] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    detector: Detector | None = None
    held_out: HeldOut | None = None
    inputs: Inputs | None = None
    by_target: Mapping[str, Fit] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    @property
    def tells_findings(self) -> bool:
        """Whether the classifier gives each of several findings a probability of its own."""
        return self.classifier is not None and self.classifier.independent

    @property
    def rare_columns(self) -> list[int]:
        """Outputs of the classifier that belong to rare classes."""
        return [column for column, name in enumerate(self.classes) if name in self.rare_classes]

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return class probabilities, shape (n, C), or ``None`` without a classifier."""
        return None if self.classifier is None else self.classifier.probabilities(features)

    def rare_probability_in(
        self, pool: FeaturedTasks, places: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32] | None:
        """Return P(rare) of tasks of a pool, shape (n,), by the detector; ``None`` without one.

        Of several detectors it is that of the likeliest target. Each of these is told by the images that show it, where
        tasks have several.

        Parameters
        ----------
        places
            Of the tasks in the pool; all by default.
        """
        of_each = [
            found
            for one in self.by_target.values()
            if (found := one.rare_probability_in(pool if one.inputs is None else one.inputs.pool, places)) is not None
        ]
        if of_each:
            likeliest: NDArray[np.float32] = np.max(of_each, axis=0)
            return likeliest
        if self.detector is None:
            return None
        if places is None:
            return self.detector.rare_probability_of_all(pool.features)
        return self.detector.rare_probability(pool.features[places])

    def query_residuals(
        self, query: FeaturedTasks, outside: OutsideExemplars | None = None
    ) -> NDArray[np.float32] | None:
        """Return the residuals of query tasks under their true labels, shape (q, C).

        Parameters
        ----------
        outside
            Of the exemplars from outside among these tasks, which have no label, the findings that they stand for.
        """
        if self.classifier is None:
            return None
        believed = self.classifier.probabilities(query.features).argmax(axis=1)
        columns = {name: column for column, name in enumerate(self.classes)}
        known = self.labels if outside is None else {**self.labels, **outside.labels}
        true = [
            columns.get(known.get(int(task), ""), int(guess)) for task, guess in zip(query.tasks, believed, strict=True)
        ]
        return self.classifier.residuals(query.features, np.asarray(true))


def fit(
    inputs: Inputs,
    labels: Mapping[int, str],
    classes: tuple[str, ...],
    target: Target,
    *,
    seed: int,
    judge: bool = True,
) -> Fit:
    """Train on all labelled tasks that have features, and on what the pool tells.

    Parameters
    ----------
    inputs
        Without a pool, or anything that steers, the classifier learns from labels alone, and there is no detector.
    labels
        Class by task.
    classes
        Classes of the labeling config; those without a label are not learnt.
    judge
        Whether to cross-validate; otherwise the classifier counts as not seeing the target.
    """
    labelled = inputs.labelled
    detector = fit_detector(inputs, labels, target, seed=seed)
    counts = Counter(labels[int(task)] for task in labelled.tasks)
    known = tuple(name for name in classes if counts[name])
    if len(known) < 2:
        reason = "no label yet" if not known else f"only {known[0]!r} is labelled yet"
        return Fit(None, known, (), sees_target=False, reason=reason, labels=dict(labels), detector=detector)
    columns = {name: column for column, name in enumerate(known)}
    codes = np.asarray([columns[labels[int(task)]] for task in labelled.tasks])
    if detector is not None and set(known) <= set(detector.of_classes.classes):
        classifier = detector.of_classes.among(known)
    else:
        classifier = _of_labels(inputs, codes, known, seed)
    rare = tuple(name for name in target.classes if name in known)
    if not judge:
        reason = "the classifier was not judged"
        return Fit(classifier, known, rare, sees_target=False, reason=reason, labels=dict(labels), detector=detector)
    is_rare = np.isin(codes, [columns[name] for name in rare])
    positives = int(is_rare.sum())
    if min(positives, len(codes) - positives) < 2:
        reason = f"{positives} rare labels are too few to judge the classifier"
        return Fit(classifier, known, rare, sees_target=False, reason=reason, labels=dict(labels), detector=detector)
    held_out = _hold_out(inputs, codes, known, classifier if detector is None else None, seed)
    scores = held_out.probabilities[:, [columns[name] for name in rare]].sum(axis=1)
    sees, reason, measurements = judgement(average_precision(is_rare, scores) or 0.0, positives / len(codes))
    return Fit(classifier, known, rare, sees, reason, measurements, dict(labels), detector, held_out)


def judgement(precision: float, chance: float) -> tuple[bool, str, dict[str, float]]:
    """Say whether an average precision is that of a classifier that sees the target, why, and by what figures."""
    sees = (precision - chance) / (1 - chance) >= _USEFUL_LIFT
    verb = "sees" if sees else "does not see"
    return (
        sees,
        f"the classifier {verb} the target (average precision {precision:.2f}, chance {chance:.2f})",
        {"average_precision": precision, "chance": chance},
    )


def _hold_out(
    inputs: Inputs,
    codes: NDArray[np.int64],
    classes: tuple[str, ...],
    learnt: linear.LinearClassifier | None,
    seed: int,
) -> HeldOut:
    """Cross-validate, no group split; ``learnt`` already learnt from all these labels, and from them alone."""
    labelled = inputs.labelled
    together = group_codes(labelled.tasks.tolist(), inputs.groups) if inputs.groups else None
    logits = [
        out_of_fold_logits(part.features, codes, classes, folds=FOLDS, seed=seed, groups=together)
        for part in _parts(inputs)
    ]
    mean = np.mean(logits, axis=0, dtype=np.float32)  # −∞ in all of them, or in none: the folds are the same
    return HeldOut(labelled.tasks, softmax(mean, axis=1), learnt or _of_labels(inputs, codes, classes, seed))


def _of_labels(
    inputs: Inputs, codes: NDArray[np.int64], classes: tuple[str, ...], seed: int
) -> linear.LinearClassifier:
    """Learn from labels alone what the detector learns from these inputs: of the first part, too, where it does."""
    joined, *first = (linear.fit(part.features, codes, classes, seed=seed) for part in _parts(inputs))
    return with_first_part(joined, first[0], inputs.labelled) if first else joined


def _parts(inputs: Inputs) -> list[FeaturedTasks]:
    """Return the labelled tasks with the features of each classifier whose mean goes on."""
    labelled = inputs.labelled
    return [labelled, labelled.first_part()] if inputs.with_frozen else [labelled]
