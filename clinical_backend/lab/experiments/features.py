"""Features of a labelled set, frozen or adapted to a pool, made as the live round makes them and kept."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.lab.experiments.datasets import DataError
from clinical_backend.learner.adaptation.network import AdaptedBackbone
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.preprocessing import to_fitting_square
from clinical_backend.system.files import write_aside
from clinical_backend.workspace.features import thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.learner.adaptation.training import AdaptationOptions
    from clinical_backend.learner.backbones.base import Backbone

__all__ = ["adapted_features_of_set", "content_of", "features_of_set", "opened"]


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
    return _kept(rows, path)


def adapted_features_of_set(
    data: LabelledImages,
    pool: NDArray[np.int64],
    sizes: Sequence[int],
    options: AdaptationOptions,
    cache: Path,
    progress: Callable[[int, int], None],
) -> tuple[Path, str]:
    """Adapt a network to the images of a pool, and embed the whole set with it, or find what was made before.

    Parameters
    ----------
    pool
        Indices of the images that the network learns, without their labels.
    sizes
        Of the frozen backbone: thumbnails are made of what it sees.
    progress
        Called with the hundredths done and a hundred.

    Returns
    -------
    tuple
        An array (npy) of shape (n, d), float32, and the key of the network.
    """
    from clinical_backend.learner.adaptation.training import adapt  # noqa: PLC0415 (imports torch)

    chosen = np.sort(pool)
    asked = f"{content_of(data)} {chosen.tolist()} {list(sizes)} {options}"
    name = hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder = cache / f"{data.name}-adapted-{name}"
    path = folder / "features.npy"
    if not path.is_file():
        squares = (to_fitting_square(opened(data, index), sizes) for index in range(len(data)))
        thumbnails = np.stack([*map(thumbnail, squares)])
        adapt(thumbnails[chosen], folder, options, progress=lambda share, _: progress(round(100 * share), 100))
        backbone = AdaptedBackbone(folder)
        _kept(np.concatenate([backbone.embed(part) for part in np.array_split(thumbnails, len(data) // 256 + 1)]), path)
    return path, AdaptedBackbone(folder).key


def opened(data: LabelledImages, index: int) -> Image.Image:
    """Return an image of a labelled set, decoded, in mode RGB."""
    picture = data.picture(index)
    return decode(picture) if isinstance(picture, bytes) else picture


def _kept(rows: NDArray[np.float32], path: Path) -> Path:
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
