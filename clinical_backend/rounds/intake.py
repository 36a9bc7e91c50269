"""Events that Label Studio tells of, taken in batches; one of them may make a round due."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import Event
from clinical_backend.rounds.trigger import reason_for_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.labelstudio.contract import WebhookRequest
    from clinical_backend.rounds.workshop import Workshop

__all__ = ["Intake"]


_REASONS = {
    Event.START_TRAINING: "Start Training was called",
    Event.TASKS_CREATED: "tasks were imported",
    Event.ANNOTATIONS_DELETED: "annotations were deleted",
}
"""Events that make a round due by themselves."""


@dataclass(eq=False)
class _Arrival:
    """An event that waits to be taken, and what came of it."""

    project_id: int
    webhook: WebhookRequest
    taken: bool = False
    reason: str | None = None
    error: ClinicalError | None = None


class Intake:
    """Takes events as hints that something changed, and makes a round due when there is reason to.

    A busy database takes some fifty transactions a second, while readers and imports can send hundreds of events.
    So whoever comes first works for all who wait: an event is answered once it is counted, and the more come at
    once, the fewer transactions each costs.

    Parameters
    ----------
    workshop
        Settings and state of the backend.
    """

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._stores = workshop.stores
        self._waiting: list[_Arrival] = []
        self._line, self._work = threading.Lock(), threading.Lock()

    def take(self, webhook: WebhookRequest, project_id: int) -> str | None:
        """Take an event of a project that is served, and say why a round is due now, if one is.

        Raises
        ------
        ClinicalError
            When the project's options, or the database, do not allow it.
        """
        arrival = _Arrival(project_id, webhook)
        with self._line:
            self._waiting.append(arrival)
        with self._work:
            if not arrival.taken:
                self._take_with_all_like(arrival)
        if arrival.error is not None:
            raise arrival.error
        return arrival.reason

    def _take_with_all_like(self, own: _Arrival) -> None:
        """Take what waits of one project; after a fault of ours, those who still wait try for themselves."""
        with self._line:
            together = [arrival for arrival in self._waiting if arrival.project_id == own.project_id]
        try:
            reason, error = None, None
            try:
                reason = self._take(own.project_id, [arrival.webhook for arrival in together])
            except ClinicalError as raised:
                error = raised
            for arrival in together:
                arrival.taken, arrival.reason, arrival.error = True, reason, error
        finally:
            with self._line:
                self._waiting = [each for each in self._waiting if each is not own and not each.taken]

    def _take(self, project_id: int, webhooks: Sequence[WebhookRequest]) -> str | None:
        events = [webhook.event for webhook in webhooks]
        annotated = [webhook for webhook in webhooks if webhook.event.is_annotation and webhook.event not in _REASONS]
        reason = self._reason_of_annotations(project_id, annotated) if annotated else None
        reason = next((_REASONS[event] for event in events if event in _REASONS), reason)
        if reason is not None:
            delay = 0.0 if Event.START_TRAINING in events else None
            self._stores.projects.request_round(project_id, reason, delay=delay)
        return reason

    def _reason_of_annotations(self, project_id: int, webhooks: Sequence[WebhookRequest]) -> str | None:
        settings = self._workshop.settings_of(project_id)
        annotations = [annotation for webhook in webhooks for annotation in webhook.annotations]
        tasks = [webhook.task_ids for webhook in webhooks]
        # A second reading mostly confirms. Where it changes a label, reconciling counts that.
        again = self._stores.second_readings.open_tasks(project_id)
        updated = sum(len(webhook.annotations) for webhook in webhooks if again.isdisjoint(webhook.task_ids))
        published = self._stores.rounds.published(project_id)
        queued = self._stores.rounds.queued(published.id, {*chain(*tasks)}) if published else frozenset()
        from_queue = sum(not queued.isdisjoint(each) for each in tasks)
        steering = self._stores.labels.steering(project_id) - again
        updates, left = self._stores.projects.count_annotations(project_id, updated, from_queue=from_queue)
        tagged = any(
            (settings.stars and annotation.ground_truth)
            or any(region.get("from_name") == settings.exemplar_control for region in annotation.result or ())
            for annotation in annotations
        )
        if tagged or not steering.isdisjoint(chain(*tasks)):
            return "an exemplar was tagged or changed"
        if updates >= settings.start_training_each_n_updates:
            return f"{updates} annotations were made or changed"
        if published is None or not from_queue:
            return None
        counts = published.report.get("counts", {})
        queue, skipped = counts.get("queue", 0), counts.get("skipped_in_queue", 0)
        # Of the pool as the round found it, what cannot be read was not queued, and readers skipped or annotated some.
        pool = counts.get("pool", 0) - counts.get("unreadable", 0) - (queue - left)
        return reason_for_queue(left, queue - skipped, pool)
