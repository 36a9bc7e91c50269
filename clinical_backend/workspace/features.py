"""What stands for an image: the frozen feature alone, or joined with that of the network adapted to the project."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ClinicalError
from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.embedding import THUMBNAIL, digests_of, features_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.workspace.workspace import Adapted, Workspace

__all__ = ["Representation", "adapted_rows", "join", "representations"]

logger = logging.getLogger(__name__)

_ADAPTED_WEIGHT = 2.0
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Representation:
    """A way to represent the images of a project.

    Attributes
    ----------
    key
        Identifies the backbones: a classifier fits features of its own key only.
    adapted
        The adapted network, if it takes part.
    """

    key: str
    adapted: Adapted | None

    def features_of(self, workspace: Workspace, project_id: int, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have all features, in their order."""
        frozen = features_of(workspace.stores, workspace.features, project_id, tasks)
        if self.adapted is None:
            return frozen
        digests = digests_of(workspace.stores, project_id, frozen.tasks.tolist())
        own = adapted_rows(workspace, self.adapted, [digests.get(task, "") for task in frozen.tasks.tolist()])
        there = np.array([row is not None for row in own], dtype=bool)
        if not there.any():
            return FeaturedTasks(frozen.tasks[:0], np.empty((0, self.dimension(workspace)), dtype=np.float32))
        joined = join(frozen.features[there], np.stack([row for row in own if row is not None]))
        parts = (workspace.backbone.dimension, self.adapted.backbone.dimension)
        return FeaturedTasks(frozen.tasks[there], joined, parts)

    def dimension(self, workspace: Workspace) -> int:
        """Return the length of a feature."""
        return workspace.backbone.dimension + (self.adapted.backbone.dimension if self.adapted else 0)


def join(frozen: NDArray[np.float32], adapted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return frozen and adapted features as one, shape (n, d + d'), in which the adapted ones have more weight."""
    return join_features([frozen, adapted], [1.0, _ADAPTED_WEIGHT])


def representations(workspace: Workspace, project_id: int) -> list[Representation]:
    """Return what a project can be represented by: frozen, and joined where a network is adapted to it."""
    frozen = Representation(workspace.backbone.key, None)
    try:
        adapted = workspace.adapted(project_id)
    except ClinicalError as error:
        logger.warning("Project %d goes on with frozen features: %s", project_id, error)
        return [frozen]
    if adapted is None:
        return [frozen]
    return [frozen, Representation(f"{workspace.backbone.key}+{adapted.backbone.key}", adapted)]


def adapted_rows(workspace: Workspace, adapted: Adapted, digests: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """Return the adapted feature of each image, made from its thumbnail where it is missing; ``None`` without one."""
    thumbnails = workspace.thumbnails
    known = adapted.features.positions(digests)
    missing = thumbnails.positions(digest for digest in digests if digest not in known)
    waiting = list(missing)
    for start in range(0, len(waiting), _BATCH):
        batch = waiting[start : start + _BATCH]
        pixels = thumbnails.read([missing[digest] for digest in batch])
        note_progress()
        adapted.features.add(batch, adapted.backbone.embed(pixels.reshape(-1, THUMBNAIL, THUMBNAIL, 3)))
    if waiting:
        known = adapted.features.positions(digests)
    there = [digest for digest in digests if digest in known]
    rows = dict(zip(there, adapted.features.read([known[digest] for digest in there]), strict=True))
    return [rows.get(digest) for digest in digests]
