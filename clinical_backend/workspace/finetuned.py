"""Class probabilities by a project's fine-tuned network, kept by the image's content."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ClinicalError
from clinical_backend.images.sources import ImageRequest
from clinical_backend.workspace.fetching import embed_in_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.strategy.tasks import RankedTask
    from clinical_backend.workspace.finetuning_record import Finetuned
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["finetuned_in_use", "finetuned_probabilities", "with_finetuned_predictions"]

logger = logging.getLogger(__name__)

_QUEUE_SECONDS = 0.01
"""How long a round waits for each task of its queue, at most: what is left carries the head's prediction."""


def finetuned_in_use(workspace: Workspace, project_id: int, classes: Iterable[str]) -> Finetuned | None:
    """Return the fine-tuned network that is to answer for a project; ``None`` where the head is.

    Parameters
    ----------
    classes
        Those that the head knows. A network that learnt before one of them was labelled cannot name it, and is
        left out until the next fine-tuning.
    """
    try:
        if workspace.settings_of(project_id).training != "finetune":
            return None
        finetuned = workspace.finetuned(project_id)
    except ClinicalError as error:
        logger.warning("Project %d goes on with the head: %s", project_id, error)
        return None
    return finetuned if finetuned is not None and set(classes) <= set(finetuned.classes) else None


def finetuned_probabilities(
    workspace: Workspace, project_id: int, finetuned: Finetuned, requests: Sequence[ImageRequest], deadline: float
) -> list[NDArray[np.float32] | None]:
    """Return class probabilities for each image; ``None`` where it cannot be read, or not before the deadline.

    Parameters
    ----------
    requests
        Tasks with the addresses of their images. Those that rounds have read are known by content.
    deadline
        By ``time.monotonic``.
    """
    tasks = [request.task_id for request in requests if request.task_id is not None]
    images = workspace.stores.images.all(project_id, tasks)
    digests = [_digest(images, request) for request in requests]
    positions = finetuned.probabilities.positions(filter(None, digests))
    rows = dict(zip(positions, finetuned.probabilities.read(list(positions.values())), strict=True))
    found: list[NDArray[np.float32] | None] = [None if digest is None else rows.get(digest) for digest in digests]
    missing = [place for place, row in enumerate(found) if row is None]
    fetched = embed_in_time(workspace.source, finetuned.embedder, (requests[place] for place in missing), deadline)
    fresh: dict[str, NDArray[np.float32]] = {}
    for place, image in zip(missing, fetched, strict=False):
        if image is not None:
            found[place] = fresh[image.digest] = finetuned.backbone.head.probabilities(image.feature[None])[0]
    if fresh:
        try:
            finetuned.probabilities.add(list(fresh), np.stack(list(fresh.values())))
        except ClinicalError as error:
            logger.warning("Predictions are not kept: %s", error)
    return found


def with_finetuned_predictions(
    workspace: Workspace, project_id: int, head: Sequence[str], classes: Sequence[str], ranked: Sequence[RankedTask]
) -> tuple[list[RankedTask], str]:
    """Return a queue with the classes that the fine-tuned network gives, where there is one, and a note on it.

    The order stays: the detector's. A round waits for at most a second for each hundred tasks; those that are left
    keep the head's class. What is known from earlier queues costs nothing.

    Parameters
    ----------
    head
        Classes that the head knows.
    classes
        Those of the labeling config.
    """
    finetuned = finetuned_in_use(workspace, project_id, head)
    if finetuned is None or not ranked:
        return list(ranked), "head"
    images = workspace.stores.images.all(project_id, [task.task_id for task in ranked])
    requests = [ImageRequest(task.task_id, images[task.task_id].uri) for task in ranked]
    deadline = time.monotonic() + _QUEUE_SECONDS * len(ranked)
    found = finetuned_probabilities(workspace, project_id, finetuned, requests, deadline)
    queue, answered = [], 0
    for task, probabilities in zip(ranked, found, strict=True):
        best = None if probabilities is None else int(probabilities.argmax())
        if probabilities is None or best is None or finetuned.classes[best] not in classes:
            queue.append(task)
            continue
        answered += 1
        queue.append(replace(task, predicted=finetuned.classes[best], probability=float(probabilities[best])))
    return queue, f"fine-tuned network for {answered} of {len(ranked)} tasks, head for the rest"


def _digest(images: Mapping[int, KnownImage], request: ImageRequest) -> str | None:
    image = None if request.task_id is None else images.get(request.task_id)
    return image.digest if image is not None and image.uri == request.uri else None
