"""The default runner: one child process, supervised."""

from __future__ import annotations

import threading

from clinical_backend.jobs.supervisor import Supervisor

__all__ = ["LocalRunner"]

_STOP_SECONDS = 10.0
"""As the supervisor waits for the worker."""


class LocalRunner:
    """Keeps one worker process alive and tells it where to look.

    Parameters
    ----------
    environment
        Environment of the worker: it reads its settings from there.
    seconds
        It is ended, and started again, after so long without a sign of life.
    """

    def __init__(self, environment: dict[str, str], seconds: float = 30.0) -> None:
        self._worker = Supervisor(["worker", "--embedded"], environment, seconds)
        self._thread: threading.Thread | None = None

    @property
    def process_id(self) -> int | None:
        """Process id of the worker, ``None`` while there is none."""
        return self._worker.process_id

    def start(self) -> None:
        """Start the worker and watch over it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._worker.watch, daemon=True, name="supervisor")
            self._thread.start()

    def wake(self, project_id: int) -> None:
        """Tell the worker to look at a project; while it is starting it looks at all anyway."""
        self._worker.tell(str(project_id))

    def stop(self) -> None:
        """End the worker."""
        self._worker.stop()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
