"""Features of a labelled set, made as the live round makes them and kept beside the results."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.experiments.datasets import DataError
from clinical_backend.images.decoding import decode
from clinical_backend.learner.embedding import Embedder
from clinical_backend.learner.files import write_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from PIL import Image

    from clinical_backend.experiments.datasets import LabelledImages
    from clinical_backend.learner.backbones import Backbone

__all__ = ["content_of", "features_of_set"]


def features_of_set(
    data: LabelledImages, backbone: Backbone, cache: Path, progress: Callable[[int, int], None]
) -> Path:
    """Embed a labelled set, or find what was embedded before.

    Parameters
    ----------
    progress
        Called with the number of images done and of all.

    Returns
    -------
    Path
        An array (npy) of shape (n, d), float32.

    Raises
    ------
    DataError
        When an image cannot be read.
    """
    name = hashlib.sha256(f"{content_of(data)} {backbone.key}".encode()).hexdigest()[:16]
    path = cache / f"{data.name}-{name}.npy"
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    rows = np.empty((len(data), backbone.dimension), dtype=np.float32)
    for place, feature in enumerate(Embedder(backbone, decode).embed(_pictures(data))):
        if isinstance(feature, ImageError):
            raise DataError(f"Image {place} of {data.name} cannot be read. {feature}", "Remove it from the set.")
        rows[place] = feature
        if place % 100 == 99 or place == len(data) - 1:
            progress(place + 1, len(data))
    buffer = io.BytesIO()
    np.save(buffer, rows)
    write_aside(path, buffer.getvalue())
    return path


def content_of(data: LabelledImages) -> str:
    """Return what identifies the images and labels of a set: a sha256, as hexadecimal digits."""
    digest = hashlib.sha256(data.labels.tobytes())
    for image in data.images:
        digest.update(image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _pictures(data: LabelledImages) -> Iterator[bytes | Image.Image]:
    return (data.picture(index) for index in range(len(data)))
