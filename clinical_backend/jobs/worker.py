"""What every worker does, whoever tells it where: it prepares, and does what is due for a project."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition import warm_up
from clinical_backend.errors import ClinicalError, RoundTimeoutError
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.logs import log_context
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.system.deadline import deadline
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace, open_workspace

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["attend_project", "prepare_workspace"]

logger = logging.getLogger(__name__)

_NICENESS = 5
"""A server on the same machine goes first."""


def prepare_workspace(settings: Settings) -> Workspace:
    """Return what the rounds of a process work with, and load and compile it, so that no reader waits for it."""
    os.nice(_NICENESS)
    workspace = open_workspace(settings)
    serving = {workspace.project(project_id).workspace for project_id in workspace.stores.projects.ids()}
    for one in serving or {workspace}:  # not of one that is set and serves no project yet: it is made ready beside
        try:
            one.backbone  # noqa: B018 - made when first asked for
        except ClinicalError as error:
            logger.warning("The backbone is not ready: %s", error)
        note_progress()
    warm_up()
    note_progress()
    fit(np.eye(4, dtype=np.float32), [0, 1, 0, 1], ("common", "rare"))
    return workspace


def attend_project(project: ProjectWorkspace, *, look: bool) -> None:
    """Do what is due for a project; ``look`` compares it with Label Studio first."""
    seconds = project.workspace.settings.round_timeout_seconds
    late = RoundTimeoutError(
        f"The round was stopped after {seconds:.0f} seconds.",
        "Set ROUND_TIMEOUT_SECONDS higher if it needs more; the images it has embedded are kept.",
    )
    try:
        with log_context(project=project.id), deadline(seconds, late):
            reconcile(project, look=look)
    except RoundTimeoutError as error:  # between rounds: one that is run is failed with it
        logger.warning("Project %d: %s", project.id, error)
    except Exception:
        # A fault that one project meets must not keep the others waiting.
        logger.exception("Project %d could not be attended to, by a fault of the backend", project.id)
