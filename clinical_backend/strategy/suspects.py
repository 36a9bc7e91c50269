"""Labels that deserve a second look: tasks called common that look rare. A missed finding costs most.

The order is that of confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70,
2021): by the probability that classifiers which had not seen a label give against it. The likeness to the nearest
exemplar explains it, and decides between equals; pooled with the probability it made the order no better
(docs/findings.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.strategy.cosine import centre_of, centred_cosine

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["Suspect", "find_suspects"]

_KEPT = 500
"""More than a lead reads, and few enough to keep with each round."""
_LEAST_FLOOR = 0.5
"""Of the score, as if all classes were equally frequent: below it the classifiers agree with the reader."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label of a common class that may be wrong.

    Attributes
    ----------
    task_id, label
        The task, and the class that it has.
    suspicion
        From 0 to 1: how much speaks against the label. It orders, and is no chance.
    rare_probability
        The score of the rare classes by classifiers that had not seen the label; ``None`` where there is none.
    nearest_exemplar, similarity
        The task of the query set that it is most like, and the cosine of their centred features.
    """

    task_id: int
    label: str
    suspicion: float
    rare_probability: float | None = None
    nearest_exemplar: int | None = None
    similarity: float | None = None


def find_suspects(
    inputs: Inputs,
    fitted: Fit,
    classes: Sequence[str],
    *,
    settled: Collection[int] = (),
    floored: bool = True,
) -> list[Suspect]:
    """Return the labels of common classes that much speaks against, the most suspicious first, 500 at most.

    The floor is that of confident learning: a label is doubted if its case looks at least as rare as cases that readers
    called rare do on average, to classifiers that had not seen the label either way. It falls and rises with how well
    the project's classifier tells them apart, but not below half.

    Parameters
    ----------
    inputs
        Features of the labelled tasks, the query set and the pool.
    fitted
        The training on these labels; one that was not judged suspects nothing.
    classes
        The rare classes.
    settled
        Tasks whose label is beyond doubt.
    floored
        Whether the floor holds; to measure the order, all labels of common classes are wanted.
    """
    if fitted.by_target and fitted.findings:
        return _of_several(fitted, settled=settled, floored=floored)
    if fitted.held_out is None:
        return []
    tasks = fitted.held_out.tasks
    features = inputs.labelled.features
    rare = np.array([fitted.labels[task] in classes for task in tasks.tolist()], dtype=bool)
    probability = fitted.held_out.rare_probability(tasks, features, classes).astype(np.float64)
    nearest, likeness = _nearest_exemplar(tasks, features, inputs)
    floor = max(_LEAST_FLOOR, float(probability[rare].mean())) if rare.any() else np.inf
    floor = floor if floored else 0.0
    doubtful = (probability >= floor) & ~rare & ~np.isin(tasks, list(settled)) & ~np.isin(tasks, inputs.query.tasks)
    second = np.zeros(len(tasks)) if likeness is None else likeness
    order = [row for row in np.lexsort((-second, -probability)) if doubtful[row]][:_KEPT]
    return [
        Suspect(
            task_id=int(tasks[row]),
            label=fitted.labels[int(tasks[row])],
            suspicion=min(1.0, float(probability[row])),
            rare_probability=float(probability[row]),
            nearest_exemplar=None if nearest is None else int(nearest[row]),
            similarity=None if likeness is None else float(likeness[row]),
        )
        for row in order
    ]


def _of_several(fitted: Fit, *, settled: Collection[int], floored: bool) -> list[Suspect]:
    """Return the labels that lack one of several findings which their case may show; each at its most suspicious."""
    found: dict[int, Suspect] = {}
    for name, one in fitted.by_target.items():
        if one.inputs is None:
            continue
        for suspect in find_suspects(one.inputs, one, (name,), settled=settled, floored=floored):
            known = found.get(suspect.task_id)
            if known is None or known.suspicion < suspect.suspicion:
                found[suspect.task_id] = replace(suspect, label=fitted.labels[suspect.task_id])
    return sorted(found.values(), key=lambda suspect: -suspect.suspicion)[:_KEPT]


def _nearest_exemplar(
    tasks: NDArray[np.int64], features: NDArray[np.float32], inputs: Inputs
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Return of each task the exemplar that it is most like, other than itself, and the cosine."""
    if len(inputs.query) < 2:
        return None, None
    around = inputs.pool.features if len(inputs.pool) else features
    cosine = centred_cosine(features, inputs.query.features, centre_of(around)).astype(np.float64)
    cosine[tasks[:, None] == inputs.query.tasks[None, :]] = -np.inf
    best = cosine.argmax(axis=1)
    return inputs.query.tasks[best], cosine[np.arange(len(tasks)), best]
