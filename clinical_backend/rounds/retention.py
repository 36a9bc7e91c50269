"""What is kept of earlier rounds: enough to go back to the last few."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, RoundAbandonedError
from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.versions import VERSION_PREFIX, on_demand_version
from clinical_backend.workspace.ownership import installation_of

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["clear_up", "kept_rounds"]

logger = logging.getLogger(__name__)


def kept_rounds(workspace: Workspace, project_id: int) -> list[Round]:
    """Return the rounds whose model is kept, newest first: the last KEPT_ROUNDS with a queue, and the published one."""
    rounds = workspace.stores.rounds
    kept = rounds.with_queue(project_id, workspace.settings.kept_rounds)
    published = rounds.published(project_id)
    return kept if published is None or published.id in {row.id for row in kept} else [*kept, published]


def clear_up(workspace: Workspace, project_id: int) -> None:
    """Delete older queues from Label Studio and older models from disk; a failure here costs only space.

    Raises
    ------
    RoundAbandonedError
        When the project was passed on to another worker, whose queue and model may be on their way.
    """
    kept = {row.version for row in kept_rounds(workspace, project_id)}
    published = workspace.stores.rounds.published(project_id)
    served = {published.version, on_demand_version(published.version)} if published else set()
    try:
        Publisher(workspace.client, workspace.stores.database.require_fence).retire(
            project_id, served, installation_of(workspace.stores, project_id).versions
        )
    except RoundAbandonedError:
        raise
    except ClinicalError as error:
        logger.warning("Project %d: older queues are left in Label Studio: %s", project_id, error)
    workspace.stores.database.require_fence()
    folder = workspace.checkpoint_folder(project_id, VERSION_PREFIX).parent
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)
