"""A claim on something for as long as its holder gives signs of life."""

from __future__ import annotations

import logging
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import RedisError
from redis.exceptions import LockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis.lock import Lock

__all__ = ["lease"]

logger = logging.getLogger(__name__)

_SIGNS = 4
"""Signs of life within the time after which the holder is taken for dead."""


@contextmanager
def lease(connection: Redis, name: str, seconds: float) -> Iterator[bool]:
    """Hold a key in Redis within the block, and say whether it was free.

    A thread renews the key, whether or not the work gets on, which others see to. It is free again when the block ends,
    or ``seconds`` after the holder died or was stopped. Should Redis lose it (it was restarted empty), it is taken
    again. It keeps others from useless work; that two holders do no harm should they meet is for the database to see
    to.
    """
    token = secrets.token_hex(16)
    lock = connection.lock(name, timeout=seconds, thread_local=False)
    if not lock.acquire(blocking=False, token=token):
        yield False
        return
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, token, seconds / _SIGNS, ended), daemon=True, name="heartbeat")
    heart.start()
    try:
        yield True
    finally:
        ended.set()
        heart.join()
        _release(lock)


def _beat(lock: Lock, token: str, pause: float, ended: threading.Event) -> None:
    while not ended.wait(pause):
        try:
            _renew(lock, token)
        except RedisError as error:
            logger.warning("A sign of life could not be given: Redis does not answer (%s)", type(error).__name__)


def _renew(lock: Lock, token: str) -> None:
    try:
        lock.reacquire()
    except LockError:
        if not lock.acquire(blocking=False, token=token):
            logger.warning("%s is held by another worker: this one was silent for too long", lock.name)


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:
        logger.debug("%s had expired", lock.name)
    except RedisError as error:
        logger.warning("%s is left to expire: Redis does not answer (%s)", lock.name, type(error).__name__)
