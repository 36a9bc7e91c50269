"""What published models say of the project's test set, kept once for each, beside what readers said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.multilabel import is_multilabel
from clinical_backend.storage.stores.testsets import KeptScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["JudgedTestset", "judge", "judge_published", "judged_test_set"]


@dataclass(frozen=True, slots=True)
class JudgedTestset:
    """A model's probabilities and readers' labels of the same tasks: those of the test set that have both.

    Attributes
    ----------
    made_in
        Number of the round that learnt it: an earlier one where that round's own was not taken.
    several
        Whether an image may have several findings, each with a probability of its own.
    classes
        The C classes, or findings, that the model learnt.
    tasks
        Shape (n,), int64, in the order in which they are read, which is random.
    labels
        What readers say of each, as it is stored (:mod:`clinical_backend.multilabel`).
    probabilities
        As they were kept when the model was published, shape (n, C), float32.
    groups
        What stands for the patient of each: a salted hash, or the task's number where it names none. Tasks of one
        patient are not independent.
    inclusion
        The chance that each had to be drawn into the test set, shape (n,), float64.
    size
        Tasks of the test set that Label Studio still holds.
    read
        Those that as many readers answered as are wanted.
    disputed
        Those whose readers disagree; they are not among ``tasks``.
    unknown
        Those whose label names a class that the model did not learn; they are not among ``tasks``.
    unjudged
        Those with a label that the model could not judge, since their images cannot be read.
    """

    made_in: int
    several: bool
    classes: tuple[str, ...]
    tasks: NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    groups: tuple[str, ...]
    inclusion: NDArray[np.float64]
    size: int
    read: int
    disputed: int
    unknown: int
    unjudged: int

    @property
    def patients(self) -> int:
        """How many patients the tasks are of."""
        return len(set(self.groups))


def judged_test_set(project: ProjectWorkspace, version: str | None = None) -> JudgedTestset | None:
    """Return what a published model says of the project's test set, and what readers say of it by now.

    Parameters
    ----------
    project
        The project.
    version
        Of the round that published the model; by default of the one that is published.

    Returns
    -------
    JudgedTestset or None
        ``None`` where there is no test set, or nothing is kept of what that model says.
    """
    row = project.row
    version = version or (row.published_version if row else None)
    scores = project.stores.test_sets.scores(project.id, version) if version else None
    return None if scores is None else judge(project, scores)


def judge(project: ProjectWorkspace, scores: KeptScores) -> JudgedTestset:
    """Return what a model says beside what readers say by now."""
    store = project.stores.test_sets
    row, reserved, draws = store.get(project.id), store.tasks(project.id), store.draws(project.id)
    wanted = row.readings if row else 1
    at = {task: place for place, task in enumerate(scores.tasks.tolist())}
    labelled = {task: one.label for task, one in reserved.items() if one.label is not None}
    known = {task: label for task, label in labelled.items() if _knows(scores, label)}
    tasks = [task for task in known if task in at]
    groups = project.stores.images.groups(project.id, tasks)
    return JudgedTestset(
        made_in=scores.made_in,
        several=scores.several,
        classes=scores.classes,
        tasks=np.array(tasks, dtype=np.int64),
        labels=tuple(known[task] for task in tasks),
        probabilities=scores.probabilities[[at[task] for task in tasks]].reshape(len(tasks), len(scores.classes)),
        groups=tuple(groups.get(task, str(task)) for task in tasks),
        inclusion=np.array([draws[reserved[task].draw].probability for task in tasks], dtype=np.float64),
        size=len(reserved),
        read=sum(one.readings >= wanted for one in reserved.values()),
        disputed=sum(one.readings > 1 and one.label is None for one in reserved.values()),
        unknown=len(labelled) - len(known),
        unjudged=len(known) - len(tasks),
    )


def judge_published(project: ProjectWorkspace) -> None:
    """Keep what the published model says of the test set, unless that is kept.

    Each task is judged once by each model, with the features that rounds have made. Of those whose images are read
    later it is kept then. Nothing looks at it but people.

    Raises
    ------
    ClinicalError
        When the model or the features cannot be read.
    """
    published = project.stores.rounds.published(project.id)
    reserved = project.stores.test_sets.ids(project.id)
    if published is None or not reserved:
        return
    kept = project.stores.test_sets.scores(project.id, published.version)
    missing = reserved.difference([] if kept is None else kept.tasks.tolist())
    model = project.published_model(published.version) if missing else None
    if model is None:
        return
    classifier, representation = model
    featured = project.features_of(representation, sorted(missing))
    if not len(featured):
        return
    _, metadata = load_checkpoint(project.checkpoint_folder(published.version))
    tasks, said = featured.tasks, classifier.probabilities(featured.features.astype(np.float32))
    if kept is not None:
        tasks, said = np.concatenate([kept.tasks, tasks]), np.concatenate([kept.probabilities, said])
    classes, several = tuple(classifier.classes), classifier.independent
    made = KeptScores(published.version, published.number, metadata.round, several, classes, tasks, said)
    project.stores.test_sets.keep_scores(project.id, made)


def _knows(scores: KeptScores, label: str) -> bool:
    """Tell whether a label speaks of what a model learnt."""
    return is_multilabel(label) if scores.several else label in scores.classes
