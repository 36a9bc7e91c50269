"""A worker of its own: it takes hints from Redis and runs rounds, and adapts networks beside them."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

from redis import RedisError
from rq import SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.timeouts import UnixSignalDeathPenalty

from clinical_backend.errors import RoundTimeoutError, StorageError
from clinical_backend.jobs.lease import lease
from clinical_backend.jobs.redis_connection import connect_redis, hint_key, project_key, round_queue, training_key
from clinical_backend.jobs.trainings import TrainingJobs
from clinical_backend.jobs.worker import attend_project, open_workshop, warm_up_workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from redis import Redis

    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.settings import Settings

__all__ = ["attend", "run_rq_worker"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
_SIGN_SECONDS = 60
_LOOK_SECONDS = 1.0

_tools: ContextVar[tuple[Workshop, Redis]] = ContextVar("tools")
"""What the worker of this process works with: jobs carry only ids."""


def run_rq_worker(settings: Settings) -> None:
    """Run what is due until the process is told to end by SIGTERM; it then finishes the round that it is at.

    Redis may go and come back: the worker waits for it. A second SIGTERM ends it at once, as any other end of
    the process does; another worker then runs the round again.

    Raises
    ------
    ClinicalError
        When the settings name no Redis, or the database cannot be opened.
    """
    connection = connect_redis(settings)
    workshop = open_workshop(settings)
    os.nice(5)  # a server on the same machine goes first
    warm_up_workshop(workshop)
    _tools.set((workshop, connection))
    with _trainings(workshop, connection):
        try:
            _work(connect_redis(settings))  # RQ waits long on its own
        except StopRequested:
            logger.debug("Told to end while waiting for Redis")
    logger.info("The worker has ended")


def attend(project_id: int, look: bool) -> None:
    """Look at a project, as a job: do what is due for it, unless another worker is at it."""
    workshop, connection = _tools.get()
    if not look:
        connection.delete(hint_key(project_id, look=False))  # what comes from now on is worth another hint
    with lease(connection, project_key(project_id), workshop.settings.worker_timeout_seconds) as free:
        if free:
            attend_project(workshop, project_id, look=look)


class _Deadline(UnixSignalDeathPenalty):
    """Interrupts a job that takes too long, with an error that fails its round for a reason."""

    def handle_death_penalty(self, signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        raise RoundTimeoutError(
            f"The round was stopped after {self._timeout} seconds.",
            "Set ROUND_TIMEOUT_SECONDS higher if it needs more; the images it has embedded are kept.",
        )


class _RoundWorker(SimpleWorker):
    """Runs jobs in this process, where the networks are loaded, one after the other."""

    death_penalty_class = _Deadline
    max_connection_wait_time = _LONGEST_PAUSE
    told_to_end = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job, then end."""
        self.told_to_end = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def set_shutdown_requested_date(self) -> None:
        """Note nothing in Redis: it may be away, and its error would end the round that the signal came into."""

    def subscribe(self) -> None:
        """Take no commands from Redis: whoever reaches it could end workers."""

    def unsubscribe(self) -> None:
        """Do nothing: nothing is subscribed to."""


def _work(connection: Redis) -> None:
    pause = _FIRST_PAUSE
    told_to_end = False
    while not told_to_end:
        worker = None
        try:
            worker = _RoundWorker(
                [round_queue(connection)], connection=connection, serializer=JSONSerializer, worker_ttl=_SIGN_SECONDS
            )
            logger.info("The worker is ready")
            worker.work(logging_level="ERROR")
            pause = _FIRST_PAUSE
        except RedisError as error:
            logger.warning("Redis does not answer (%s): the worker waits for it", type(error).__name__)
        told_to_end = worker is not None and worker.told_to_end
        if not told_to_end:
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)


@contextmanager
def _trainings(workshop: Workshop, connection: Redis) -> Iterator[None]:
    """Train networks in a process beside the rounds, each on one machine only."""

    def attend_trainings() -> None:
        while not ended.wait(_LOOK_SECONDS):
            try:
                jobs.attend()
            except (RedisError, StorageError):
                logger.debug("Trainings wait for Redis or the database")
            except Exception:
                # Rounds go on without; a fault that lasts is seen in the log each time.
                logger.exception("Trainings could not be attended to")

    seconds = workshop.settings.worker_timeout_seconds
    jobs = TrainingJobs(workshop, claim=lambda project_id: lease(connection, training_key(project_id), seconds))
    ended = threading.Event()
    thread = threading.Thread(target=attend_trainings, daemon=True, name="trainings")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        jobs.stop()
