"""One simulated project: a reader who labels, round after round, what a strategy puts first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.experiments.strategies import LIVE, Situation, order
from clinical_backend.learner.metrics import evaluate
from clinical_backend.rounds.embed import FeaturedTasks
from clinical_backend.rounds.fit import Fit, fit
from clinical_backend.rounds.target import find_target
from clinical_backend.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from clinical_backend.experiments.datasets import LabelledImages
    from clinical_backend.experiments.protocol import Draw, Protocol

__all__ = ["CHECKPOINTS", "Outcome", "simulate"]

CHECKPOINTS = (50, 100, 200, 300)
"""Labels after which the classifier is measured, beside the start and the end."""


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
        The same by rare class, at the end.
    measured
        The classifier on the held-out images, by number of labels.
    chosen
        What chose each batch.
    seconds
        Of fit and rank in each round.
    """

    rare: int
    found: list[int] = field(default_factory=list)
    classes_found: dict[str, int] = field(default_factory=dict)
    measured: dict[int, dict[str, float | None]] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def simulate(
    protocol: Protocol,
    drawn: Draw,
    data: LabelledImages,
    features: NDArray[np.float32],
    strategy: str,
    *,
    seed: int,
) -> Outcome:
    """Run the rounds of one project with the code of the live round: target, fit, rank.

    The reader tags the exemplars at the start; where there are none, the first case of each rare class
    that is met.

    Parameters
    ----------
    features
        Of the whole labelled set, shape (n, d), float32.
    """
    settings = load_settings(seed=seed, audit_share=protocol.audit_share, label_studio_api_key="none")
    names = [data.classes[code] for code in data.labels]
    labels = {int(task): names[task] for task in [*drawn.exemplars, *drawn.initial]}
    exemplars = [int(task) for task in drawn.exemplars]
    is_rare = np.isin(data.labels, [data.classes.index(name) for name in drawn.rare_classes])
    outcome = Outcome(int(is_rare[drawn.pool].sum() - is_rare[list(labels)].sum()))
    outcome.classes_found = dict.fromkeys(drawn.rare_classes, 0)
    checkpoints = {0, protocol.labels, *(count for count in CHECKPOINTS if count < protocol.labels)}

    def featured(tasks: Iterable[int]) -> FeaturedTasks:
        chosen = np.asarray(list(tasks), dtype=np.int64)
        return FeaturedTasks(chosen, features[chosen])

    number = 0
    targeted: set[int] = set()
    while True:
        number += 1
        started = time.perf_counter()
        target = find_target(labels, exemplars, (), (), data.classes, targeted=targeted)
        labelled = featured(labels)
        pool = featured(task for task in drawn.pool if int(task) not in labels)
        query = featured(target.query)
        if strategy == LIVE:
            fitted = fit(labelled, labels, data.classes, target, seed=seed, pool=pool, query=query)
        else:
            fitted = fit(labelled, labels, data.classes, target, seed=seed)
        seconds = time.perf_counter() - started
        given = len(outcome.found)
        if given in checkpoints:
            outcome.measured[given] = _measure(fitted, data, features, drawn)
        if given >= protocol.labels:
            return outcome
        until = min(stop for stop in checkpoints if stop > given)
        if not len(pool):
            return outcome
        situation = Situation(settings, target, fitted, pool, query, labelled, number, is_rare[pool.tasks])
        started = time.perf_counter()
        places, chosen = order(strategy, situation, min(protocol.batch, until - given))
        outcome.seconds.append(round(seconds + time.perf_counter() - started, 4))
        outcome.chosen.append(chosen)
        for task in pool.tasks[places].tolist():
            labels[task] = names[task]
            if target.query:
                targeted.add(task)
            if is_rare[task]:
                outcome.classes_found[names[task]] += 1
                if not protocol.exemplars and outcome.classes_found[names[task]] == 1:
                    exemplars.append(task)
            outcome.found.append(sum(outcome.classes_found.values()))


def _measure(fitted: Fit, data: LabelledImages, features: NDArray[np.float32], drawn: Draw) -> dict[str, float | None]:
    """Return the classifier's measures on the held-out images; a class that it never saw has probability 0."""
    known = fitted.probabilities(features[drawn.test])
    if known is None:
        return {}
    probabilities = np.zeros((len(known), len(data.classes)))
    probabilities[:, [data.classes.index(name) for name in fitted.classes]] = known
    found = evaluate(data.labels[drawn.test], probabilities, data.classes, rare=drawn.rare_classes)
    return {
        "average_precision": found.rare_average_precision,
        "recall_at_specificity": found.rare_recall_at_specificity,
        "balanced_accuracy": found.balanced_accuracy,
        "accuracy": found.accuracy,
    }
