"""Images that no store knows, fetched and put through a network, as far as the time goes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.learner.backbones.embedder import content_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageRequest, ImageSource
    from clinical_backend.learner.backbones.embedder import Embedder

__all__ = ["Fetched", "embed_in_time"]

logger = logging.getLogger(__name__)

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that was fetched: its content's sha256, its feature, and the pixels that the network saw."""

    digest: str
    feature: NDArray[np.float32]
    pixels: NDArray[np.uint8]


def embed_in_time(
    source: ImageSource, embedder: Embedder, requests: Iterable[ImageRequest], deadline: float
) -> Iterator[Fetched | None]:
    """Yield what each request brought, in order, ``None`` where it cannot be read; end early after the deadline.

    Parameters
    ----------
    deadline
        By ``time.monotonic``. Images that have come until then are put through the network to their end.
    """
    waiting = iter(requests)
    while time.monotonic() <= deadline and (batch := list(islice(waiting, _BATCH))):
        contents = [content for _, content in source.fetch_many(batch, deadline=deadline)]
        for request, content, embedded in zip(batch, contents, embedder.embed_with_pixels(contents), strict=True):
            if isinstance(content, ImageError) or isinstance(embedded, ImageError):
                logger.warning("Task %s is left out: %s", request.task_id, embedded)
                yield None
            else:
                yield Fetched(content_key(content), *embedded)
