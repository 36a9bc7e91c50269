"""Adaptations in the background: one process at a time, of low priority, that ends with the worker's."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.rounds.adapt import adaptation_is_due

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical_backend.rounds.workshop import Workshop

__all__ = ["AdaptationJobs"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
_RETRY_SECONDS = 3600.0


class AdaptationJobs:
    """Starts the adaptation of a project when it is due.

    The process reads its standard input and ends when that does, so it never outlives this one.

    Parameters
    ----------
    workshop
        What adaptations work with.
    claim
        Keeps a project for as long as its context lasts, and says whether no other machine is at it.
    """

    def __init__(
        self, workshop: Workshop, claim: Callable[[int], AbstractContextManager[bool]] = lambda _: nullcontext(True)
    ) -> None:
        self._workshop = workshop
        self._claim = claim
        self._claimed = ExitStack()
        self._running: tuple[int, subprocess.Popen[bytes]] | None = None
        self._next_look = 0.0
        self._not_before: dict[int, float] = {}

    def attend(self) -> None:
        """Note the end of what was running, and start what is due. Returns at once."""
        if self._running is not None:
            project_id, process = self._running
            status = process.poll()
            if status is None:
                return
            self._running = None
            self._claimed.close()
            if process.stdin is not None:
                process.stdin.close()
            if status:
                logger.warning("Project %d: its adaptation ended with status %d; see above", project_id, status)
                self._not_before[project_id] = time.monotonic() + _RETRY_SECONDS
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._start_one()

    def stop(self) -> None:
        """End what is running; it is gone on with after the next start."""
        if self._running is not None:
            self._running[1].terminate()
            self._running[1].wait()
            self._running = None
        self._claimed.close()

    def _start_one(self) -> None:
        for project_id in self._workshop.stores.projects.ids():
            if time.monotonic() < self._not_before.get(project_id, 0.0) or not self._is_due(project_id):
                continue
            with ExitStack() as claimed:
                if not claimed.enter_context(self._claim(project_id)):
                    continue
                self._running = (project_id, self._adapt(project_id))
                self._claimed = claimed.pop_all()
            return

    def _adapt(self, project_id: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "clinical_backend", "adapt", "--project", str(project_id), "--background"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=self._workshop.settings.environment(os.environ),
        )

    def _is_due(self, project_id: int) -> bool:
        try:
            return adaptation_is_due(self._workshop, project_id)
        except ClinicalError as error:
            logger.warning("Project %d: %s", project_id, error)
            return False
