"""Whether the classifier of a round takes the place of the published one: not if it is worse on the rare classes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint, load_held_out, save_checkpoint
from clinical_backend.learner.evaluation.comparison import LEAST_CASES, Comparison, compare
from clinical_backend.learner.evaluation.finding_comparison import better_of_each
from clinical_backend.multilabel import has_any
from clinical_backend.rounds.inputs import inputs_of_published
from clinical_backend.storage.report import PromotionReport
from clinical_backend.strategy.fit import Fit, judgement
from clinical_backend.strategy.several_fit import fit_labels, said
from clinical_backend.workspace.witness_files import save_witnesses

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.storage.schema import Round
    from clinical_backend.strategy.tasks import Inputs
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["CANDIDATE", "Model", "Promotion", "promote"]

logger = logging.getLogger(__name__)

CANDIDATE = "candidate"
"""Folder, within that of a version, of a classifier that was not promoted."""

_SIDES = ("candidate", "published")


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier with all that goes with it.

    Attributes
    ----------
    classifier
        What predicts.
    metadata
        What is kept beside it.
    held_out
        What it is judged by; ``None`` where there were too few labels to judge it.
    """

    classifier: LinearClassifier
    metadata: CheckpointMetadata
    held_out: HeldOut | None


@dataclass(frozen=True, slots=True)
class Promotion:
    """The model that a round goes on with, and why.

    Attributes
    ----------
    report
        Whether it is the round's own, and by what figures.
    inputs
        Features that the model takes.
    fitted
        What ranks and predicts.
    model
        What is published with the queue; ``None`` while there is no classifier.
    candidate
        The round's own, where it was not promoted.
    """

    report: PromotionReport
    inputs: Inputs
    fitted: Fit
    model: Model | None
    candidate: Model | None = None

    @property
    def held_out(self) -> HeldOut | None:
        """What the published model is judged by; ``None`` without a model, or with too few labels to judge it."""
        return self.model.held_out if self.model is not None else None

    def keep(self, project: ProjectWorkspace, row: Round) -> None:
        """Write the model under the version of a round, and beside it the candidate that was not promoted.

        With it goes what finds the image that decides, where it takes features of that.

        Raises
        ------
        ModelError
            When the folder cannot be written.
        """
        folder = project.checkpoint_folder(row.version)
        if self.model is not None and self.inputs.witnesses is not None:
            save_witnesses(folder, self.inputs.key, self.inputs.witnesses, row.number)
        for path, model in ((folder / CANDIDATE, self.candidate), (folder, self.model)):
            if model is not None:
                save_checkpoint(path, model.classifier, model.metadata, model.held_out)


def promote(project: ProjectWorkspace, snapshot: Snapshot, row: Round, inputs: Inputs, fitted: Fit) -> Promotion:
    """Decide whether the round's classifier is published, or the one published before goes on.

    They are compared on all labels at hand, each label by classifiers that have not seen it: out of fold where
    it was learnt from, and else by the training as a whole. So labels that the published one never saw count as well
    as those it learnt. Only a training is judged so (labels, features, labeling config), for which both sides learn
    from labels alone, of joined features and of their frozen part where the mean of both goes on; what the pool adds to
    the classifier is the same step on either side. The labels
    themselves are believed: a mistake that readers make throughout is not seen.
    """
    candidate, published = _candidate(row, inputs, fitted), _published(project)
    keys = {one.key: one for one in project.representations()}
    obstacle = _obstacle(candidate, published, snapshot, keys)
    if obstacle is not None or candidate is None or published is None:
        return Promotion(PromotionReport(True, obstacle or ""), inputs, fitted, candidate)
    takes = published.metadata.backbone
    same = takes == inputs.key
    if same and candidate.classifier.independent:
        return _by_finding(project, snapshot, inputs, fitted, candidate, published)
    earlier = inputs if same else inputs_of_published(project, snapshot, keys[takes], inputs).both()
    truth, now, before = _judged(fitted, candidate, published, inputs, earlier, snapshot.groups)
    rare, labels = int(truth.sum()), len(truth)
    if min(rare, labels - rare) < LEAST_CASES:
        reason = f"{rare} rare labels are too few to compare it with the published one"
        return Promotion(PromotionReport(True, reason, rare, labels), inputs, fitted, candidate)
    found = compare(truth, now, before, seed=project.workspace.settings.seed)
    figures = (
        f"average precision of the rare classes {found.candidate:.2f}, "
        f"of the one of round {published.metadata.round} {found.published:.2f}"
    )
    going_on = _fit_of(published, fitted, truth, found)
    if going_on is not None and not same:
        seed = project.workspace.settings.seed
        again = fit_labels(
            earlier, snapshot.labels.classes, snapshot.scheme.classes, snapshot.target, seed=seed, judge=False
        )
        going_on = replace(going_on, detector=again.detector, by_target=again.by_target)
    report = PromotionReport(
        True, f"not worse beyond chance: {figures}", rare, labels, found.candidate, found.published
    )
    if not found.worse or going_on is None:
        return Promotion(report, inputs, fitted, candidate)
    reason = f"kept but not published, since it is worse: {figures}"
    logger.warning("Project %d, round %d: the new classifier is %s", project.id, row.number, reason)
    return Promotion(replace(report, promoted=False, reason=reason), earlier, going_on, published, candidate)


def _obstacle(
    candidate: Model | None, published: Model | None, snapshot: Snapshot, keys: Collection[str]
) -> str | None:
    """Say why two classifiers cannot be compared, if so."""
    if candidate is None:
        return "there is no classifier yet"
    if published is None:
        return "none was published before"
    if candidate.held_out is None or published.held_out is None:
        return "too few rare labels to compare it with the published one"
    other_kind = published.classifier.independent is not candidate.classifier.independent
    if other_kind or not set(published.classifier.classes) <= set(snapshot.scheme.classes):
        return "the labeling config lost classes of the published one"
    if published.metadata.backbone not in keys:
        return "the published one takes features of another backbone"
    return None


def _candidate(row: Round, inputs: Inputs, fitted: Fit) -> Model | None:
    if fitted.classifier is None:
        return None
    metadata = CheckpointMetadata(inputs.key, row.number, fitted.measurements)
    return Model(fitted.classifier, metadata, fitted.held_out)


def _published(project: ProjectWorkspace) -> Model | None:
    row = project.row
    if row is None or row.published_version is None:
        return None
    folder = project.checkpoint_folder(row.published_version)
    if not folder.is_dir():
        return None
    try:
        return Model(*load_checkpoint(folder), load_held_out(folder))
    except ModelError as error:
        logger.warning("Project %d: the published classifier cannot be compared with: %s", project.id, error)
        return None


def _judged(
    fitted: Fit, candidate: Model, published: Model, inputs: Inputs, earlier: Inputs, groups: Mapping[int, str]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Return which labelled tasks are rare, and P(rare) of each by both, of those that both can judge."""
    assert candidate.held_out is not None
    assert published.held_out is not None
    rare = fitted.rare_classes
    tasks, first, second = np.intersect1d(inputs.labelled.tasks, earlier.labelled.tasks, return_indices=True)
    fair = published.held_out.may_evaluate(tasks, groups)
    tasks, first, second = tasks[fair], first[fair], second[fair]
    truth = np.array([has_any(fitted.labels[task], rare) for task in tasks.tolist()], dtype=bool)
    now = candidate.held_out.rare_probability(tasks, inputs.labelled.features[first], rare)
    before = published.held_out.rare_probability(tasks, earlier.labelled.features[second], rare)
    return truth, now, before


def _fit_of(published: Model, fitted: Fit, truth: NDArray[np.bool_], found: Comparison) -> Fit | None:
    """Return the published classifier as what a round goes on with; ``None`` if it knows none of the rare classes.

    The order stays that of the round's own detector, so that what was tagged since steers the queue all the same.
    """
    classes = published.classifier.classes
    rare = tuple(name for name in fitted.rare_classes if name in classes)
    if not rare:
        return None
    sees, reason, measurements = judgement(found.published, float(truth.mean()))
    learnt = published.classifier, classes, rare, sees, reason, measurements, fitted.labels, fitted.detector
    return Fit(*learnt, by_target=fitted.by_target, findings=fitted.findings)


def _by_finding(
    project: ProjectWorkspace, snapshot: Snapshot, inputs: Inputs, fitted: Fit, candidate: Model, published: Model
) -> Promotion:
    """Publish each of several findings as the round learnt it, or as it was published where that is better."""
    assert candidate.held_out is not None
    assert published.held_out is not None
    labelled = inputs.labelled
    fair = published.held_out.may_evaluate(labelled.tasks, snapshot.groups)
    tasks, features = labelled.tasks[fair], labelled.features[fair]
    given = said(fitted.labels, tasks, candidate.classifier.classes)
    classifier, held_out, found = better_of_each(
        candidate.held_out,
        published.held_out,
        tasks,
        features,
        given,
        least=LEAST_CASES,
        seed=project.workspace.settings.seed,
    )
    worse = [name for name, one in found.items() if one.worse]
    figures = "; ".join(
        f"average precision of {name} {one.candidate:.2f}, of the one of round {published.metadata.round} "
        f"{one.published:.2f}"
        for name, one in found.items()
        if one.worse or name in fitted.rare_classes
    )
    rare = sum(has_any(fitted.labels[task], fitted.rare_classes) for task in tasks.tolist())
    sought = [found[name] for name in fitted.rare_classes if name in found]
    now, before = (float(np.mean([getattr(one, side) for one in sought])) if sought else None for side in _SIDES)
    if not found:
        reason = "too few labels of each finding to compare it with the published one"
    elif worse:
        reason = f"{', '.join(worse)} stays as published before, since the new one is worse: {figures}"
        logger.warning("Project %d: %s", project.id, reason)
    else:
        reason = f"no finding is worse beyond chance: {figures}" if figures else "no finding is worse beyond chance"
    report = PromotionReport(True, reason, rare, len(tasks), now, before)
    model = replace(candidate, classifier=classifier, held_out=held_out)
    return Promotion(report, inputs, replace(fitted, classifier=classifier, held_out=held_out), model)
