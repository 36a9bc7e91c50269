"""Whether the worker of this machine does its work, as whoever watches its container asks."""

from __future__ import annotations

import socket
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rq.utils import utcparse
from rq.worker import WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from clinical_backend.errors import NotWellError
from clinical_backend.jobs.redis_connection import connect_redis, require_redis, round_queue
from clinical_backend.jobs.stall import stalls_here
from clinical_backend.storage.opening import open_database

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["require_worker"]

_SILENT_SECONDS: Final = 60.0
"""An idle worker gives a sign each second; so long without one it hangs, or is stopped."""


def require_worker(settings: Settings) -> None:
    """Make sure that a worker of this machine is on the list of those that take hints, and gives signs of life.

    While it is at a round it gives none in Redis: then those that the round gives in the database tell.

    Raises
    ------
    ClinicalError
        When there is none, all are silent, or Redis does not answer.
    """
    connection = connect_redis(settings)
    require_redis(connection)
    known = connection.smembers(WORKERS_BY_QUEUE_KEY % round_queue(connection).name)
    signs = [connection.hmget(key, "hostname", "state", "last_heartbeat") for key in known]
    here = [sign for sign in signs if sign[0] == socket.gethostname().encode()]
    if not here:
        raise NotWellError(
            "No worker of this machine takes rounds.", "Its log says why; it starts with `clinical worker`."
        )
    waiting = [seen for _, state, seen in here if state != WorkerStatus.BUSY.encode()]
    if not all(map(_silent, waiting)):
        return
    if len(waiting) == len(here):
        raise NotWellError("The worker of this machine is silent.", "Restart it; a round that it was at is run again.")
    with closing(open_database(settings)) as database:
        stalled = stalls_here(database, settings)
    if stalled:
        raise NotWellError(stalled[0], "Restart the worker if it stays.")


def _silent(seen: bytes | str | None) -> bool:
    try:
        last = utcparse(seen.decode() if isinstance(seen, bytes) else "")
    except ValueError:
        return True
    return (datetime.now(UTC) - last).total_seconds() > _SILENT_SECONDS
