"""Whether one backbone's features of the labelled tasks tell the rare classes apart worse than another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.evaluation.comparison import LEAST_CASES, compare
from clinical_backend.multilabel import has_any
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.target import Target
from clinical_backend.strategy.tasks import Inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.learner.evaluation.comparison import Comparison
    from clinical_backend.strategy.tasks import FeaturedTasks

__all__ = ["FeatureComparison", "compare_features"]


@dataclass(frozen=True, slots=True)
class FeatureComparison:
    """What labels say of two backbones.

    Attributes
    ----------
    rare, labels
        By how many tasks that are rare, and how many in all.
    found
        Which is the better one; ``None`` where these are too few to say.
    """

    rare: int
    labels: int
    found: Comparison | None


def compare_features(
    candidate: FeaturedTasks,
    published: FeaturedTasks,
    labels: Mapping[int, str],
    classes: tuple[str, ...],
    rare: tuple[str, ...],
    *,
    groups: Mapping[int, str] | None = None,
    seed: int,
) -> FeatureComparison:
    """Compare two backbones as classifiers are compared for promotion: each task ranked by one that had not seen it.

    Parameters
    ----------
    candidate, published
        Labelled tasks with the features of either; those that have both count.
    labels
        By task, of all of them.
    classes, rare
        Those of the labeling config, and those that are looked for.
    groups
        What stands for the patient or study, by task: none is learnt from that a judged one belongs to.
    seed
        Of folds and resamplings.
    """
    common = np.intersect1d(candidate.tasks, published.tasks)
    truth = np.array([has_any(labels[task], rare) for task in common.tolist()], dtype=bool)
    positives = int(truth.sum())
    scores = []
    for each in (candidate, published):
        tasks = each.those(np.isin(each.tasks, common))
        order = np.argsort(tasks.tasks)
        inputs = Inputs.of(tasks, groups=groups)
        held_out = fit_labels(inputs, labels, classes, Target(rare, (), 0, (), ""), seed=seed).held_out
        if held_out is not None:
            scores.append(held_out.rare_probability(tasks.tasks, tasks.features, rare)[order])
    enough = len(scores) == 2 and min(positives, len(truth) - positives) >= LEAST_CASES
    found = compare(truth, *scores, seed=seed) if enough else None
    return FeatureComparison(positives, len(truth), found)
