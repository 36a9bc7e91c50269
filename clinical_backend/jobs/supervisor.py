"""A worker in a process of its own: started again when it dies, and ended when it is silent."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from clinical_backend.jobs.signs import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Supervisor", "end"]

logger = logging.getLogger(__name__)

_LONGEST_LOOK = 1.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_STOP_SECONDS = 10.0


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
            end(process)

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():  # nobody would end this worker
                return None
            process = self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "clinical_backend", *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                process_group=0,  # what a terminal signals, this process passes on
            )
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


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child, by force if it does not end by itself: one that is stopped hears no other signal."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close(pipe: IO[bytes] | None) -> None:
    with suppress(BrokenPipeError):  # what was told is lost with the worker; the next one looks at every project
        if pipe is not None:
            pipe.close()
