"""The published model of a project."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint
from clinical_backend.workspace.features import representations

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.workspace.features import Representation
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["UNPUBLISHED_VERSION", "published_model"]

logger = logging.getLogger(__name__)


def published_model(
    workspace: Workspace, project_id: int, version: str
) -> tuple[LinearClassifier | None, Representation | None]:
    """Return the model of a version, with the representation that it takes."""
    folder = workspace.checkpoint_folder(project_id, version)
    if not folder.is_dir():
        return None, None
    try:
        classifier, metadata = _load(folder)
    except ModelError as error:
        logger.error("Project %d predicts nothing until its next round: %s", project_id, error)
        return None, None
    for representation in representations(workspace, project_id):
        if representation.key == metadata.backbone:
            return classifier, representation
    logger.warning("Project %d predicts nothing until its next round: the backbone was changed", project_id)
    return None, None


@lru_cache(maxsize=32)
def _load(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata]:
    return load_checkpoint(folder)  # the folder of a version is written once


UNPUBLISHED_VERSION = "clinical-0"
"""The version before the first round is published."""
