"""What is kept of earlier rounds: enough to go back to the last few."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, RoundAbandonedError
from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.storage.trail import TrailAction
from clinical_backend.versions import VERSION_PREFIX, on_demand_version

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["clear_up", "earlier_rounds", "kept_rounds"]

logger = logging.getLogger(__name__)


def kept_rounds(project: ProjectWorkspace) -> list[Round]:
    """Return the rounds whose model is kept, newest first: the last KEPT_ROUNDS with a queue, and the published one."""
    rounds = project.stores.rounds
    kept = rounds.with_queue(project.id, project.workspace.settings.kept_rounds)
    published = rounds.published(project.id)
    return kept if published is None or published.id in {row.id for row in kept} else [*kept, published]


def earlier_rounds(project: ProjectWorkspace) -> dict[int, Round]:
    """Return the rounds that can be gone back to, by number: those that are kept, but for the one that is served."""
    published = project.stores.rounds.published(project.id)
    return {} if published is None else {row.number: row for row in kept_rounds(project) if row.id != published.id}


def clear_up(project: ProjectWorkspace) -> None:
    """Delete older queues from Label Studio and older models from disk; a failure here costs only space.

    Raises
    ------
    RoundAbandonedError
        When the project was passed on to another worker, whose queue and model may be on their way.
    """
    kept = {row.version for row in kept_rounds(project)}
    published = project.stores.rounds.published(project.id)
    served = {published.version, on_demand_version(published.version)} if published else set()
    retired: list[str] = []
    try:
        retired = Publisher(project.client, project.stores.database.require_fence).retire(
            project.id, served, project.installation.versions
        )
    except RoundAbandonedError:
        raise
    except ClinicalError as error:
        logger.warning("Project %d: older queues are left in Label Studio: %s", project.id, error)
    project.stores.database.require_fence()
    folder = project.checkpoint_folder(VERSION_PREFIX).parent
    gone = [old for old in folder.iterdir() if old.name not in kept] if folder.is_dir() else []
    if gone or retired:
        versions = sorted({*retired, *(old.name for old in gone)})
        project.stores.trail.append(TrailAction.CLEARED_UP, project.id, versions=versions)
    for old in gone:
        shutil.rmtree(old, ignore_errors=True)
