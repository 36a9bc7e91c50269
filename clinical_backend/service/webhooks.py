"""Events that Label Studio tells of, taken in batches; one of them may make a round due."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from clinical_backend.errors import ClinicalError, StorageError
from clinical_backend.labelstudio.contract import Event
from clinical_backend.logs import SeldomLogger
from clinical_backend.rounds.due import reason_for_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from clinical_backend.labelstudio.contract import WebhookRequest
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Intake", "answer_late"]

logger = logging.getLogger(__name__)
seldom = SeldomLogger(__name__)

_MOST_WAITING = 100_000
"""Some 50 MB."""
_PAUSE_SECONDS = 0.1
"""Between two counts, each of which costs some milliseconds of the interpreter's time."""
_MANY_WAITING = 10
_CLOSE_SECONDS = 3.0

_REASONS = {
    Event.START_TRAINING: "Start Training was called",
    Event.TASKS_CREATED: "tasks were imported",
    Event.ANNOTATIONS_DELETED: "annotations were deleted",
}
"""Events that make a round due by themselves."""


@dataclass(frozen=True, eq=False, slots=True)
class _Arrival:
    """What is kept of an event until it is counted: an annotation may be large, and many may wait.

    Attributes
    ----------
    tasks
        The tasks that it is about.
    annotations
        How many annotations it tells of.
    starred
        Whether one of them has the star.
    controls
        The controls that they answer.
    outcome
        What came of it.
    """

    project_id: int
    event: Event
    tasks: tuple[int, ...]
    annotations: int
    starred: bool
    controls: frozenset[str]
    outcome: Future[str | None] = field(default_factory=Future, repr=False)

    @classmethod
    def of(cls, project_id: int, webhook: WebhookRequest) -> _Arrival:
        annotations = webhook.annotations
        return cls(
            project_id,
            webhook.event,
            webhook.task_ids,
            len(annotations),
            any(annotation.ground_truth for annotation in annotations),
            frozenset(str(region.get("from_name")) for each in annotations for region in each.result or ()),
        )


class Intake:
    """Takes events as hints that something changed, and makes a round due when there is reason to.

    A busy database takes some fifty transactions a second, and others may be at it, while readers and imports can send
    hundreds of events. So one thread counts for all who wait, and the more come at once, the fewer transactions each
    costs. An event that cannot be counted soon is answered all the same, and counted later: a reader waits for the
    answer. What is lost with the process then is found by reconciling, which compares all labels.

    Parameters
    ----------
    workspace
        Settings and state of the backend.
    is_served
        Says whether the events of a project are to be counted; told of the kinds of events. By default all are.
    wake
        Told of each project for which a round is due now.
    """

    answer_seconds: ClassVar[float] = 0.9
    """How long an answer waits for the event to be counted: Label Studio, and a reader with it, waits for a second."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        is_served: Callable[[int, Set[Event]], bool] = lambda *_: True,
        wake: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._workspace = workspace
        self._stores = workspace.stores
        self._is_served = is_served
        self._wake = wake
        self._waiting: list[_Arrival] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, webhook: WebhookRequest, project_id: int) -> Future[str | None]:
        """Have an event counted soon, and return what comes of it: why a round is due now, if one is. Returns at once.

        Raises
        ------
        StorageError
            When more events wait than is sound.
        """
        arrival = _Arrival.of(project_id, webhook)
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                raise StorageError(
                    "The database has been busy or away for so long that too many events wait to be counted.",
                    "See what keeps it; what is not counted now is found by reconciling.",
                )
            self._waiting.append(arrival)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="intake")
                self._thread.start()
            self._changed.notify_all()
        return arrival.outcome

    @property
    def is_behind(self) -> bool:
        """Whether so many events wait that one is better answered before it is counted."""
        return len(self._waiting) > _MANY_WAITING

    def take(self, webhook: WebhookRequest, project_id: int) -> str | None:
        """Take an event, and say why a round is due now, if one is and that is known soon.

        Raises
        ------
        ClinicalError
            When the project's options, or the database, do not allow it.
        """
        outcome = self.put(webhook, project_id)
        try:
            return outcome.result(self.answer_seconds)
        except TimeoutError:
            answer_late(webhook)
            return None

    def close(self) -> None:
        """Count what waits, as far as the database lets that be done at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (together := self._next()) is not None:
            try:
                self._take_all(together)
            except Exception as fault:
                # The thread must outlive a fault of ours, and the other events with it.
                logger.exception("An event could not be counted")
                self._return(together[1:])
                together[0].outcome.set_exception(fault)
            if len(together) > 1:  # many come: what comes meanwhile is counted together
                time.sleep(_PAUSE_SECONDS)

    def _next(self) -> list[_Arrival] | None:
        """Wait for events, and take those of one project; ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            project_id = self._waiting[0].project_id
            together = [arrival for arrival in self._waiting if arrival.project_id == project_id]
            self._waiting = [arrival for arrival in self._waiting if arrival.project_id != project_id]
            return together

    def _return(self, arrivals: Sequence[_Arrival]) -> None:
        with self._changed:
            self._waiting = [*arrivals, *self._waiting]

    def _take_all(self, together: Sequence[_Arrival]) -> None:
        """Take events of one project, and tell each what came of it."""
        project_id = together[0].project_id
        try:
            served = self._is_served(project_id, {arrival.event for arrival in together})
            reason = self._take(project_id, together) if served else None
        except ClinicalError as error:
            seldom.warning("Events are not counted, and left to reconciling: %s", error)
            for arrival in together:
                arrival.outcome.set_exception(error)
            return
        if reason is not None:
            self._wake(project_id)
        for arrival in together:
            arrival.outcome.set_result(reason)

    def _take(self, project_id: int, arrivals: Sequence[_Arrival]) -> str | None:
        events = [arrival.event for arrival in arrivals]
        annotated = [arrival for arrival in arrivals if arrival.event.is_annotation and arrival.event not in _REASONS]
        reason = self._reason_of_annotations(project_id, annotated) if annotated else None
        reason = next((_REASONS[event] for event in events if event in _REASONS), reason)
        if reason is not None:
            delay = 0.0 if Event.START_TRAINING in events else None
            self._stores.projects.request_round(project_id, reason, delay=delay)
        return reason

    def _reason_of_annotations(self, project_id: int, arrivals: Sequence[_Arrival]) -> str | None:
        settings = self._workspace.project(project_id).settings
        # A second reading mostly confirms. Where it changes a label, reconciling counts that.
        again = self._stores.second_readings.open_tasks(project_id)
        updated = sum(arrival.annotations for arrival in arrivals if again.isdisjoint(arrival.tasks))
        tasks = [arrival.tasks for arrival in arrivals]
        published = self._stores.rounds.published(project_id)
        queued = self._stores.rounds.queued(published.id, {*chain(*tasks)}) if published else frozenset()
        from_queue = sum(not queued.isdisjoint(each) for each in tasks)
        steering = self._stores.labels.steering(project_id) - again
        updates, left = self._stores.projects.count_annotations(project_id, updated, from_queue=from_queue)
        tagged = any(
            (settings.stars and arrival.starred) or settings.exemplar_control in arrival.controls
            for arrival in arrivals
        )
        if tagged or not steering.isdisjoint(chain(*tasks)):
            return "an exemplar was tagged or changed"
        if updates >= settings.start_training_each_n_updates:
            return f"{updates} annotations were made or changed"
        if published is None or not from_queue:
            return None
        counts = published.report.get("counts", {})
        queue, skipped = counts.get("queue", 0), counts.get("skipped_in_queue", 0)
        # Of the pool as the round found it, what was not read was not queued, and readers skipped or annotated some.
        unread = counts.get("unreadable", 0) + counts.get("waiting", 0)
        pool = counts.get("pool", 0) - unread - (queue - left)
        return reason_for_queue(left, queue - skipped, pool)


def answer_late(webhook: WebhookRequest) -> None:
    """Answer an event that is not counted yet: as taken, unless it is a person's order, which is never taken in vain.

    Raises
    ------
    StorageError
        For *Start Training*: reconciling would not find it, were it lost.
    """
    if webhook.event is Event.START_TRAINING:
        raise StorageError(
            "The database is busy: the round is begun when it is free.",
            "See the project's page in a minute, and press Start Training again if none has begun.",
        )
