"""When a round is due: what events tell at once, and what a comparison with Label Studio finds later."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Self

from clinical_backend.errors import ModelError
from clinical_backend.labelstudio.contract import Event
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.rounds.reserve import read_answers
from clinical_backend.storage.schema import ReadingState
from clinical_backend.workspace.controls import read_as_set
from clinical_backend.workspace.known_images import may_try, without_copies

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from clinical_backend.labelstudio.contract import WebhookRequest
    from clinical_backend.labelstudio.labeling.project_labels import Labels
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.storage.schema import QueuedTask, Round
    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "STILL_TO_READ",
    "EventSummary",
    "is_running_low",
    "reason_for_labels",
    "reason_for_model",
    "reason_for_queue",
    "reason_to_go_on",
    "request_if_changed",
    "request_if_told",
]

logger = logging.getLogger(__name__)

_LOW_QUEUE_SHARE = 0.25
"""A queue with less than this share of its tasks left is running low."""

STILL_TO_READ = "images are still to be read"
"""Why a round is due, for people."""

_REASONS = {
    Event.START_TRAINING: "Start Training was called",
    Event.TASKS_CREATED: "tasks were imported",
    Event.ANNOTATIONS_DELETED: "annotations were deleted",
}
"""Events that make a round due by themselves."""


@dataclass(frozen=True, eq=False, slots=True)
class EventSummary:
    """What is kept of an event until it is counted: an annotation may be large, and many may wait.

    Attributes
    ----------
    tasks
        The tasks that it is about.
    annotations
        How many annotations it tells of.
    answers
        Whether one of them is an answer and no skip.
    starred
        Whether one of them has the star.
    controls
        The controls that they answer.
    """

    project_id: int
    event: Event
    tasks: tuple[int, ...]
    annotations: int
    answers: bool
    starred: bool
    controls: frozenset[str]

    @classmethod
    def of(cls, project_id: int, webhook: WebhookRequest) -> Self:
        """Return what is kept of an event."""
        annotations = webhook.annotations
        return cls(
            project_id,
            webhook.event,
            webhook.task_ids,
            len(annotations),
            not all(annotation.was_cancelled for annotation in annotations),
            any(annotation.ground_truth for annotation in annotations),
            frozenset(str(region.get("from_name")) for each in annotations for region in each.result or ()),
        )


def request_if_told(project: ProjectWorkspace, events: Sequence[EventSummary]) -> str | None:
    """Count events of a project, and make a round due if they give a reason, which is returned."""
    kinds = [event.event for event in events]
    _note_deleted(project, [task for one in events if one.event is Event.ANNOTATIONS_DELETED for task in one.tasks])
    reserved = project.stores.test_sets.ids(project.id)  # a round learns nothing from these
    annotated = [
        event
        for event in events
        if event.event.is_annotation
        and event.event not in _REASONS
        and not (event.tasks and reserved.issuperset(event.tasks))
    ]
    reason = _reason_for_annotations(project, annotated) if annotated else None
    reason = next((_REASONS[kind] for kind in kinds if kind in _REASONS), reason)
    if reason is not None:
        delay = 0.0 if Event.START_TRAINING in kinds else None
        project.stores.projects.request_round(project.id, reason, delay=delay)
    return reason


def _note_deleted(project: ProjectWorkspace, tasks: Collection[int]) -> None:
    published = project.stores.rounds.published(project.id) if tasks else None
    if published is not None:
        project.stores.rounds.note_answers(published.id, tasks, answered=False)


def request_if_changed(project: ProjectWorkspace, remote: Project) -> None:
    """Find what no event told: changed labels or tags, new tasks, another config, a queue running low."""
    stores, settings = project.stores, project.settings
    row = project.row
    if row is None or row.request is not None:
        return
    if row.label_config is not None and row.label_config != remote.label_config:
        stores.projects.request_round(project.id, "the labeling config changed", delay=0)
        return
    known = stores.images.all(project.id)
    reason = "tasks were added or deleted" if len(known) != remote.task_number else reason_to_go_on(known)
    if reason is None:
        scheme = read_as_set(remote.label_config, settings)
        labels, _ = read_answers(project, remote, scheme, settings)
        reason = _compare_labels(project, labels, settings.start_training_each_n_updates)
        published = stores.rounds.published(project.id)
        if reason is None and published is not None:
            reason = _compare_published(project, published, known, labels)
    if reason is not None:
        stores.projects.request_round(project.id, reason)


def reason_to_go_on(known: Mapping[int, KnownImage]) -> str | None:
    """Say that there are images that no round has had the time for, and that may be read now, or ``None``."""
    now = time.time()
    waiting = any(image.is_waiting and may_try(image, now) for image in known.values())
    return STILL_TO_READ if waiting else None


def reason_for_queue(left: int, size: int, pool: int) -> str | None:
    """Say why the state of the queue makes a round due, or ``None``.

    Parameters
    ----------
    left, size
        Tasks of the published queue that are still to be annotated, and how many it had; those are left out that a
        reader had skipped before: they would make one round after the other due.
    pool
        Tasks of the project that nobody annotated or skipped.
    """
    if is_running_low(left, size) and left < pool:
        return f"the queue is running low: {left} of {size} tasks are left"
    return None


def is_running_low(left: int, size: int) -> bool:
    """Tell whether readers are near the end of a queue.

    Parameters
    ----------
    left, size
        As :func:`reason_for_queue` takes them.
    """
    return left < _LOW_QUEUE_SHARE * size


def reason_for_labels(
    before: Mapping[int, tuple[str | None, int]], now: Mapping[int, tuple[str | None, int]], every: int
) -> str | None:
    """Compare labels with those of the last round, and say why a round is due, or ``None``.

    Parameters
    ----------
    before, now
        Class and steer (1 exemplar, −1 counter-exemplar, else 0) by task.
    every
        START_TRAINING_EACH_N_UPDATES.
    """
    if _steering(before) != _steering(now):
        return "the exemplars changed"
    if before.keys() - now.keys():
        return "annotations were deleted"
    changed = sum(before.get(task) != now.get(task) for task in before.keys() | now.keys())
    return f"{changed} annotations changed" if changed >= every else None


def _steering(labels: Mapping[int, tuple[str | None, int]]) -> Collection[tuple[int, int]]:
    return {(task, steer) for task, (_, steer) in labels.items() if steer}


def _reason_for_annotations(project: ProjectWorkspace, events: Sequence[EventSummary]) -> str | None:
    stores, settings = project.stores, project.settings
    # A second reading mostly confirms. Where it changes a label, reconciling counts that.
    again = stores.second_readings.open_tasks(project.id)
    updated = sum(event.annotations for event in events if again.isdisjoint(event.tasks))
    tasks = [event.tasks for event in events]
    published = stores.rounds.published(project.id)
    queued = stores.rounds.queued(published.id, {*chain(*tasks)}) if published else frozenset()
    from_queue = sum(not queued.isdisjoint(each) for each in tasks)
    answered = queued.intersection(chain(*(event.tasks for event in events if event.answers)))
    if published is not None and answered:
        stores.rounds.note_answers(published.id, answered)
    steering = (stores.labels.steering(project.id) | stores.page_tags.open(project.id).keys()) - again
    updates, left = stores.projects.count_annotations(project.id, updated, from_queue=from_queue)
    tagged = any((settings.stars and event.starred) or settings.exemplar_control in event.controls for event in events)
    if tagged or not steering.isdisjoint(chain(*tasks)):
        return "an exemplar was tagged or changed"
    if updates >= settings.start_training_each_n_updates:
        return f"{updates} annotations were made or changed"
    if published is None or not from_queue:
        return None
    counts = published.report.counts
    # Of the pool as the round found it, what was not read was not queued, and readers skipped or annotated some.
    pool = counts.pool - counts.unreadable - counts.waiting - (counts.queue - left)
    return reason_for_queue(left, counts.queue - counts.skipped_in_queue, pool)


def _compare_labels(project: ProjectWorkspace, labels: Labels, every: int) -> str | None:
    steer = dict.fromkeys(labels.exemplars, 1) | dict.fromkeys(labels.counter_exemplars, -1)
    now = {task: (labels.classes.get(task), steer.get(task, 0)) for task in labels.answered}
    known = project.stores.labels.all(project.id)
    return reason_for_labels({task: (entry.label, entry.steer) for task, entry in known.items()}, now, every)


def _compare_published(
    project: ProjectWorkspace, published: Round, known: Mapping[int, KnownImage], labels: Labels
) -> str | None:
    """Say why the published queue, or its model, is no longer enough, or ``None``."""
    stores = project.stores
    reason = reason_for_model(project, published)
    if reason is not None:
        return reason
    queue = stores.rounds.queue(published.id)
    seen = labels.answered | labels.skipped
    left = sum(queued.task_id not in seen for queued in queue)
    _note_answers(project, published, queue, labels)
    stores.projects.change(project.id, queue_left=left)
    now = time.time()
    digests = {task: image.digest for task, image in known.items() if image.digest is not None}
    aside = labels.answered | stores.test_sets.ids(project.id)
    pool, _ = without_copies(digests, (task for task in known if task not in aside), aside)
    fresh = sum(task not in labels.skipped and may_try(known[task], now) for task in pool)
    size = len(queue) - published.report.counts.skipped_in_queue
    if left or fresh:
        return reason_for_queue(left, size, fresh)
    return _reason_for_second_readings(project, published)


def _note_answers(project: ProjectWorkspace, published: Round, queue: Sequence[QueuedTask], labels: Labels) -> None:
    """Note which tasks of the queue are answered, where no event told, or told what is no longer so."""
    for answered in (True, False):
        changed = [
            one.task_id
            for one in queue
            if (one.task_id in labels.answered) is answered and (one.answered_at is not None) is not answered
        ]
        if changed:
            project.stores.rounds.note_answers(published.id, changed, answered=answered)


def reason_for_model(project: ProjectWorkspace, published: Round) -> str | None:
    """Say why the classifier of a round, if it made one, predicts nothing any more, or ``None``."""
    folder = project.checkpoint_folder(published.version)
    try:
        _, metadata = load_checkpoint(folder)
    except ModelError as error:
        if not published.report.measurements and not folder.is_dir():
            return None  # there were too few labels for one
        logger.warning("Project %d: %s", project.id, error)
        return "the model of the published queue was lost or changed on disk"
    return None if project.workspace.backbone.has_made(metadata.backbone) else "the backbone was changed"


def _reason_for_second_readings(project: ProjectWorkspace, published: Round) -> str | None:
    """Say that nothing but second readings is left and those of the last queue are read; each is asked for once."""
    if not published.report.second_look.waiting:
        return None
    rows = project.stores.second_readings.all(project.id)
    asked = [rows.get(one.task_id) for one in published.report.second_look.asked]
    done = asked and all(row is not None and row.state is ReadingState.READ for row in asked)
    return "more labels deserve a second look" if done else None
