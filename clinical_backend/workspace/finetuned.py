"""A project's fine-tuned network, where it answers for classes in place of the head."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.images.sources import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clinical_backend.strategy.tasks import RankedTask
    from clinical_backend.workspace.finetuning_record import Finetuned
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["finetuned_in_use", "with_finetuned_predictions"]

logger = logging.getLogger(__name__)

_QUEUE_SECONDS = 0.01
"""How long a round waits for each task of its queue, at most: what is left carries the head's prediction."""


def finetuned_in_use(project: ProjectWorkspace, classes: Iterable[str]) -> Finetuned | None:
    """Return the fine-tuned network that is to answer for a project; ``None`` where the head is, as of studies.

    Parameters
    ----------
    classes
        Those that the head knows. A network that learnt before one of them was labelled cannot name it, and is
        left out until the next fine-tuning.
    """
    try:
        if project.settings.training != "finetune" or project.stores.studies.any(project.id):
            return None
        finetuned = project.finetuned()
    except ClinicalError as error:
        logger.warning("Project %d goes on with the head: %s", project.id, error)
        return None
    return finetuned if finetuned is not None and set(classes) <= set(finetuned.classes) else None


def with_finetuned_predictions(
    project: ProjectWorkspace, head: Sequence[str], classes: Sequence[str], ranked: Sequence[RankedTask]
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
    finetuned = finetuned_in_use(project, head)
    if finetuned is None or not ranked:
        return list(ranked), "head"
    images = project.stores.images.all(project.id, [task.task_id for task in ranked])
    requests = [ImageRequest(task.task_id, images[task.task_id].uri) for task in ranked]
    deadline = time.monotonic() + _QUEUE_SECONDS * len(ranked)
    queue, answered = list(ranked), 0
    for place, probabilities in project.look_up(finetuned.probabilities, requests, deadline).by_place.items():
        best = int(probabilities.argmax())
        if finetuned.classes[best] in classes:
            answered += 1
            predicted, probability = finetuned.classes[best], float(probabilities[best])
            queue[place] = replace(ranked[place], predicted=predicted, probability=probability)
    return queue, f"fine-tuned network for {answered} of {len(ranked)} tasks, head for the rest"
