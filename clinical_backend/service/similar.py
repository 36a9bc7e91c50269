"""The cases that look most like one, by the features that rounds have made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.strategy.cosine import centre_of, centred_cosine
from clinical_backend.workspace.study_features import PooledStudies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from clinical_backend.storage.feature_files import FeatureStore
    from clinical_backend.strategy.tasks import FeaturedTasks
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["Neighbour", "Similar", "best_of", "compare", "compared_tasks", "find_similar"]

_BLOCK = 8192
"""Features at once: 42 MB in 1,280 dimensions. Of so many the store remembers that it has just checked them."""
_SAMPLE = 4096
"""Cases that tell the mean, to 1.6 % of their spread."""
_SECONDS = 2.0
"""After which no further block is begun, since a person waits. 100,000 cases took 2.9 s on two cores that others kept
busy."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A case beside the one that was asked about.

    Attributes
    ----------
    task_id
        The task.
    similarity
        The cosine of their features around the mean, at most 1; of words, their score.
    """

    task_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Similar:
    """What looks most like a case.

    Attributes
    ----------
    neighbours
        The most alike first.
    compared, known
        How many cases it was compared with, of those whose images were read.
    has_feature
        Whether the case itself has a feature: without one there is nothing to compare.
    """

    neighbours: tuple[Neighbour, ...]
    compared: int
    known: int
    has_feature: bool


def find_similar(project: ProjectWorkspace, task_id: int, limit: int) -> Similar:
    """Return the cases that look most like one, labelled or not, by their frozen features; the test set is left out.

    Parameters
    ----------
    limit
        How many are wanted. Labelled and queued cases are compared first, then the newest, as long as a person may be
        made to wait.

    Raises
    ------
    ClinicalError
        When the features cannot be read.
    """
    tasks = compared_tasks(project)
    if task_id not in tasks:  # without a look at the network, which takes long to load
        return Similar((), 0, len(tasks), has_feature=False)
    representation = project.representations()[0]
    own = project.features_of(representation, [task_id]).features
    if not len(own):
        return Similar((), 0, len(tasks), has_feature=False)
    del tasks[task_id]
    return compare(project, representation, own, tasks, limit)


def compared_tasks(project: ProjectWorkspace) -> dict[int, str]:
    """Return what identifies the image of each task that others may be compared with: the test set is left out."""
    reserved = project.stores.test_sets.ids(project.id)
    return {task: digest for task, digest in project.digests().items() if task not in reserved}


def compare(
    project: ProjectWorkspace,
    representation: Represented,
    own: NDArray[np.float32],
    tasks: Mapping[int, str],
    limit: int,
) -> Similar:
    """Return the tasks that look most like one feature.

    Parameters
    ----------
    representation
        What the feature is of.
    own
        The feature, shape (1, d).
    tasks
        What it is compared with, by what identifies their images.
    limit
        How many are wanted.

    Raises
    ------
    ClinicalError
        When the features cannot be read.
    """
    sample = sorted(tasks)[:: max(1, len(tasks) // _SAMPLE)]
    _store(representation).positions(tasks.values())  # checks all at once, which it remembers for a while
    centre = centre_of(project.features_of(representation, sample).features)
    likeness = partial(_likeness, own, centre)
    return best_of(project, representation, tasks, limit, likeness)


def best_of(
    project: ProjectWorkspace,
    representation: Represented,
    tasks: Mapping[int, str],
    limit: int,
    score: Callable[[FeaturedTasks], NDArray[np.float32]],
) -> Similar:
    """Return the tasks with the highest scores, as far as there is time.

    Parameters
    ----------
    representation, tasks, limit
        As for :func:`compare`.
    score
        Tells those of a block of tasks, shape (n,); what is no number comes last.

    Raises
    ------
    ClinicalError
        When the features cannot be read.
    """
    deadline = time.monotonic() + _SECONDS
    compared = 0
    found: list[Neighbour] = []
    for part in _blocks(project, set(tasks)):
        block = project.features_of(representation, part)
        compared += len(block)
        scores = np.nan_to_num(score(block), nan=-np.inf)
        best = np.argsort(-scores, kind="stable")[:limit]
        found += [Neighbour(int(block.tasks[row]), float(scores[row])) for row in best]
        if time.monotonic() > deadline:
            break
    found.sort(key=lambda one: (-one.similarity, one.task_id))
    return Similar(tuple(found[:limit]), compared, len(tasks), has_feature=True)


def _likeness(own: NDArray[np.float32], centre: NDArray[np.float32], block: FeaturedTasks) -> NDArray[np.float32]:
    likeness: NDArray[np.float32] = centred_cosine(own, block.features, centre)[0]
    return likeness


def _store(representation: Represented) -> FeatureStore:
    return representation.store if isinstance(representation, PooledStudies) else representation.images.frozen.store


def _blocks(project: ProjectWorkspace, tasks: set[int]) -> Iterator[list[int]]:
    """Yield tasks, block by block: labelled and queued ones first, then the newest."""
    published = project.stores.rounds.published(project.id)
    queued = [] if published is None else [row.task_id for row in project.stores.rounds.queue(published.id)]
    first = [task for task in dict.fromkeys([*project.stores.labels.all(project.id), *queued]) if task in tasks]
    every = [*first, *sorted(tasks.difference(first), reverse=True)]
    for start in range(0, len(every), _BLOCK):
        yield every[start : start + _BLOCK]
