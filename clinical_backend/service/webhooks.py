"""Events that Label Studio tells of, taken in batches; one of them may make a round due."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from clinical_backend.errors import ClinicalError, StorageError
from clinical_backend.labelstudio.contract import Event
from clinical_backend.logs import SeldomLogger
from clinical_backend.rounds.due import EventSummary, request_if_told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from clinical_backend.labelstudio.contract import WebhookRequest
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["EventCounter", "answer_late"]

logger = logging.getLogger(__name__)
seldom = SeldomLogger(__name__)

_MOST_WAITING = 100_000
"""Some 50 MB."""
_PAUSE_SECONDS = 0.1
"""Between two counts, each of which costs some milliseconds of the interpreter's time."""
_MANY_WAITING = 10  # a fifth of a second, at fifty transactions a second
_CLOSE_SECONDS = 3.0  # of the ten after which Docker kills


@dataclass(frozen=True, eq=False, slots=True)
class _Arrival(EventSummary):
    """An event that waits to be counted, and what came of it."""

    outcome: Future[str | None] = field(default_factory=Future, repr=False)


class EventCounter:
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
                self._thread = threading.Thread(target=self._run, daemon=True, name="events")
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
            reason = request_if_told(self._workspace.project(project_id), together) if served else None
        except ClinicalError as error:
            seldom.warning("Events are not counted, and left to reconciling: %s", error)
            for arrival in together:
                arrival.outcome.set_exception(error)
            return
        if reason is not None:
            self._wake(project_id)
        for arrival in together:
            arrival.outcome.set_result(reason)


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
