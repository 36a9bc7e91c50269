"""The process that runs rounds: it reads project ids, a line each, and ends with its standard input."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, TextIO

import numpy as np

from clinical_backend.acquisition import warm_up
from clinical_backend.errors import ClinicalError, RoundTimeoutError, StorageError
from clinical_backend.jobs.deadline import deadline
from clinical_backend.jobs.priority import lines_of
from clinical_backend.jobs.runner import drain
from clinical_backend.jobs.trainings import TrainingJobs
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.logs import SeldomLogger, log_context
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["attend_project", "run_worker", "warm_up_workspace"]

logger = logging.getLogger(__name__)
_seldom = SeldomLogger(__name__)

_TICK = 1.0


def run_worker(settings: Settings, wakes: TextIO = sys.stdin) -> None:
    """Run what is due, woken by lines with project ids, until the input ends.

    Every project is compared with Label Studio at the start and then each RECONCILE_SECONDS.
    """
    os.nice(5)  # the server's answers go first
    queue: Queue[int] = Queue()
    threading.Thread(target=_read, args=(lines_of(wakes.fileno()), queue), daemon=True, name="wakes").start()
    workspace = open_workspace(settings)
    trainings = TrainingJobs(workspace)
    warm_up_workspace(workspace)
    next_look = 0.0

    def attend(project_id: int, *, look: bool) -> None:
        with deadline(settings.round_timeout_seconds):
            attend_project(workspace.project(project_id), look=look)

    while True:
        note_progress()
        _end_silent(workspace)
        if time.monotonic() >= next_look:
            for project_id in workspace.stores.projects.ids():
                attend(project_id, look=True)
            next_look = time.monotonic() + settings.reconcile_seconds
        trainings.attend()
        woken = drain(queue, timeout=min(_TICK, max(0.0, next_look - time.monotonic())))
        # A request may wait for the end of a failure's delay, which nobody wakes for. Each project gets one round in
        # its turn, so that one which always has something to do keeps no other waiting for longer than that.
        for project_id in dict.fromkeys([*_due(workspace), *sorted(woken)]):
            attend(project_id, look=False)


def _due(workspace: Workspace) -> list[int]:
    try:
        return workspace.stores.projects.due()
    except StorageError as error:
        _seldom.warning("Rounds wait: %s", error)
        return []


def _end_silent(workspace: Workspace) -> None:
    """Take projects away from what is silent: a rollback that was stopped, the worker of an earlier container."""
    try:
        for project_id in workspace.stores.leases.end_silent(workspace.settings.worker_timeout_seconds):
            logger.warning("Project %d is taken from a process that gave no sign of life", project_id)
    except StorageError as error:
        _seldom.warning("Rounds wait: %s", error)


def attend_project(project: ProjectWorkspace, *, look: bool) -> None:
    """Do what is due for a project; ``look`` compares it with Label Studio first."""
    try:
        with log_context(project=project.id):
            reconcile(project, look=look)
    except RoundTimeoutError as error:  # between rounds: one that is run is failed with it
        logger.warning("Project %d: %s", project.id, error)
    except Exception:
        # A fault that one project meets must not keep the others waiting.
        logger.exception("Project %d could not be attended to, by a fault of the backend", project.id)


def _read(wakes: Iterable[str], queue: Queue[int]) -> None:
    for line in wakes:
        if line.strip().isdigit():
            queue.put(int(line))
    # The server is gone, perhaps killed. A round is atomic, so the end may come anywhere in it.
    os._exit(0)


def warm_up_workspace(workspace: Workspace) -> None:
    """Load and compile what rounds need, so that no reader waits for it."""
    try:
        workspace.backbone  # noqa: B018 - made when first asked for
    except ClinicalError as error:
        logger.warning("The backbone is not ready: %s", error)
    note_progress()
    warm_up()
    note_progress()
    fit(np.eye(4, dtype=np.float32), [0, 1, 0, 1], ("common", "rare"))
