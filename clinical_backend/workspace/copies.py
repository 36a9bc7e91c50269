"""Images that are exact copies of others: a second reading of one tells nothing new."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clinical_backend.storage.stores.images import KnownImage

__all__ = ["without_copies"]


def without_copies(
    images: Mapping[int, KnownImage], pool: Iterable[int], answered: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Split tasks into those that are worth a place in a queue, and exact copies of others.

    A copy has the same bytes as the image of an answered task, or of a task of the pool that came before it.

    Parameters
    ----------
    images
        The project's images by task.
    pool
        Tasks that may be queued, in the order in which they are kept.
    answered
        Tasks with an answer.

    Returns
    -------
    tuple
        The tasks that stay, and the copies. An image that was not read yet counts as no copy.
    """
    seen = {image.digest for task in answered if (image := images.get(task)) is not None}
    kept, copies = [], []
    for task in pool:
        image = images.get(task)
        digest = None if image is None else image.digest
        if digest is None or digest not in seen:
            seen.add(digest)
            kept.append(task)
        else:
            copies.append(task)
    return kept, copies
