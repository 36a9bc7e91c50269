"""The test set in Label Studio: a tab of its own, in which readers get it without a word of any model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelStudioRefusedError, RoundAbandonedError
from clinical_backend.labelstudio.labeling.labels import Source, read_labels
from clinical_backend.labelstudio.tabs import show_test_set
from clinical_backend.rounds.blind_scores import judge_published
from clinical_backend.workspace.controls import read_as_set

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.labelstudio.resources import AnnotatedTask, Project
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["attend", "try_to_attend"]

logger = logging.getLogger(__name__)

_AT_ONCE = 50
"""Tasks that the tab holds for a first, and for a second reading. Label Studio orders a tab by no random number, and by
their ids the first that are read would be the first that were imported; so the tab holds the next ones of the random
order. More than a reader answers between two looks; chosen, not measured."""


def attend(project: ProjectWorkspace, remote: Project) -> None:
    """Judge the test set by the published model, once, and have Label Studio serve the part of it that is read next.

    It may be called at any time while holding the project's lock, and any number of times.

    Raises
    ------
    ClinicalError
        When Label Studio, the labeling config or the model cannot be read; what is left is done at the next look.
    """
    store = project.stores.test_sets
    row = store.get(project.id)
    if row is None or not row.draws:
        return
    judge_published(project)
    reserved = store.tasks(project.id).values()
    first = [one.task_id for one in reserved if not one.readings][:_AT_ONCE]
    again = [one.task_id for one in reserved if 0 < one.readings < row.readings][:_AT_ONCE]
    _have_served(project, remote, {*first, *again}, row.readings)
    project.stores.database.require_fence()
    show_test_set(project.client, project.id, {*first, *again})


def try_to_attend(project: ProjectWorkspace, remote: Project) -> None:
    """Do what :func:`attend` does after a queue was published: what fails is done at the next look.

    Raises
    ------
    RoundAbandonedError
        When the project was passed on to another worker.
    """
    try:
        attend(project, remote)
    except RoundAbandonedError:
        raise
    except ClinicalError as error:
        logger.warning("Project %d: the test set waits for the next look: %s", project.id, error)


def _have_served(project: ProjectWorkspace, remote: Project, tasks: Collection[int], wanted: int) -> None:
    """Have Label Studio want as many answers as readers are to give, whatever imports or models have answered."""
    scheme = read_as_set(remote.label_config, project.settings)
    for task in project.client.tasks_with_answers(project.id, tasks) if tasks else ():
        first = read_labels(scheme, [task]).first_answers.get(task.id)
        readings = first.readings if first is not None and first.source is Source.READER else 0
        answers = sum(not annotation.was_cancelled for annotation in task.annotations)
        needed = answers + max(0, wanted - readings)
        if readings < wanted and (task.is_labeled or task.overlap < needed):
            project.stores.database.require_fence()
            _change(project, task, max(needed, task.overlap))


def _change(project: ProjectWorkspace, task: AnnotatedTask, overlap: int) -> None:
    try:
        project.client.update_task(task.id, overlap=overlap, is_labeled=False)
    except LabelStudioRefusedError as error:
        if error.status != 404:  # one that was deleted meanwhile needs nothing
            raise
        logger.info("Project %d: task %d of the test set is gone", project.id, task.id)
