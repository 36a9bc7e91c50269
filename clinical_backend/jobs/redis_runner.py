"""The runner for production: workers on any number of machines, told through Redis where to look."""

from __future__ import annotations

import logging
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING

from redis import RedisError
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from clinical_backend.errors import StorageError
from clinical_backend.jobs.redis_connection import hint_key, hint_of, project_key, round_queue
from clinical_backend.jobs.runner import drain, end_silent

if TYPE_CHECKING:
    from redis import Redis

    from clinical_backend.settings import Settings
    from clinical_backend.storage.stores.stores import Stores

__all__ = ["RedisRunner"]

logger = logging.getLogger(__name__)

_TICK = 1.0
"""A reader does not notice whether a round begins a second later."""
_HINT_SECONDS = 30
"""A hint that no worker took within this time is given anew."""


class RedisRunner:
    """Queues a hint for each project that something is due for. Workers are started by ``clinical worker``.

    What is due stands in the database, which is looked at each second: so it costs no round that Redis is
    away, restarts empty, or loses a hint; that a worker dies with a round in its hands; or that several servers
    queue for the same projects. At most one hint per project waits at a time.

    Parameters
    ----------
    settings
        Of the backend.
    stores
        State of the backend.
    connection
        Redis.
    """

    def __init__(self, settings: Settings, stores: Stores, connection: Redis) -> None:
        self._settings = settings
        self._stores = stores
        self._redis = connection
        self._queue = round_queue(connection)
        self._woken: Queue[int] = Queue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to queue what is due."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="hints")
            self._thread.start()

    def wake(self, project_id: int) -> None:
        """Have a project looked at now. Redis is not asked here, so a caller never waits for it."""
        self._woken.put(project_id)

    def stop(self) -> None:
        """End. Workers go on with what they do."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        woken: set[int] = set()
        next_look = 0.0
        away = False
        while not self._stopping.is_set():
            woken |= drain(self._woken, timeout=_TICK)
            try:
                end_silent(self._stores, self._settings.worker_timeout_seconds)
                if time.monotonic() >= next_look:
                    self._hint_looks()
                    next_look = time.monotonic() + self._settings.reconcile_seconds
                for project_id in woken | self._wanting():
                    if self._hint(project_id, look=False):
                        woken.discard(project_id)
            except (RedisError, StorageError) as error:
                if not away:
                    reason = (
                        error if isinstance(error, StorageError) else f"Redis does not answer ({type(error).__name__})."
                    )
                    logger.warning("Rounds wait: %s", reason)
                away = True
            except Exception:
                # The thread must outlive a fault of ours: nobody else queues hints.
                logger.exception("What is due could not be queued; it is tried again")
            else:
                if away:
                    logger.info("Redis and the database answer again")
                away = False

    def _wanting(self) -> set[int]:
        """Return projects with a due round, or with one that runs; it may have been cut off."""
        return {*self._stores.projects.due(), *self._stores.rounds.running()}

    def _hint_looks(self) -> None:
        projects = self._stores.projects.ids()
        for project_id in projects:
            self._hint(project_id, look=True)
        if projects and not self._worker_runs():
            logger.warning("No worker runs: rounds wait. Start `clinical worker` with the same settings.")

    def _hint(self, project_id: int, *, look: bool) -> bool:
        """Queue a hint, unless one waits already; tell whether a worker is going to look."""
        if self._redis.exists(project_key(project_id)):
            return False  # it takes up by itself what comes in between, but not what it need not look at
        seconds = self._settings.reconcile_seconds if look else _HINT_SECONDS
        if self._redis.set(hint_key(project_id, look=look), b"1", nx=True, px=max(1, int(1000 * seconds))):
            hint = hint_of(project_id, look=look)
            self._queue.remove(hint)  # one that no worker took: without any, the queue would grow
            self._queue.push_job_id(hint)
        return True

    def _worker_runs(self) -> bool:
        """Tell whether a worker gave a sign of life, and strike off those that ended without a word."""
        known = WORKERS_BY_QUEUE_KEY % self._queue.name
        for worker in self._redis.smembers(known):
            if self._redis.exists(worker):
                return True
            self._redis.srem(known, worker)
        return False
