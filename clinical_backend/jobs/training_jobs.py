"""Trainings in the background: one process at a time, of low priority, that ends with the worker's."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.supervisor import Listener, end_child, start_child
from clinical_backend.training.adaptation import adaptation_is_due, note_adaptation
from clinical_backend.training.backbone_replacement import note_replacement, replacement_is_due
from clinical_backend.training.finetuning import finetuning_is_due, note_finetuning
from clinical_backend.training.mapping import map_is_due, note_map

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["TrainingJobs"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
"""A training takes minutes: nobody notices when it begins seconds later."""
_RETRY_SECONDS = 3600.0
"""What failed for want of memory may fail again: not more than an hour's share of a machine is lost to that."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of training: the command that does it, whether a project is due for it, and where its state is noted."""

    command: str
    is_due: Callable[[ProjectWorkspace], bool]
    note: Callable[[ProjectWorkspace, str], None]


@dataclass(frozen=True, slots=True)
class _Running:
    """A training that runs, and the signs of life that it gives."""

    kind: _Kind
    project_id: int
    process: subprocess.Popen[bytes]
    signs: Listener


_KINDS = (
    _Kind("draw-map", map_is_due, note_map),  # first: somebody waits for it, and it takes a minute at most
    _Kind("replace-backbone", replacement_is_due, note_replacement),
    _Kind("adapt", adaptation_is_due, note_adaptation),
    _Kind("finetune", finetuning_is_due, note_finetuning),
)


class TrainingJobs:
    """Starts the drawing of a map, a change of backbone, an adaptation or a fine-tuning when a project is due for it.

    The process reads its standard input and ends when that does, so it never outlives this one. It is ended if it is
    silent for WORKER_TIMEOUT_SECONDS: stopped, or hanging.

    Parameters
    ----------
    workspace
        What trainings work with.
    claim
        Keeps a project for as long as its context lasts, and says whether no other machine is at it.
    """

    def __init__(
        self, workspace: Workspace, claim: Callable[[int], AbstractContextManager[bool]] = lambda _: nullcontext(True)
    ) -> None:
        self._workspace = workspace
        self._claim = claim
        self._claimed = ExitStack()
        self._running: _Running | None = None
        self._next_look = 0.0
        self._not_before: dict[tuple[str, int], float] = {}

    def attend(self) -> None:
        """Note the end of what was running, and start what is due. Returns at once."""
        if self._running is not None:
            kind, project_id, process = self._running.kind, self._running.project_id, self._running.process
            silent = process.poll() is None and not self._running.signs.hear()
            if silent:
                process.kill()
                process.wait()
            status = process.poll()
            if status is None:
                return
            self._close()
            if status:
                self._not_before[kind.command, project_id] = time.monotonic() + _RETRY_SECONDS
                self._tell(kind, project_id, status, silent=silent)
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._start_one()

    def stop(self) -> None:
        """End what is running; the next start sees that it is due."""
        if self._running is not None:
            end_child(self._running.process)
        self._close()

    def _close(self) -> None:
        if self._running is not None:
            self._running.signs.close()
            if self._running.process.stdin is not None:
                self._running.process.stdin.close()
        self._running = None
        self._claimed.close()

    def _start_one(self) -> None:
        for project_id in self._workspace.stores.projects.ids():
            for kind in _KINDS:
                waits = time.monotonic() < self._not_before.get((kind.command, project_id), 0.0)
                if waits or not self._is_due(kind, project_id):
                    continue
                with ExitStack() as claimed:
                    if not claimed.enter_context(self._claim(project_id)):
                        continue
                    self._running = self._train(kind, project_id)
                    self._claimed = claimed.pop_all()
                return

    def _tell(self, kind: _Kind, project_id: int, status: int, *, silent: bool = False) -> None:
        """Say how a training failed: it has named its reason itself, unless it was killed."""
        if status > 0:
            logger.warning("Project %d: `%s` ended with status %d; see above", project_id, kind.command, status)
            return
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        memory = ", as the system does where memory does not suffice" if -status == signal.SIGKILL else ""
        how = "gave no sign of life and was ended" if silent else f"was killed ({name}{memory})"
        message = f"The last training {how}; it is tried again in an hour."
        logger.warning("Project %d: `%s`: %s", project_id, kind.command, message)
        try:
            kind.note(self._workspace.project(project_id), message)
        except ClinicalError as error:
            logger.warning("Project %d: %s", project_id, error)

    def _train(self, kind: _Kind, project_id: int) -> _Running:
        settings = self._workspace.settings
        command = [kind.command, "--project", str(project_id), "--background"]
        process = start_child(command, settings.environment(os.environ))
        assert process.stdout is not None
        return _Running(kind, project_id, process, Listener(process.stdout, settings.worker_timeout_seconds))

    def _is_due(self, kind: _Kind, project_id: int) -> bool:
        try:
            return kind.is_due(self._workspace.project(project_id))
        except ClinicalError as error:
            logger.warning("Project %d: %s", project_id, error)
            return False
