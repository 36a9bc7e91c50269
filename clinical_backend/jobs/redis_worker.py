"""A worker of its own: it takes hints from Redis and runs rounds, and adapts networks beside them."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis import RedisError
from rq import Queue, Worker
from rq.exceptions import DequeueTimeout
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from clinical_backend.errors import ClinicalError, StorageError
from clinical_backend.jobs.redis_connection import (
    connect_redis,
    hint_key,
    project_key,
    read_hint,
    round_queue,
    training_key,
)
from clinical_backend.jobs.redis_lease import lease
from clinical_backend.jobs.training_jobs import TrainingJobs
from clinical_backend.jobs.worker import attend_project, prepare_workspace
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from redis import Redis

    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["attend", "run_redis_worker"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
"""A Redis that restarts is back within seconds; one that is away longer is asked twelve times a minute."""
_SIGN_SECONDS = 60
"""A worker without a sign for so long is no longer listed: far more than a heartbeat may be late."""
_LOOK_SECONDS = 1.0
"""Between two looks whether a network is to be trained, which takes minutes."""
_WAIT_SECONDS = 1
"""Between two heartbeats, and before a signal to end is seen."""


def run_redis_worker(settings: Settings) -> None:
    """Run what is due until the process is told to end by SIGTERM; it then finishes the round that it is at.

    Redis may go and come back: the worker waits for it. A second SIGTERM ends it at once, as any other end of
    the process does; another worker then runs the round again.

    Raises
    ------
    ClinicalError
        When the settings name no Redis, or the database cannot be opened.
    """
    connection = connect_redis(settings)
    workspace = prepare_workspace(settings)
    with _trainings(workspace, connection):
        _RoundWorker(workspace, connection, connect_redis(settings)).work()  # RQ waits long on its own
    logger.info("The worker has ended")


def attend(workspace: Workspace, connection: Redis, project_id: int, *, look: bool) -> None:
    """Do what is due for a project, if it is one of ours and no other worker is at it."""
    if not look:
        connection.delete(hint_key(project_id, look=False))  # what comes from now on is worth another hint
    if project_id not in workspace.stores.projects.ids():
        return
    with lease(connection, project_key(project_id), workspace.settings.worker_timeout_seconds) as free:
        if free:
            attend_project(workspace.project(project_id), look=look)


class _RoundWorker:
    """Runs rounds in this process, where the networks are loaded, one after the other.

    Of RQ it takes the queue and the list of workers, and nothing of its jobs: what Redis holds of a job can name any
    function, as its work, as a callback, or as what is to follow. Whoever writes to Redis can have a project of ours
    looked at, or keep it from that, and no more.

    Parameters
    ----------
    workspace
        What rounds work with.
    connection
        For claims on projects.
    queue_connection
        For the queue.
    """

    def __init__(self, workspace: Workspace, connection: Redis, queue_connection: Redis) -> None:
        self._workspace = workspace
        self._connection = connection
        self._queue = round_queue(queue_connection)
        self._pause = _FIRST_PAUSE
        self._told_to_end = False
        self._refused = False

    def work(self) -> None:
        """Take hints until told to end by a signal."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        while not self._told_to_end:
            try:
                with self._listed() as sign:
                    self._take_hints(sign)
            except RedisError as error:
                logger.warning("Redis does not answer (%s): the worker waits for it", type(error).__name__)
                self._wait()

    @contextmanager
    def _listed(self) -> Iterator[Worker]:
        """Be among the workers that RQ lists, within the block."""
        sign = Worker(
            [self._queue], connection=self._queue.connection, serializer=JSONSerializer, worker_ttl=_SIGN_SECONDS
        )
        sign.register_birth()  # type: ignore[no-untyped-call]
        sign.set_state(WorkerStatus.IDLE)
        logger.info("The worker is ready")
        try:
            yield sign
        finally:
            with suppress(RedisError):  # what it wrote expires
                sign.register_death()  # type: ignore[no-untyped-call]

    def _take_hints(self, sign: Worker) -> None:
        while not self._told_to_end:
            note_progress()
            sign.heartbeat()
            with suppress(DequeueTimeout):
                _, entry = Queue.lpop([self._queue.key], _WAIT_SECONDS, self._queue.connection)
                self._take(sign, entry)
            self._pause = _FIRST_PAUSE

    def _take(self, sign: Worker, entry: bytes) -> None:
        hint = read_hint(entry)
        if hint is not None:
            self._attend(sign, *hint)
        elif not self._refused:
            logger.warning("The queue in Redis held something else than a project, which is passed over: who writes?")
            self._refused = True  # once: there may be many

    def _attend(self, sign: Worker, project_id: int, look: bool) -> None:
        sign.set_state(WorkerStatus.BUSY)
        sign.heartbeat(self._workspace.settings.round_timeout_seconds + _SIGN_SECONDS)
        try:
            attend(self._workspace, self._connection, project_id, look=look)
        except ClinicalError as error:
            logger.warning("Project %d: %s", project_id, error)
        sign.set_state(WorkerStatus.IDLE)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._told_to_end:
            raise SystemExit(128 + number)
        self._told_to_end = True

    def _wait(self) -> None:
        ended = time.monotonic() + self._pause
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        while not self._told_to_end and time.monotonic() < ended:
            note_progress()
            time.sleep(_FIRST_PAUSE)


@contextmanager
def _trainings(workspace: Workspace, connection: Redis) -> Iterator[None]:
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

    seconds = workspace.settings.worker_timeout_seconds
    jobs = TrainingJobs(workspace, claim=lambda project_id: lease(connection, training_key(project_id), seconds))
    ended = threading.Event()
    thread = threading.Thread(target=attend_trainings, daemon=True, name="trainings")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        jobs.stop()
