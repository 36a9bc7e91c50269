"""What settings would change, computed beside the server in a process of low priority: one at a time per project."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.supervisor import end_child, start_child
from clinical_backend.rounds.queue_preview import preview_queue
from clinical_backend.system.deadline import deadline
from clinical_backend.workspace.lock import work_alone
from clinical_backend.workspace.settings_preview_files import PreviewAnswer, open_questions, save_answer

if TYPE_CHECKING:
    import subprocess

    from clinical_backend.settings import Settings
    from clinical_backend.workspace.settings_preview_files import PreviewQuestion
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["LONGEST_PREVIEW", "PreviewBusyError", "PreviewJobs", "PreviewLateError", "answer_questions"]

logger = logging.getLogger(__name__)

LONGEST_PREVIEW = 300.0
"""Seconds. To tell it took 2 to 8 of 10,000 tasks and 22 to 48 of 100,000, 1 to 3 and 7 to 9 of a core, where others
kept the machine busy (docs/dashboard.md); to read, learn and order takes a core 44 of a million (docs/speed.md)."""
_PAUSE = 20.0
"""Seconds between two starts for a project while somebody waits: another server's process may be at it."""
_AT_A_TIME = 2
"""Of all projects: each takes the memory of a round's ordering."""


class PreviewLateError(ClinicalError):
    """What settings would change took too long to tell."""


class PreviewBusyError(ClinicalError):
    """What settings of other projects would change is being computed."""


def answer_questions(project: ProjectWorkspace) -> str:
    """Answer what is asked of a project's settings, the newest first, and what is asked meanwhile.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ModelError
        When an answer cannot be kept.
    """
    busy = "Another process tells what settings of this project would change; it answers this too."
    return work_alone(project.settings_preview_folder, partial(_answer_open, project), busy=busy)


def _answer_open(project: ProjectWorkspace) -> str:
    folder, count = project.settings_preview_folder, 0
    while questions := open_questions(folder):
        save_answer(folder, _answer(project, questions[0]))
        count += 1
    return f"{count} answered."


def _answer(project: ProjectWorkspace, question: PreviewQuestion) -> PreviewAnswer:
    late = PreviewLateError(
        f"It was stopped after {LONGEST_PREVIEW:.0f} seconds: the machine is busy, or the pool is large.",
        "Nothing is saved. Try again when no round runs, or save the settings, look at the next queue, and put them"
        " back if you like that better.",
    )
    try:
        with deadline(LONGEST_PREVIEW, late):
            return preview_queue(project, question)
    except ClinicalError as error:
        logger.warning("Project %d: what settings would change cannot be told: %s", project.id, error)
        return PreviewAnswer(key=question.key, problem=str(error))


class PreviewJobs:
    """Starts a process that answers what is asked of a project's settings, and ends all that it started.

    Parameters
    ----------
    settings
        Of the backend.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._failed: set[int] = set()
        self._started: dict[int, float] = {}
        self._lock = threading.Lock()

    def require_room(self, project_id: int) -> None:
        """Make sure that a process may be started for a project.

        Raises
        ------
        PreviewBusyError
            While as many run for others as may.
        """
        with self._lock:
            self._note_ends()
            if len(self._running.keys() - {project_id}) >= _AT_A_TIME:
                raise PreviewBusyError(
                    "What settings of other projects would change is being computed.", "Try again in a minute."
                )

    def start(self, project_id: int) -> None:
        """Have a project's questions answered, by the process that is at them if there is one. Returns at once."""
        with self._lock:
            self._note_ends()
            self._failed.discard(project_id)
            self._start(project_id)

    def attend(self, project_id: int) -> bool:
        """Go on while somebody waits: a question may have come when its process was about to end.

        Returns
        -------
        bool
            Whether there is hope: not where a process ended without having done its work.
        """
        with self._lock:
            self._note_ends()
            if project_id in self._failed:
                return False
            if time.monotonic() - self._started.get(project_id, -_PAUSE) >= _PAUSE:
                self._start(project_id)
            return True

    def close(self) -> None:
        """End what is running."""
        with self._lock:
            for project_id in [*self._running]:
                self._end(project_id)

    def _start(self, project_id: int) -> None:
        if project_id not in self._running:
            command = ["preview-settings", "--project", str(project_id), "--background"]
            self._running[project_id] = start_child(command, self._settings.environment(os.environ))
            self._started[project_id] = time.monotonic()

    def _note_ends(self) -> None:
        for project_id, process in [*self._running.items()]:
            if process.poll() is not None:
                if process.returncode:
                    self._failed.add(project_id)
                self._end(project_id)

    def _end(self, project_id: int) -> None:
        process = self._running.pop(project_id, None)
        if process is None:
            return
        if process.poll() is None:
            end_child(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
