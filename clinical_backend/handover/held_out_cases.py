"""What a project's readers said, beside what its published classifier says of cases that it had not seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.findings.cases import JudgedCases
from clinical_backend.findings.evidence import MOST_UNCOVERED
from clinical_backend.findings.weights import SampledLabels
from clinical_backend.learner.checkpoint import load_checkpoint, load_held_out
from clinical_backend.multilabel import LIKELY, says
from clinical_backend.origins import Origin
from clinical_backend.rounds.audit import read_draws
from clinical_backend.strategy.fit import FOLDS
from clinical_backend.workspace.features import Representation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.cases import Value
    from clinical_backend.learner.checkpoint import CheckpointMetadata
    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.rounds.audit import Draws
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["HeldOutCases", "Published", "read_held_out_cases", "read_published"]

_UNSEEN = {Origin.IMPORTED, Origin.ACCEPTED}
"""Nobody of the project looked at these: a model's own answers would prove it right."""
_SOURCE = (
    f"Labels of the project's readers, each judged by a training that had not seen it: by cross-validation ({FOLDS}"
    " folds, patients whole) for the labels that the classifier learnt from, and by that training itself for later"
    " labels of other patients. What the unlabelled pool adds to the published classifier is not judged."
)


@dataclass(frozen=True, slots=True)
class Published:
    """The classifier that a project publishes.

    Attributes
    ----------
    version
        ``model_version`` of its predictions.
    classifier, metadata, held_out
        As they are kept; ``held_out`` is ``None`` where nothing judged it.
    representation
        What it takes; ``None`` where its backbone is gone.
    """

    version: str
    classifier: LinearClassifier
    metadata: CheckpointMetadata
    held_out: HeldOut | None
    representation: Represented | None


@dataclass(frozen=True, slots=True)
class HeldOutCases:
    """Cases that judge the published classifier, and what was left out.

    Attributes
    ----------
    cases
        The cases.
    tasks
        Theirs, shape (n,).
    out_of_fold, later
        How many of them the classifier learnt from, and how many were labelled since.
    unseen
        Labels that no reader of the project gave.
    unjudged
        Labels of readers without a judgement: of patients whose other images were learnt, or without a feature.
    uncovered
        Judged labels whose tasks came after the random draws: they have no weight.
    unknown
        Cases of a class that the classifier does not know: none of its classes is there.
    missing_draws
        Labels of random draws that are missing until there are weights; 0 where there are.
    """

    cases: JudgedCases
    tasks: NDArray[np.int64]
    out_of_fold: int
    later: int
    unseen: int
    unjudged: int
    uncovered: int
    unknown: int
    missing_draws: int

    @property
    def counts(self) -> dict[str, int]:
        """These numbers by name."""
        names = ("out_of_fold", "later", "unseen", "unjudged", "uncovered", "unknown")
        return {name: getattr(self, name) for name in names}

    @property
    def in_words(self) -> str:
        """What was judged and what was left out."""
        unknown = f" {self.unknown:,} cases are of a class that the model does not know: it is wrong of each."
        return (
            f"{len(self.cases):,} cases: {self.out_of_fold:,} out of fold, {self.later:,} labelled later. Left out:"
            f" {self.unseen:,} labels that no reader of the project gave, {self.unjudged:,} without a judgement (later"
            f" images of patients that were learnt, no feature), {self.uncovered:,} of tasks that came after the random"
            f" draws.{unknown if self.unknown else ''}"
        )

    @property
    def weighting(self) -> str:
        """How figures are weighted, where they are."""
        counted = self.cases.counted()
        return (
            "Figures are weighted: each case counts as many tasks as it stands for by the random draws of its round"
            f" (docs/handover.md), {counted.sum():,.0f} in all. So they are estimates for the project's images that"
            f" have a reader's label or can be read, but for up to {MOST_UNCOVERED:.0%} that came later. Counts are of"
            f" cases, without those of weight 0 ({int((counted == 0).sum()):,}: a later draw stands for them)."
        )


def read_published(project: ProjectWorkspace) -> Published:
    """Return the classifier that a project publishes.

    Raises
    ------
    ModelError
        When there is none, or it cannot be read.
    """
    row = project.row
    version = None if row is None else row.published_version
    folder = None if version is None else project.checkpoint_folder(version)
    if version is None or folder is None or not folder.is_dir():
        raise ModelError(
            f"Project {project.id} has no published model.",
            "Label two classes, and wait for the next round; `clinical status` says when it is due.",
        )
    classifier, metadata = load_checkpoint(folder)
    found = project.published_model(version)
    return Published(version, classifier, metadata, load_held_out(folder), found[1] if found else None)


def read_held_out_cases(
    project: ProjectWorkspace,
    published: Published,
    ledger: Sequence[LedgerEntry],
    fields: Mapping[str, Mapping[int, Value]] | None = None,
) -> HeldOutCases:
    """Return the labels that judge the published classifier, as they are by now.

    Parameters
    ----------
    project, published
        The project and what it publishes.
    ledger
        Its labels; where readers are tied, it is what the first one said.
    fields
        By the name of a field of the tasks' data, what it says of each task.

    Raises
    ------
    ModelError
        When nothing judges the classifier.
    """
    held_out = published.held_out
    if held_out is None:
        raise ModelError(
            f"Too few labels of project {project.id} judge its model.",
            "Label two cases of what is looked for and two others at least, and wait for the next round.",
        )
    groups = project.stores.images.groups(project.id)
    entries = {entry.task_id: entry for entry in ledger if entry.origin not in _UNSEEN}
    tasks, probabilities = _judged(project, published, held_out, list(entries), groups)
    sampled = _sampled(read_draws(project, ledger), frozenset(tasks.tolist()))
    weights, drawn = sampled.weights, sampled.drawn
    covered = np.array([not weights or task in weights for task in tasks.tolist()], dtype=np.bool_)
    uncovered = int((~covered).sum())
    tasks, probabilities = tasks[covered], probabilities[covered]
    labels = [entries[task].label for task in tasks.tolist()]
    classes = tuple(held_out.reference.classes)
    truth = np.array([[_number(says(label, name)) for name in classes] for label in labels], dtype=np.float64)
    truth = truth.reshape(len(labels), len(classes))
    truth[~np.isfinite(probabilities)] = np.nan  # of a finding that too few labels gave, or that was not told then
    learnt = set(held_out.tasks.tolist())
    several = held_out.reference.independent
    cases = JudgedCases(
        classes,
        truth,
        probabilities,
        _patients(tasks, groups),
        np.array([weights[task] for task in tasks.tolist()], dtype=np.float64) if weights else None,
        np.array([task in drawn for task in tasks.tolist()], dtype=np.bool_) if weights else None,
        LIKELY if several else None,
        {name: [values.get(task) for task in tasks.tolist()] for name, values in (fields or {}).items()},
        _SOURCE,
    )
    out_of_fold = sum(task in learnt for task in tasks.tolist())
    unknown = 0 if several else sum(label not in classes for label in labels)
    return HeldOutCases(
        cases,
        tasks,
        out_of_fold,
        len(tasks) - out_of_fold,
        len(ledger) - len(entries),
        len(entries) - len(covered),
        uncovered,
        unknown,
        sampled.missing,
    )


def _judged(
    project: ProjectWorkspace,
    published: Published,
    held_out: HeldOut,
    tasks: Sequence[int],
    groups: Mapping[int, str],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tasks that the training may judge, and what it says of them, shape (n, C)."""
    row_of = {task: row for row, task in enumerate(held_out.tasks.tolist())}
    learnt = [task for task in tasks if task in row_of]
    found = np.array(learnt, dtype=np.int64), held_out.probabilities[[row_of[task] for task in learnt]]
    later = np.array([task for task in tasks if task not in row_of], dtype=np.int64)
    # Of studies the image that decides is found anew in each fold, which features of whole tasks do not tell.
    if not isinstance(published.representation, Representation) or not len(later):
        return found[0], found[1].astype(np.float64)
    fair = later[held_out.may_evaluate(later, groups)]
    featured = project.features_of(published.representation, fair.tolist())
    since = held_out.reference.probabilities(featured.features)
    return np.concatenate([found[0], featured.tasks]), np.concatenate([found[1], since]).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Weight by task, the tasks of the random draws that weights rest on, and how many more such draws it takes."""

    weights: Mapping[int, float]
    drawn: frozenset[int]
    missing: int


def _sampled(draws: Draws, judged: frozenset[int]) -> _Sampled:
    """Return the weights by those rounds of which (nearly) all random draws are judged.

    Of the others the judged draws are no random sample, such as while only what the training learnt from is judged.
    """
    known = draws.sample
    unjudged = np.array([entry.task_id not in judged for entry in draws.ledger], dtype=np.bool_)
    lost = Counter(known.entered[known.counted & unjudged].tolist())
    rounds = [one for one in known.rounds if lost[one.number] <= MOST_UNCOVERED * one.draws]
    sample = SampledLabels(known.entered, known.drawn, rounds)
    if sample.weights is None:
        return _Sampled({}, frozenset(), sample.missing)
    tasks = [entry.task_id for entry in draws.ledger]
    weights = dict(zip(tasks, sample.weights.tolist(), strict=True))
    drawn = frozenset(task for task, one in zip(tasks, sample.counted.tolist(), strict=True) if one)
    return _Sampled(weights, drawn, 0)


def _patients(tasks: NDArray[np.int64], groups: Mapping[int, str]) -> NDArray[np.int64]:
    """Return a number for each task's patient; one without stands for itself."""
    names = [groups.get(task, task) for task in tasks.tolist()]
    number_of: dict[str | int, int] = {}
    return np.array([number_of.setdefault(name, len(number_of)) for name in names], dtype=np.int64)


def _number(said: bool | None) -> float:
    return np.nan if said is None else float(said)
