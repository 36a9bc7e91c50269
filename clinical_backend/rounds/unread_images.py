"""The images that a round goes without, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.text import amount
from clinical_backend.workspace.known_images import every_image, may_try, still_to_read

if TYPE_CHECKING:
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.strategy.tasks import Inputs
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["UnreadImages", "find_unread", "notes_on_images"]


@dataclass(frozen=True, slots=True)
class UnreadImages:
    """How many tasks of the pool have no feature.

    Attributes
    ----------
    unreadable
        Those whose image was tried in vain.
    waiting
        Those that nobody had the time for yet.
    held_back
        Of these, those whose host is given a rest.
    goes_on
        Whether one that waits, of the pool or of the labelled tasks, may be tried at once.
    """

    unreadable: int
    waiting: int
    held_back: int
    goes_on: bool


def find_unread(project: ProjectWorkspace, snapshot: Snapshot, inputs: Inputs) -> UnreadImages:
    """Count what a round goes without.

    Raises
    ------
    ImageError
        When no image of the project can be read.
    """
    if snapshot.pool and not len(inputs.pool) and not len(inputs.labelled):
        raise ImageError(
            f"None of the project's images can be read. {_reason(project)}", "Run `clinical doctor` for the cure."
        )
    pool = set(snapshot.pool) - set(inputs.pool.tasks.tolist())
    labelled = set(snapshot.labels.seen) - set(inputs.labelled.tasks.tolist())
    images = project.stores.images.all(project.id, pool | labelled)
    untried = {task for task, image in images.items() if image.attempts == 0}
    waiting, now = untried & pool, time.time()
    return UnreadImages(
        unreadable=len(snapshot.pool) - len(inputs.pool) - len(waiting),
        waiting=len(waiting),
        held_back=sum(images[task].problem is not None for task in waiting),
        goes_on=any(may_try(images[task], now) for task in untried),
    )


def notes_on_images(project: ProjectWorkspace, unread: UnreadImages, copies: int, near_copies: int) -> list[str]:
    """Return what is said of images that cannot be read, are in the project more than once, or are still to be read."""
    notes = [f"{amount(unread.unreadable, 'image')} cannot be read. {_reason(project)}"] if unread.unreadable else []
    if copies:
        one = "image is an exact copy of an answered or queued one, and is"
        many = "images are exact copies of answered or queued ones, and are"
        notes.append(f"{amount(copies, one, many)} not queued.")
    if near_copies:
        one = "image looks like an answered or queued one that was saved again, and comes"
        many = "images look like answered or queued ones that were saved again, and come"
        notes.append(f"{amount(near_copies, one, many)} behind all others.")
    if unread.waiting:
        features = (
            f"The features of {amount(unread.waiting, 'image')} are still to be made by this backbone;"
            " later rounds go on."
        )
        notes += still_to_read(every_image(project)) or [features]
    return notes


def _reason(project: ProjectWorkspace) -> str:
    tasks = project.stores.images.all(project.id).values()
    tried = (image.problem for image in tasks if image.problem and not image.is_waiting)
    return " ".join([next(tried, "They were not tried yet."), *still_to_read(every_image(project))])
