"""Images that were replaced in place: nothing tells of them, so each is looked at again once in a while."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.learner.backbones.embedder import content_key

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["recheck_images"]

logger = logging.getLogger(__name__)

_DAY = 86_400.0
_EARLY = 0.5
"""An image is looked at from this part of IMAGE_CHECK_DAYS on, so that all are before the days are over."""

_SECONDS = 1.0
"""For one project and look; at the default RECONCILE_SECONDS that is half a per cent of a core where files are at hand,
and 300,000 images in 3.5 days where a host answers 60 a second."""

_MOST = 200
_FAILURES = 3
_AGAIN_SECONDS = 3600.0
_SLOW_SECONDS = 2.0
_REST_SECONDS = 600.0


def recheck_images(workspace: Workspace, project_id: int) -> int:
    """Look at the images of a project that were not looked at for longest, for a second, and note what was replaced.

    A host that answers slowly is left alone for ten minutes, and one that fails three times until the next look; what
    failed is tried again after an hour and keeps its feature.

    Returns
    -------
    int
        How many were replaced. A round is due then.
    """
    days, images = workspace.settings.image_check_days, workspace.stores.images
    started = time.monotonic()
    if not days or started < workspace.rests_until.get(project_id, 0.0):
        return 0
    latest = time.time() - _EARLY * days * _DAY
    same: dict[int, str | None] = {}
    failed: dict[int, str | None] = {}
    replaced: dict[int, str | None] = {}
    for image, mark in images.longest_unseen(project_id, latest, _MOST):
        began = time.monotonic()
        if began - started > _SECONDS or len(failed) >= _FAILURES:
            break
        try:
            found = workspace.watching_source.look(image.uri, image.task_id, mark)
        except ImageError as error:
            logger.debug("Project %d, task %d is not looked at again: %s", project_id, image.task_id, error)
            failed[image.task_id] = mark
        else:
            changed = found.content is not None and content_key(found.content) != image.digest
            (replaced if changed else same)[image.task_id] = found.mark
        if time.monotonic() - began > _SLOW_SECONDS:
            workspace.rests_until[project_id] = time.monotonic() + _REST_SECONDS
            break
    images.looked(project_id, same, at=time.time())
    images.looked(project_id, failed, at=latest + _AGAIN_SECONDS)
    images.replaced(project_id, replaced)
    if replaced:
        logger.warning("Project %d: the images of %d tasks were replaced", project_id, len(replaced))
        workspace.stores.projects.request_round(project_id, "images were replaced")
    return len(replaced)
