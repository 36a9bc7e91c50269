"""Labels beside what a classifier that had not seen them says: its mistakes, and what each threshold would find."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.checkpoint import load_held_out
from clinical_backend.multilabel import LIKELY, says
from clinical_backend.origins import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["JudgedLabels", "Mistake", "SiteMeasures", "Threshold", "read_judged_labels"]

logger = logging.getLogger(__name__)

_SHARES = (0.5, 0.8, 0.9, 0.95, 1.0)
"""Of the labelled cases of a class that a threshold finds: chosen, as screening programmes state them."""
_UNSEEN = {Origin.IMPORTED, Origin.ACCEPTED}
"""Nobody looked at these: a model's own answers would prove it right."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A label that the classifier contradicts.

    Attributes
    ----------
    task_id
        The task.
    label
        What readers say, as it is stored.
    said
        What the classifier says is there, and readers not: a class, or a finding.
    missed
        What readers say is there, and the classifier not; empty where it only says more.
    probability
        How sure the classifier is of its own answer, 0 to 1.
    """

    task_id: int
    label: str
    said: str
    missed: str
    probability: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is found where every case above a score is called.

    Attributes
    ----------
    score
        The lowest that is called, 0 to 1.
    found, present
        Labelled cases of the class that are called, and all of them.
    called
        Labelled cases that are called.
    """

    score: float
    found: int
    present: int
    called: int


@dataclass(frozen=True, slots=True)
class SiteMeasures:
    """How a class is called at one site.

    Attributes
    ----------
    site
        Its name; empty for tasks that name none.
    labels
        Labelled cases that judge.
    right, present, called
        Cases of the class that are called so, all that readers call so, and all that the classifier calls so.
    """

    site: str
    labels: int
    right: int
    present: int
    called: int


@dataclass(frozen=True, slots=True)
class JudgedLabels:
    """Labelled tasks that a training judged without having seen them (out of fold).

    Attributes
    ----------
    classes
        The C classes that it learnt.
    tasks
        Shape (n,), int64.
    probabilities
        Shape (n, C), float32.
    labels
        What readers say of each task by now, as it is stored.
    several
        Whether an image may have several findings, each with a probability of its own.
    """

    classes: tuple[str, ...]
    tasks: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...]
    several: bool

    def mistakes(self, given: str | None = None, said: str | None = None) -> list[Mistake]:
        """Return what the classifier gets wrong, what it is surest of first.

        Parameters
        ----------
        given, said
            Only those that readers call so, or that the classifier calls so; by default all.
        """
        found = [
            one
            for each in zip(self.tasks.tolist(), self.probabilities, self.labels, strict=True)
            for one in self._of(*each)
        ]
        kept = [one for one in found if (given is None or one.missed == given) and (said is None or one.said == said)]
        return sorted(kept, key=lambda one: (-one.probability, one.task_id))

    def _of(self, task: int, probabilities: NDArray[np.float32], label: str) -> list[Mistake]:
        if not self.several:
            best = int(probabilities.argmax())
            name = self.classes[best]
            wrong = name != label
            return [Mistake(task, label, name, label, float(probabilities[best]))] if wrong else []
        found = []
        for name, one in zip(self.classes, probabilities.tolist(), strict=True):
            there = says(label, name)
            if there is False and one >= LIKELY:
                found.append(Mistake(task, label, name, "", one))
            elif there and one < LIKELY:
                found.append(Mistake(task, label, "", name, 1 - one))
        return found

    def thresholds(self, name: str) -> list[Threshold]:
        """Return the highest score at which each of some shares of the labelled cases of a class is found.

        Empty where no labelled case is of the class, or all are.
        """
        if name not in self.classes:
            return []
        told, shown = self._readings(name)
        truth, scores = shown[told], self.probabilities[told, self.classes.index(name)]
        present = int(truth.sum())
        if present in {0, len(truth)}:
            return []
        descending = np.sort(scores[truth])[::-1]
        lowest = {float(descending[int(np.ceil(share * present)) - 1]) for share in _SHARES}
        return [
            Threshold(score, int((truth & (scores >= score)).sum()), present, int((scores >= score).sum()))
            for score in sorted(lowest, reverse=True)
        ]

    def by_site(self, name: str, sites: Mapping[int, str]) -> list[SiteMeasures]:
        """Return how a class is called at each site, the site with the most labels first; empty for one site alone.

        Parameters
        ----------
        name
            The class.
        sites
            Site by task.
        """
        if name not in self.classes:
            return []
        called = self.called(name)
        told, present = self._readings(name)
        where = np.array([sites.get(task, "") for task in self.tasks.tolist()], dtype=object)
        found = []
        for site in sorted(set(where.tolist())):
            here = told & (where == site)
            counts = (here, here & present & called, here & present, here & called)
            found.append(SiteMeasures(site, *(int(each.sum()) for each in counts)))
        return sorted(found, key=lambda one: -one.labels) if len(found) > 1 else []

    def called(self, name: str) -> NDArray[np.bool_]:
        """Return which cases the classifier calls so, shape (n,)."""
        column = self.probabilities[:, self.classes.index(name)]
        called: NDArray[np.bool_] = column >= LIKELY if self.several else column >= self.probabilities.max(axis=1)
        return called

    def _readings(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which labels say something of a class, and which say that it is there, shapes (n,)."""
        said = [says(label, name) for label in self.labels]
        return np.array([one is not None for one in said], dtype=bool), np.array(
            [bool(one) for one in said], dtype=bool
        )


def read_judged_labels(project: ProjectWorkspace, row: Round | None) -> JudgedLabels | None:
    """Return the labels that the classifier of a round was judged by, as they are by now.

    Labels that nobody looked at are left out, and so is what no longer has a class. ``None`` where the round has no
    classifier that was judged, or it is not kept.
    """
    if row is None:
        return None
    folder = project.checkpoint_folder(row.version)
    if not folder.is_dir():
        return None
    try:
        held_out = load_held_out(folder)
    except ModelError as error:
        logger.warning("Project %d: the labels that judge round %d cannot be read: %s", project.id, row.number, error)
        return None
    if held_out is None:
        return None
    rows = project.stores.labels.all(project.id, held_out.tasks.tolist())
    several, classes = held_out.reference.independent, held_out.reference.classes
    labels = {
        task: one.label
        for task, one in rows.items()
        if one.label is not None and one.origin not in _UNSEEN and (several or one.label in classes)
    }
    kept = [place for place, task in enumerate(held_out.tasks.tolist()) if task in labels]
    tasks = held_out.tasks[kept]
    return JudgedLabels(
        tuple(classes),
        tasks,
        held_out.probabilities[kept],
        tuple(labels[task] for task in tasks.tolist()),
        several,
    )
