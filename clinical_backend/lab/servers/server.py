"""What all servers here share: a free loopback port, and how they are started, waited for and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, ClassVar, Self

from clinical_backend.errors import ClinicalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

__all__ = ["Server", "answers_health", "end_process", "free_port", "wait_for_answer"]

_STOP_SECONDS = 15.0
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.1
"""A server that does not end, or answer, within these hangs; a start is noticed within 0.1 s. Not measured."""


class Server(ABC):
    """A server in a process of its own, as a context manager.

    To kill it and start it again is a crash and a restart.
    """

    _failure: ClassVar[type[ClinicalError]] = ClinicalError
    """What is raised where it does not answer."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process_id(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers."""

    def stop(self) -> None:
        """Stop it; without effect when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def kill(self) -> None:
        """End it as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _run(self, process: subprocess.Popen[bytes], answers: Callable[[], bool], seconds: float, log: Path) -> None:
        """Keep the process if it answers in time, else end it."""
        self._process = process
        try:
            wait_for_answer(process, answers, seconds, log, self._failure)
        except BaseException:
            self.stop()
            raise


def wait_for_answer(
    process: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    seconds: float,
    log: Path,
    failure: type[ClinicalError] = ClinicalError,
) -> None:
    """Wait until a process that was started answers; it is called by the name of its log.

    Raises
    ------
    ClinicalError
        When it stops before, or takes too long.
    """
    deadline = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None:
            problem = f"{log.stem} stopped with exit code {process.returncode} before it answered."
            raise failure(problem, f"Read its log: {log}")
        if time.monotonic() > deadline:
            raise failure(f"{log.stem} did not answer within {seconds:.0f} seconds.", f"Read its log: {log}")
        time.sleep(_LOOK_SECONDS)


def answers_health(port: int) -> bool:
    """Tell whether what listens on a port of this machine says that it is well; no context of TLS is made for that."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process, and all of its group where it leads one, by force if need be."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it leads none
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
