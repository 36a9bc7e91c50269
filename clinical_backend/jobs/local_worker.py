"""The process that runs rounds: it reads project ids, a line each, and ends with its standard input."""

from __future__ import annotations

import os
import sys
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, TextIO

from clinical_backend.errors import StorageError
from clinical_backend.jobs.child_process import lines_of
from clinical_backend.jobs.runner import drain, end_silent
from clinical_backend.jobs.training_jobs import TrainingJobs
from clinical_backend.jobs.worker import attend_project, prepare_workspace
from clinical_backend.logs import SeldomLogger
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["run_worker"]

_seldom = SeldomLogger(__name__)

_TICK = 1.0
"""A reader does not notice whether a round begins a second later; the database does not notice a look each second."""


def run_worker(settings: Settings, told: TextIO = sys.stdin) -> None:
    """Run what is due, told by lines with project ids where to look, until the input ends.

    Every project is compared with Label Studio at the start and then each RECONCILE_SECONDS.
    """
    queue: Queue[int] = Queue()
    threading.Thread(target=_read, args=(lines_of(told.fileno()), queue), daemon=True, name="input").start()
    workspace = prepare_workspace(settings)
    trainings = TrainingJobs(workspace)
    next_look = 0.0
    while True:
        note_progress()
        if time.monotonic() >= next_look:
            for project_id in workspace.stores.projects.ids():
                attend_project(workspace.project(project_id), look=True)
            next_look = time.monotonic() + settings.reconcile_seconds
        trainings.attend()
        woken = drain(queue, timeout=min(_TICK, max(0.0, next_look - time.monotonic())))
        # A request may wait for the end of a failure's delay, which nobody tells of. Each project gets one round in
        # its turn, so that one which always has something to do keeps no other waiting for longer than that.
        for project_id in dict.fromkeys([*_due(workspace), *sorted(woken)]):
            attend_project(workspace.project(project_id), look=False)


def _due(workspace: Workspace) -> list[int]:
    try:
        end_silent(workspace.stores, workspace.settings.worker_timeout_seconds)
        return workspace.stores.projects.due()
    except StorageError as error:
        _seldom.warning("Rounds wait: %s", error)
        return []


def _read(lines: Iterable[str], queue: Queue[int]) -> None:
    for line in lines:
        if line.strip().isdigit():
            queue.put(int(line))
    # The server is gone, perhaps killed. A round is atomic, so the end may come anywhere in it.
    os._exit(0)
