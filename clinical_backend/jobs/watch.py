"""The command ``clinical worker``: it watches over the process that runs the rounds, and runs none itself."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from clinical_backend.jobs.redis_connection import connect_redis, require_redis
from clinical_backend.jobs.supervisor import Supervisor

if TYPE_CHECKING:
    from types import FrameType

    from clinical_backend.settings import Settings

__all__ = ["watch_worker"]


def watch_worker(settings: Settings) -> int:
    """Keep a worker running until told to end by SIGTERM; it then finishes the round that it is at.

    A second SIGTERM ends it at once.

    Returns
    -------
    int
        The worker's exit status, 128 and more after a signal.

    Raises
    ------
    SettingsError
        When no Redis is set.
    JobQueueError
        When it does not answer.
    """
    with connect_redis(settings) as connection:
        require_redis(connection)
    worker = Supervisor(["worker", "--watched"], settings.environment(os.environ), settings.worker_timeout_seconds)

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        worker.signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    status = worker.watch(keep_refusal=True)
    return status if status >= 0 else 128 - status
