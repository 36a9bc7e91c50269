"""What a project's own database tells of its tasks: their features, and what readers said."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ClinicalError, InvalidArgumentError
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.studies import StudyLearner, StudySet
from clinical_backend.multilabel import findings_of, is_multilabel, pack
from clinical_backend.origins import Draw, Origin
from clinical_backend.rounds.audit import read_draws
from clinical_backend.text import amount
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.features import join
from clinical_backend.workspace.study_features import images_of, read_instances

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.interval import Interval
    from clinical_backend.lab.experiments.learners import Learner
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["KnownTasks", "read_known_tasks"]

logger = logging.getLogger(__name__)

MOST_TASKS = 20_000
"""Tasks of a rehearsal; of more, so many are drawn at random. A round on them takes some seconds on two cores."""
MOST_IMAGES = 100_000
"""Images of studies: 512 MB of features in 1,280 dimensions."""
_UNANSWERED = "(nobody labelled it)"
LEAST_LABELS = 50
"""Labelled tasks: with fewer, there is no second checkpoint."""


@dataclass(frozen=True, slots=True)
class KnownTasks:
    """The tasks of a project that have a feature.

    Attributes
    ----------
    data
        What readers said of them, as a labelled set; what nobody labelled counts as a class of its own, or as showing
        no finding.
    labelled
        Which somebody labelled, shape (n,).
    sought
        How many labels a queue sought, for whatever reason but chance.
    rare_classes
        What is looked for.
    learner
        Their features.
    groups
        What stands for the patient or study of each that names one, by its place.
    shares
        Which share of all tasks has each rare class, by the random draws; ``None`` where these say nothing.
    draws
        Labels of random draws.
    most_left
        Rare cases that nobody labelled, at most, with 95 % confidence; ``None`` where the random draws do not say.
    notes
        What is left out, for people.
    """

    data: LabelledImages
    labelled: NDArray[np.bool_]
    sought: int
    rare_classes: tuple[str, ...]
    learner: Learner
    groups: Mapping[int, str]
    shares: Mapping[str, Interval | None]
    draws: int
    most_left: float | None
    notes: tuple[str, ...]

    @property
    def rare(self) -> NDArray[np.bool_]:
        """Which of them are rare, as far as somebody labelled them, shape (n,)."""
        rare: NDArray[np.bool_] = np.logical_or.reduce([self.data.members(name) for name in self.rare_classes])
        return rare


def read_known_tasks(project: ProjectWorkspace, rare: Sequence[str], *, seed: int) -> KnownTasks:
    """Return the tasks of a project, from its database and its cached features alone.

    Parameters
    ----------
    rare
        What is looked for, in place of what the project looks for.
    seed
        Of the draw of those that take part, where they are very many.

    Raises
    ------
    InvalidArgumentError
        When nothing is looked for, or too little is labelled.
    """
    ledger = project.stores.labels.ledger(project.id)
    proven = [entry for entry in ledger if entry.origin is not Origin.ACCEPTED]
    names, missed = _rare_classes(project, rare, proven)
    reserved = project.stores.test_sets.ids(project.id)
    not_open = reserved | set(project.stores.labels.all(project.id))
    digests = project.digests()
    labels = {entry.task_id: entry.label for entry in proven if entry.task_id not in reserved}
    tasks = [task for task in digests if task in labels or task not in not_open]
    chosen = sorted(np.random.default_rng(seed).permutation(tasks)[:MOST_TASKS].tolist())
    known, features = _features(project, chosen)
    data = _labelled_set(project, known, labels, names)
    learner: Learner = features.of(data, names) if isinstance(features, _Studies) else features
    labelled = np.array([task in labels for task in known], dtype=np.bool_)
    if int(labelled.sum()) < LEAST_LABELS:
        raise InvalidArgumentError(
            "project",
            f"{amount(int(labelled.sum()), 'labelled task')} of project {project.id} have a cached feature.",
            f"A rehearsal needs at least {LEAST_LABELS}: label more, or run a round, which makes the features.",
        )
    groups = project.stores.images.groups(project.id)
    draws = read_draws(project, ledger)
    named = [findings_of(entry.label) for entry in draws.ledger]
    shares = {
        name: draws.sample.share(np.array([name in one for one in named], dtype=np.bool_)) if named else None
        for name in names
    }
    bound = draws.audit(names).left.bound()
    return KnownTasks(
        data,
        labelled,
        sum(entry.draw not in {None, Draw.AUDIT} for entry in proven),
        names,
        learner,
        {place: groups[task] for place, task in enumerate(known) if task in groups},
        shares,
        int(draws.sample.counted.sum()),
        None if bound is None else bound.high,
        (
            *(f"Nobody found a case of {name}, which takes no part." for name in missed),
            *([f"{amount(len(reserved), 'task')} of the test set take no part."] if reserved else []),
            *_notes(project, ledger, proven, set(digests), tasks, chosen, known),
        ),
    )


def _rare_classes(
    project: ProjectWorkspace, rare: Sequence[str], ledger: Sequence[LedgerEntry]
) -> tuple[tuple[str, ...], list[str]]:
    """Return what is looked for and somebody found a case of, and what nobody found one of."""
    report = project.stores.rounds.published_report(project.id)
    names = tuple(dict.fromkeys(rare or project.settings.rare_classes or report.target))
    if not names:
        raise InvalidArgumentError(
            "rare", f"project {project.id} looks for nothing yet.", "Name what is rare: --rare NAME."
        )
    counts = Counter(name for entry in ledger for name in findings_of(entry.label))
    if unknown := [name for name in rare if not counts[name]]:
        there = ", ".join(sorted(counts)) or "none"
        raise InvalidArgumentError("rare", f"no label gives {unknown[0]!r}.", f"Labels give: {there}.")
    found = tuple(name for name in names if counts[name])
    if not found:
        raise InvalidArgumentError(
            "project",
            f"no labelled task of project {project.id} is rare ({', '.join(names)}).",
            "Rehearse when some were found, or name what is rare: --rare NAME.",
        )
    return found, [name for name in names if name not in found]


def _labelled_set(
    project: ProjectWorkspace,
    tasks: Sequence[int],
    labels: Mapping[int, str],
    rare: Sequence[str],
) -> LabelledImages:
    title, images, nothing = f"project {project.id}", [b""] * len(tasks), np.zeros(len(tasks), dtype=np.bool_)
    given = [labels.get(task) for task in tasks]
    named = {name for label in given if label is not None for name in findings_of(label)} | set(rare)
    classes = tuple(dict.fromkeys([*classes_of(project), *sorted(named)]))
    if any(label is not None and is_multilabel(label) for label in given):
        answers = [pack(()) if label is None else label for label in given]
        shows = np.array([[name in findings_of(label) for name in classes] for label in answers], dtype=np.bool_)
        found = LabelledImages.of_findings(title, classes, images, shows, nothing)
        return LabelledImages(title, classes, images, found.labels, nothing, shows, answers=answers)
    code = {name: place for place, name in enumerate([*classes, _UNANSWERED])}
    codes = np.array([code[_UNANSWERED if label is None else label] for label in given], dtype=np.int64)
    return LabelledImages(title, (*classes, _UNANSWERED), images, codes, nothing)


@dataclass(frozen=True, slots=True)
class _Studies:
    """Features of the images of tasks with several."""

    frozen: NDArray[np.float32]
    shown: Sequence[NDArray[np.int64]]
    adapted: NDArray[np.float32] | None

    def of(self, data: LabelledImages, rare: tuple[str, ...]) -> StudyLearner:
        way = "frozen" if self.adapted is None else "live"
        return StudyLearner(StudySet(data, self.shown, rare), self.frozen, way, self.adapted)


def _features(project: ProjectWorkspace, tasks: Sequence[int]) -> tuple[list[int], FixedFeatures | _Studies]:
    """Return those of the tasks that have a feature, and their features: no image is fetched for one."""
    backbone = project.workspace.backbone
    store = project.workspace.feature_store(backbone.key, backbone.dimension)
    if project.stores.studies.any(project.id):
        images = images_of(project.stores, project.id, tasks)
        if sum(map(len, images.values())) > MOST_IMAGES:
            raise InvalidArgumentError(
                "project",
                f"its studies have {sum(map(len, images.values())):,} images.",
                f"A rehearsal holds the features of {MOST_IMAGES:,} at most in memory.",
            )
        parts = list(read_instances(project.frozen, images))
        known = [task for part in parts for task in part.tasks.tolist()]
        counts = [count for part in parts for count in part.counts.tolist()]
        starts = np.cumsum([0, *counts])
        shown = [np.arange(low, high) for low, high in pairwise(starts.tolist())]
        rows = np.concatenate([part.rows for part in parts]) if parts else store.read([])
        return known, _Studies(rows, shown, _adapted(project, [one for task in known for one in images[task].values()]))
    digests = project.digests(tasks)
    positions = store.positions(digests.values())
    known = [task for task, digest in digests.items() if digest in positions]
    frozen = store.read([positions[digests[task]] for task in known])
    own = _adapted(project, [digests[task] for task in known])
    if own is None:
        return known, FixedFeatures(frozen)
    return known, FixedFeatures(frozen, join(frozen, own), parts=(frozen.shape[1], own.shape[1]))


def _adapted(project: ProjectWorkspace, digests: Sequence[str]) -> NDArray[np.float32] | None:
    """Return what the network that is adapted to the project's images made, where it made it of all of them."""
    try:
        own = project.adapted()
    except ClinicalError as error:  # a round goes on with frozen features, too
        logger.warning("Project %d is rehearsed with frozen features: %s", project.id, error)
        return None
    if own is None:
        return None
    positions = own.store.positions(digests)
    if len(positions) < len(set(digests)):
        return None
    made: NDArray[np.float32] = own.store.read([positions[digest] for digest in digests])
    return made


def _notes(
    project: ProjectWorkspace,
    ledger: Sequence[LedgerEntry],
    proven: Sequence[LedgerEntry],
    read: Collection[int],
    tasks: Sequence[int],
    chosen: Sequence[int],
    known: Sequence[int],
) -> list[str]:
    """Say what takes no part."""
    labelled = {entry.task_id for entry in proven}
    without = len((labelled & set(chosen)) - set(known)) + len(labelled - set(read))
    notes = []
    if without:
        notes.append(f"{amount(without, 'labelled task')} without a cached feature take no part.")
    if len(ledger) > len(proven):
        notes.append(f"{amount(len(ledger) - len(proven), 'label')} accepted from a model prove nothing: left out.")
    if len(chosen) < len(tasks):
        notes.append(f"{len(chosen):,} of {len(tasks):,} tasks, drawn at random, take part.")
    if project.stores.outside_exemplars.all(project.id) or project.stores.phrasings.all(project.id):
        notes.append("Exemplars from outside and words are left out: every trial starts from labelled exemplars.")
    if project.settings.training == "finetune":
        notes.append("The backbone is not fine-tuned on what a trial labels.")
    return notes
