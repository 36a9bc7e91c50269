"""Which tasks readers get with a class already ticked: only those where the tick does more good than harm.

A tick that is wrong is believed, most of all where the case is rare and the model has hardly met it. So ``confident``
asks for a proof by labels that the model did not learn from and that no tick had led to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.findings.interval import lower_share
from clinical_backend.multilabel import findings_of
from clinical_backend.origins import Draw

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.project_settings import Preannotate
    from clinical_backend.strategy.tasks import Inputs, RankedTask

__all__ = ["Confidence", "Proof", "confidence", "is_notable", "preannotations", "prove"]

_LEAST_PRECISION = 0.95
"""Readers believe a tick: more than one wrong one in twenty would cost more than the ticks save."""
_ERROR = 0.05
"""Of a proof by luck, the usual level; all tries share it."""
_SHARES = (1.0, 0.5, 0.25)
"""All held-out labels that are predicted as a class, the surer half of them, and the surest quarter. Each is a try, so
each is tested at a third of the 5 % (Bonferroni): no threshold is chosen by luck. At least 80 labels are needed."""
_NOTABLE_SCORE = 0.2
"""Of the detector, which learns as if every second case were rare: where one task in ten is, 2.7 % of such are."""
_NOTABLE_CHANCE = 0.03
"""What a score of 0.2 stands for where one task in ten is rare."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a class may be ticked.

    Attributes
    ----------
    above
        The least probability that it holds for.
    labels, right
        Held-out labels predicted as this class with at least that probability, and how many of them are of it.
    precision
        The one-sided 95 % lower bound of the share that is right (Clopper and Pearson), all tries allowed for.
    """

    above: float
    labels: int
    right: int
    precision: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """What a round may tick in ``confident``.

    Attributes
    ----------
    tasks
        Class by task.
    proofs
        Why, by class.
    """

    tasks: Mapping[int, str] = field(default_factory=dict)
    proofs: Mapping[str, Proof] = field(default_factory=dict)


def preannotations(
    mode: Preannotate, ranked: Iterable[RankedTask], confident: Mapping[int, str], classes: Collection[str]
) -> dict[int, str]:
    """Return the class that is ticked, by task. A random draw never has one: it counts what readers see unled.

    Parameters
    ----------
    confident
        Class by task, of those for which there is a proof.
    classes
        Those of the labeling config: one may have been removed since.
    """
    if mode == "off":
        return {}
    open_to_it = [task for task in ranked if task.draw is not Draw.AUDIT]
    chosen = {task.task_id: task.predicted if mode == "all" else confident.get(task.task_id) for task in open_to_it}
    return {task: name for task, name in chosen.items() if name is not None and findings_of(name) <= set(classes)}


def confidence(
    held_out: HeldOut | None,
    inputs: Inputs,
    ranked: Sequence[RankedTask],
    labels: Mapping[int, str],
    *,
    evidence: Collection[int],
    target: Collection[str],
) -> Confidence:
    """Return for which tasks of a queue a class is proven.

    The class is that of the classifier which the held-out labels judge, so the proof is of what is ticked, and the one
    that answers must say the same. A network that was fine-tuned is judged by too few labels for a proof.

    Parameters
    ----------
    held_out
        What this round's classifier is judged by.
    inputs
        Tasks in its representation. Of each group one label is taken, since those of one patient are alike.
    labels
        Class by labelled task.
    evidence
        Labelled tasks that may prove something: readers gave their class without being shown one.
    target
        The classes that are looked for: never ticked.

    Returns
    -------
    Confidence
        None where an image may have several findings: a label of all of them is not proven by that of each.
    """
    if held_out is None or held_out.reference.independent:
        return Confidence()
    classes, labelled, groups = held_out.reference.classes, inputs.labelled, inputs.groups
    usable = held_out.may_evaluate(labelled.tasks, groups)
    seen: set[str] = set()
    for place, task in enumerate(labelled.tasks.tolist()):
        group = groups.get(task)
        usable[place] &= task in evidence and labels[task] in classes and group not in seen
        if usable[place] and group is not None:
            seen.add(group)
    probabilities = held_out.probabilities_of(labelled.tasks[usable], labelled.features[usable])
    codes = np.array([classes.index(labels[task]) for task in labelled.tasks[usable].tolist()], dtype=np.intp)
    proofs = {
        name: proof
        for column, name in enumerate(classes)
        if name not in target and (proof := prove(probabilities, codes, column)) is not None
    }
    if not proofs:
        return Confidence()
    quiet = {task.task_id: task.predicted for task in ranked if not is_notable(task.rare_probability, task.chance_high)}
    asked = np.isin(inputs.pool.tasks, list(quiet))
    believed = held_out.reference.probabilities(inputs.pool.features[asked])
    tasks = {}
    for task, row in zip(inputs.pool.tasks[asked].tolist(), believed, strict=True):
        best = int(row.argmax())
        proof = proofs.get(classes[best])
        if proof is not None and row[best] >= proof.above and quiet[task] == classes[best]:
            tasks[task] = classes[best]
    return Confidence(tasks, proofs)


def prove(probabilities: NDArray[np.floating[Any]], codes: NDArray[np.intp], column: int) -> Proof | None:
    """Return the widest proof that predictions of a class are right; ``None`` where the labels give none.

    Parameters
    ----------
    probabilities
        Of held-out labels, shape (n, C).
    codes
        Their true classes, shape (n,).
    column
        The class.
    """
    predicted = probabilities.argmax(axis=1) == column
    own, hits = probabilities[predicted, column], codes[predicted] == column
    order = np.sort(own)[::-1]
    for share in _SHARES:
        if not len(own):
            break
        above = order[int(np.ceil(share * len(order))) - 1]
        inside = own >= above
        labels, right = int(inside.sum()), int(hits[inside].sum())
        precision = lower_share(right, labels, _ERROR / len(_SHARES))
        if precision >= _LEAST_PRECISION:
            return Proof(float(above), labels, right, precision)
    return None


def is_notable(score: float | None, chance_high: float | None = None) -> bool:
    """Tell whether a task may well be rare, or nothing tells that it is not.

    Parameters
    ----------
    score
        The detector's, as if all classes were equally frequent.
    chance_high
        Upper end of the chance that it is rare, where that is known: it counts then, not the score.
    """
    if chance_high is not None:
        return chance_high >= _NOTABLE_CHANCE
    return score is None or score >= _NOTABLE_SCORE
