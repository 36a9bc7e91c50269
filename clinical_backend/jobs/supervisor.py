"""Processes of ours that this one starts: heard, ended when they are silent, and a worker started again."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from clinical_backend.jobs.redis_connection import connect_redis, require_redis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from clinical_backend.settings import Settings

__all__ = ["Listener", "Supervisor", "end_child", "start_child", "watch_worker"]

logger = logging.getLogger(__name__)

_START_SECONDS = 300.0
"""Longest wait for the first sign, as for a decoder's: a busy machine takes a while to import everything."""
_LONGEST_SILENCE = 2.0
"""What one look adds to the silence at most: while this process stood still itself, it heard nothing."""
_LONGEST_LOOK = 1.0  # a worker that died is seen within a second
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
"""A worker that cannot start says so in the log each minute, not each second."""
_STOP_SECONDS = 10.0
"""As long as Docker waits before it kills."""


def start_child(
    arguments: Sequence[str], environment: Mapping[str, str], *, process_group: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a command of ``clinical`` that ends with its standard input, and gives signs on its standard output."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "clinical_backend", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environment),
        process_group=process_group,
    )


def end_child(process: subprocess.Popen[bytes]) -> None:
    """End a child, by force if it does not end by itself: one that is stopped hears no other signal."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Listener:
    """Hears the signs of a child.

    Parameters
    ----------
    pipe
        The child's standard output.
    seconds
        It counts as silent after so long.
    """

    def __init__(self, pipe: IO[bytes], seconds: float) -> None:
        self._pipe = pipe
        self._seconds = seconds
        self._limit = max(seconds, _START_SECONDS)
        self._silence = 0.0
        self._looked_at = time.monotonic()
        os.set_blocking(pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def hear(self, wait: float = 0.0) -> bool:
        """Listen for a while; tell whether the child may still be taken for alive, or has closed its output."""
        self._selector.select(wait)
        now = time.monotonic()
        self._silence += min(now - self._looked_at, _LONGEST_SILENCE)
        self._looked_at = now
        if self._read():
            self._silence, self._limit = 0.0, self._seconds
        return self._silence < self._limit

    def close(self) -> None:
        """Listen no more."""
        self._selector.close()
        self._pipe.close()

    def _read(self) -> bool:
        heard = False
        while data := self._pipe.read(65_536):  # ``None`` for now, b"" at the end
            heard = heard or bool(data)
        return heard


class Supervisor:
    """Keeps one worker process alive.

    The worker ends when its standard input does, so it never outlives this process, however that ends; and it gives
    signs of life on its standard output. One that is stopped, or hangs, is ended by SIGKILL, which works on both.

    Parameters
    ----------
    command
        Arguments of ``clinical`` that start it.
    environment
        Its environment: it reads its settings from there.
    seconds
        It is ended after so long without a sign of life.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def process_id(self) -> int | None:
        """Process id of the worker, ``None`` while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def watch(self, *, keep_refusal: bool = False) -> int:
        """Start the worker, watch over it and start it again, until it is told to end; return its last status.

        Parameters
        ----------
        keep_refusal
            Whether to end with a worker that refused its settings, or was told to end, by itself.
        """
        pause = _FIRST_PAUSE
        while (process := self._start()) is not None:
            started = time.monotonic()
            status = self._attend(process)
            if self._stopping.is_set() or (keep_refusal and status >= 0):
                return status
            if time.monotonic() - started > _LONGEST_PAUSE:  # it worked for a while: no failing start
                pause = _FIRST_PAUSE
            if self._stopping.wait(pause):
                return status
            logger.error("The worker ended with status %d; it is started again", status)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        return 0

    def tell(self, line: str) -> None:
        """Write a line to the worker's standard input, if there is room: nobody waits for a worker that is stopped."""
        with self._lock:
            pipe = None if self._process is None else self._process.stdin
            with suppress(OSError, ValueError):
                if pipe is not None and not pipe.closed:
                    os.write(pipe.fileno(), f"{line}\n".encode())

    def signal(self, number: int) -> None:
        """Pass a signal on; with a worker that ends of it, the watch ends."""
        self._stopping.set()
        process = self._process  # without the lock: a handler of signals must not wait for the code that it interrupts
        if process is not None:
            process.send_signal(number)

    def stop(self) -> None:
        """End the worker."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            end_child(process)

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():  # nobody would end this worker
                return None
            # A group of its own: what a terminal signals, this process passes on.
            process = self._process = start_child(self._command, self._environment, process_group=0)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
            if self._stopping.is_set():  # a signal came before there was somebody to pass it on to
                process.terminate()
            return process

    def _attend(self, process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        signs = Listener(process.stdout, self._seconds)
        try:
            while process.poll() is None:
                if not signs.hear(min(_LONGEST_LOOK, self._seconds / 4)):
                    logger.error("The worker gave no sign of life for %.0f seconds: it is ended", self._seconds)
                    process.kill()
                    process.wait()
        finally:
            signs.close()
            with self._lock:
                _close(process.stdin)
        return process.wait()


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


def _close(pipe: IO[bytes] | None) -> None:
    with suppress(BrokenPipeError):  # what was told is lost with the worker; the next one looks at every project
        if pipe is not None:
            pipe.close()
