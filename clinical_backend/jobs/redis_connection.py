"""The connection to Redis, and the names of our keys in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from clinical_backend.errors import JobQueueError
from clinical_backend.settings import SettingsError

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = [
    "connect_redis",
    "hint_key",
    "hint_of",
    "project_key",
    "read_hint",
    "require_redis",
    "round_queue",
    "training_key",
]

_CONNECT_SECONDS: Final = 2.0  # it takes milliseconds where the network is sound
_ANSWER_SECONDS: Final = 5.0  # longer than the second for which a worker waits for a hint
_HINT: Final = re.compile(rb"(look|due)-([1-9][0-9]{0,18})")


def connect_redis(settings: Settings) -> Redis:
    """Return a client for the Redis of the settings; it connects when it is first used.

    Raises
    ------
    SettingsError
        When there is none, or its address is malformed. The address is left out: it may hold a password.
    """
    if settings.redis_url is None:
        raise SettingsError(
            "REDIS_URL is not set.",
            "Set it for workers of their own; without it `clinical serve` runs rounds by itself.",
        )
    password = settings.redis_password
    try:
        return Redis.from_url(
            settings.redis_url.get_secret_value(),
            password=password.get_secret_value() if password else None,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that was closed while idle
        )
    except ValueError:
        raise SettingsError("REDIS_URL is no address of Redis.", "Write it as redis://HOST:6379/0.") from None


def require_redis(connection: Redis) -> None:
    """Make sure that Redis answers.

    Raises
    ------
    JobQueueError
        When it does not.
    """
    try:
        connection.ping()
    except RedisError as error:
        raise JobQueueError(
            f"Redis does not answer ({type(error).__name__}).",
            "Start it, or correct REDIS_URL. Nothing is lost meanwhile: what is due stands in the database.",
        ) from None


def round_queue(connection: Redis) -> Queue:
    """Return the queue of hints to workers.

    A hint is the id of a job of which there is no more than that: what RQ keeps of a job names the function that it
    calls, and others that follow.
    """
    return Queue("clinical", connection=connection, serializer=JSONSerializer)


def project_key(project_id: int) -> str:
    """Return the key that the worker holds that is at a project."""
    return f"clinical:project:{project_id}"


def training_key(project_id: int) -> str:
    """Return the key that the worker holds that trains a network for a project."""
    return f"clinical:training:{project_id}"


def hint_key(project_id: int, *, look: bool) -> str:
    """Return the key that stands while a hint to look at a project waits in the queue."""
    return f"clinical:{'look' if look else 'due'}:{project_id}"


def hint_of(project_id: int, *, look: bool) -> str:
    """Return the hint to look at a project; ``look`` has it compared with Label Studio first."""
    return f"{'look' if look else 'due'}-{project_id}"


def read_hint(entry: bytes) -> tuple[int, bool] | None:
    """Return the project of a hint, and whether to compare it with Label Studio; ``None`` if it is no hint of ours."""
    found = _HINT.fullmatch(entry)
    return None if found is None else (int(found[2]), found[1] == b"look")
