"""Bring Label Studio in line with the second readings of the published queue, and put back what is over.

It is told before anything is changed there: a row is stored, then the task is changed. So whatever dies in between,
the next look finds the row and either goes on or puts back.
"""

from __future__ import annotations

import logging
import time
from functools import cached_property
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelStudioRefusedError, RoundAbandonedError
from clinical_backend.labelstudio.labeling.labels import readers_answers, with_counts
from clinical_backend.storage.schema import ReadingState, SecondReading
from clinical_backend.workspace.controls import read_as_set

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import AnnotatedTask, Project
    from clinical_backend.settings import Settings
    from clinical_backend.storage.report import Asked
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["settle", "try_to_settle"]

logger = logging.getLogger(__name__)


def settle(project: ProjectWorkspace, remote: Project) -> None:
    """Have Label Studio serve what the published queue asks to be read again, and nothing else.

    What another reader has answered is noted with both answers. What was not read, since its queue was replaced or the
    lead switched this off, gets back the number of answers that Label Studio wanted before, unless somebody changed it
    there meanwhile. It may be called at any time while holding the project's lock, and any number of times.

    Raises
    ------
    ClinicalError
        When Label Studio or the labeling config cannot be read; what is left is done at the next look.
    """
    stores = project.stores
    settings = project.settings
    rows = stores.second_readings.all(project.id)
    second_look = stores.rounds.published_report(project.id).second_look
    asked = {one.task_id: one for one in second_look.asked}
    wanted = {task: one for task, one in asked.items() if _is_wanted(one, rows.get(task), settings)}
    open_ = [task for task, row in rows.items() if row.state is ReadingState.OPEN]
    unmarked = [task for task in wanted if task not in rows or rows[task].state is ReadingState.ASKED]
    if not open_ and not unmarked:
        return
    scheme = read_as_set(remote.label_config, settings)
    found = {task.id: task for task in project.client.tasks_with_answers(project.id, {*open_, *unmarked})}
    missing = {*open_, *unmarked}.difference(found)
    unreadable = project.client.existing_tasks(project.id, missing) if missing else frozenset()
    settling = _Settling(project, remote, scheme)
    for task_id in sorted({*open_, *unmarked}):
        row, task = rows.get(task_id), found.get(task_id)
        if task_id in unreadable:
            continue  # Label Studio fails in giving it: the next look goes on
        if task is None:
            stores.second_readings.drop(project.id, [task_id])
        elif row is not None and row.state is ReadingState.OPEN and len(readers_answers(scheme, task)) > row.readings:
            settling.note(row, task)
        elif task_id in wanted:
            settling.ask(wanted[task_id], row, task)
        elif row is not None:
            settling.give_up(row, task)


def try_to_settle(project: ProjectWorkspace, remote: Project) -> None:
    """Do what :func:`settle` does after a queue was published: what fails is done at the next look.

    Raises
    ------
    RoundAbandonedError
        When the project was passed on to another worker, whose queue may ask for other second readings.
    """
    try:
        settle(project, remote)
    except RoundAbandonedError:
        raise
    except ClinicalError as error:
        logger.warning("Project %d: second readings wait for the next look: %s", project.id, error)


def _is_wanted(asked: Asked, row: SecondReading | None, settings: Settings) -> bool:
    """Tell whether what the queue asks for is still wanted, as far as settings and the lead say now."""
    if row is not None and row.state is ReadingState.READ:
        return False
    by_lead = row is not None and row.by_lead
    drawn = asked.at_random and settings.second_look_random_share > 0
    return by_lead or drawn or (asked.suspicion is not None and settings.second_look_share > 0)


class _Settling:
    """Changes one task after the other."""

    def __init__(self, project: ProjectWorkspace, remote: Project, scheme: LabelingScheme) -> None:
        self._client, self._store = project.client, project.stores.second_readings
        self._require_fence = project.stores.database.require_fence
        self._project, self._scheme = remote, scheme

    def ask(self, asked: Asked, row: SecondReading | None, task: AnnotatedTask) -> None:
        """Have the task served to another reader, if it is not."""
        answers = self._answers(task)
        if row is None and len(readers_answers(self._scheme, task)) > asked.readings:
            return  # somebody read it meanwhile: the next round notes that
        if not answers:  # its answer was deleted: it is an ordinary task again
            self._end(row, task)
            return
        known = row is not None and row.state is ReadingState.OPEN
        if row is not None and known and not task.is_labeled:
            self._add_reasons(row, asked)
            return
        made = SecondReading(
            project_id=self._project.id,
            task_id=asked.task_id,
            state=ReadingState.OPEN,
            label=asked.label,
            readings=asked.readings,
            suspicion=asked.suspicion,
            at_random=asked.at_random,
            asked_at=time.time(),
            overlap=row.overlap if row is not None and known else task.overlap,
            raised_to=answers + 1,
        )
        self._store.keep(self._project.id, [made])
        self._change(task, overlap=answers + 1, is_labeled=False)

    def note(self, row: SecondReading, task: AnnotatedTask) -> None:
        """Keep both answers of a task that was read again."""
        self._put_back(row, task)
        row.state, row.read_at = ReadingState.READ, time.time()
        row.answers = [list(answer) for answer in readers_answers(self._deciding, task)]
        self._store.keep(self._project.id, [row])

    def give_up(self, row: SecondReading, task: AnnotatedTask) -> None:
        """Ask nobody any more. What the lead asked for waits for another queue."""
        self._put_back(row, task)
        if self._answers(task):
            self._store.give_up(self._project.id, row.task_id)
        else:
            self._store.drop(self._project.id, [row.task_id])

    @cached_property
    def _deciding(self) -> LabelingScheme:
        """The scheme with the class that decides as all answers of the project tell, which are read for that alone."""
        if not self._scheme.counts_images:
            return self._scheme
        return with_counts(self._scheme, self._client.annotated_tasks(self._project.id))

    def _add_reasons(self, row: SecondReading, asked: Asked) -> None:
        """Keep that a random draw, or doubt, fell on what was asked for already."""
        reasons = row.at_random or asked.at_random, asked.suspicion if row.suspicion is None else row.suspicion
        if (row.at_random, row.suspicion) != reasons:
            row.at_random, row.suspicion = reasons
            self._store.keep(self._project.id, [row])

    def _end(self, row: SecondReading | None, task: AnnotatedTask) -> None:
        if row is not None:
            self._put_back(row, task)
            self._store.drop(self._project.id, [row.task_id])

    def _put_back(self, row: SecondReading, task: AnnotatedTask) -> None:
        """Give the task back what it had, unless Label Studio has another number than we gave it."""
        if row.overlap is not None and task.overlap == row.raised_to:
            # Whoever wants more answers of the whole project by now set the same number for this task.
            overlap = max(row.overlap, self._project.maximum_annotations)
            self._change(task, overlap=overlap, is_labeled=self._answers(task) >= overlap)

    def _answers(self, task: AnnotatedTask) -> int:
        """Return how many answers Label Studio counts."""
        skips_count = self._project.skip_queue == "IGNORE_SKIPPED"
        return sum(skips_count or not annotation.was_cancelled for annotation in task.annotations)

    def _change(self, task: AnnotatedTask, *, overlap: int, is_labeled: bool) -> None:
        self._require_fence()
        try:
            self._client.update_task(task.id, overlap=overlap, is_labeled=is_labeled)
        except LabelStudioRefusedError as error:
            if error.status != 404:  # one that was deleted meanwhile needs nothing
                raise
            logger.info("Project %d: task %d, which was to be read again, is gone", self._project.id, task.id)
