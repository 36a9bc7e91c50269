"""Stage 3 where several targets are learnt by themselves, each with its own detector.

They are findings of which an image may have several, or classes that other images of a task decide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.one_vs_rest import (
    calibrated,
    fit_findings,
    join_findings,
    out_of_fold_margins,
)
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.multilabel import is_multilabel, says
from clinical_backend.strategy.fit import FOLDS, Fit, fit
from clinical_backend.strategy.groups import group_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["fit_labels", "said"]

_ABSENT = "(absent)"


def fit_labels(
    inputs: Inputs,
    labels: Mapping[int, str],
    classes: tuple[str, ...],
    target: Target,
    *,
    seed: int,
    judge: bool = True,
) -> Fit:
    """Train on all labels, be they classes or several findings each; the parameters are those of :func:`fit`.

    Several findings are learnt one against the rest, from the labels that say something of them. Each that is looked
    for is fitted besides as if it alone were, with its own query set, and by the images that show it where tasks have
    several: :attr:`Fit.by_target`. So is each of several classes that are looked for where its own images decide; one
    classifier tells them apart all the same.
    """
    several = any(map(is_multilabel, labels.values()))
    by_target = {}
    for name in target.classes if several or inputs.of_target else ():
        alone = _inputs_of_target(inputs.of_target.get(name, inputs), labels, target, name)
        answers = _of_finding(labels, name)
        one = fit(alone, answers, (name, _ABSENT), target.alone(name), seed=seed, judge=judge)
        by_target[name] = replace(one, inputs=alone)
    if several:
        return _fit_findings(inputs, labels, classes, target, by_target, seed=seed, judge=judge)
    return replace(fit(inputs, labels, classes, target, seed=seed, judge=judge), by_target=by_target)


def said(labels: Mapping[int, str], tasks: NDArray[np.int64], findings: Sequence[str]) -> NDArray[np.float32]:
    """Return what labels say of findings: 1 for there, 0 for absent, NaN for nothing; shape (n, F), float32."""
    rows = [[says(labels[task], name) for name in findings] for task in tasks.tolist()]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(findings))


def _fit_findings(
    inputs: Inputs,
    labels: Mapping[int, str],
    findings: tuple[str, ...],
    target: Target,
    by_target: Mapping[str, Fit],
    *,
    seed: int,
    judge: bool,
) -> Fit:
    """Learn each of several findings from the labels that say something of it, and judge all on held-out ones."""
    labelled = inputs.labelled
    given = said(labels, labelled.tasks, findings)
    of_each = fit_findings(labelled.features, given, findings, seed=seed)
    if not of_each:
        reason = "no finding is labelled both as there and as absent yet"
        return Fit(
            None,
            (),
            (),
            sees_target=False,
            reason=reason,
            labels=dict(labels),
            by_target=by_target,
            findings=findings,
        )
    known = tuple(of_each)
    classifier = join_findings(of_each)
    held_out = None
    if judge:
        together = group_codes(labelled.tasks.tolist(), inputs.groups) if inputs.groups else None
        given = said(labels, labelled.tasks, known)
        margins = out_of_fold_margins(labelled.features, given, folds=FOLDS, seed=seed, groups=together)
        classifier, probabilities = calibrated(classifier, margins, given)
        unjudged = np.isnan(probabilities)
        probabilities[unjudged] = classifier.probabilities(labelled.features)[unjudged]
        held_out = HeldOut(labelled.tasks, probabilities, classifier)
    return Fit(
        classifier,
        known,
        tuple(name for name in target.classes if name in known),
        sees_target=any(one.sees_target for one in by_target.values()),
        reason="; ".join(f"{name}: {one.reason}" for name, one in by_target.items()) or "nothing is looked for",
        measurements=_means([one.measurements for one in by_target.values() if one.measurements]),
        labels=dict(labels),
        held_out=held_out,
        by_target=by_target,
        findings=findings,
    )


def _inputs_of_target(inputs: Inputs, labels: Mapping[int, str], target: Target, name: str) -> Inputs:
    """Return what one of several targets is learnt from: the labels that say something of it, and its query set."""
    labelled, query = inputs.labelled, inputs.query
    told = np.array([says(labels[task], name) is not None for task in labelled.tasks.tolist()], dtype=np.bool_)
    stand = np.isin(query.tasks, target.alone(name).query)
    outside = None if inputs.outside is None else inputs.outside.of(name)
    words = None if inputs.words is None else inputs.words.of(name, stand)
    return replace(
        inputs,
        labelled=labelled.those(told),
        query=query.those(stand),
        outside=outside,
        words=words,
        of_target={},
    )


def _of_finding(labels: Mapping[int, str], name: str) -> dict[int, str]:
    answers = {task: says(label, name) for task, label in labels.items()}
    return {task: name if there else _ABSENT for task, there in answers.items() if there is not None}


def _means(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in measured])) for name in (measured[0] if measured else ())}
