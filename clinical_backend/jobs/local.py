"""The default runner: one child process, supervised."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import IO

__all__ = ["LocalRunner"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_STOP_SECONDS = 10.0


class LocalRunner:
    """Keeps one worker process alive and passes wakes on to it.

    The worker ends when its standard input does, so it never outlives the server, however that ends.

    Parameters
    ----------
    environment
        Environment of the worker: it reads its settings from there.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None

    @property
    def process_id(self) -> int | None:
        """Process id of the worker, ``None`` while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the worker and watch over it."""
        if self._supervisor is None:
            self._supervisor = threading.Thread(target=self._supervise, daemon=True, name="supervisor")
            self._supervisor.start()

    def wake(self, project_id: int) -> None:
        """Tell the worker to look at a project; while it is starting it looks at all anyway."""
        with self._lock:
            if self._process is not None:
                self._write(self._process.stdin, f"{project_id}\n")

    def stop(self) -> None:
        """End the worker."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._supervisor is not None:
            self._supervisor.join(_STOP_SECONDS)

    def _supervise(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            with self._lock:
                if self._stopping.is_set():  # since the check above: nobody would end this worker
                    return
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "clinical_backend", "worker", "--embedded"],
                    stdin=subprocess.PIPE,
                    text=True,
                    env=self._environment,
                )
            started = time.monotonic()
            status = self._process.wait()
            with self._lock:
                _close(self._process.stdin)
            if time.monotonic() - started > _LONGEST_PAUSE:  # it worked for a while: no failing start
                pause = _FIRST_PAUSE
            if self._stopping.wait(pause):
                return
            logger.error("The worker ended with status %d; it is started again", status)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _write(self, pipe: IO[str] | None, line: str) -> None:
        if pipe is None:
            return
        try:
            pipe.write(line)
            pipe.flush()
        except (BrokenPipeError, ValueError):
            logger.debug("The worker is being restarted; it will look at every project then")


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        logger.debug("A wake was lost with the worker; the next one looks at every project")
