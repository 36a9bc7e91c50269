"""From images to features: decoded in threads while the network runs, in batches, in order."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.learner.backbones.preprocessing import to_fitting_square
from clinical_backend.study import FilePage
from clinical_backend.system.parallel import map_in_order
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from PIL import Image

    from clinical_backend.learner.backbones.base import Backbone

    Picture: TypeAlias = bytes | Image.Image | ImageError
    Pixels: TypeAlias = NDArray[np.uint8]
    Feature: TypeAlias = NDArray[np.float32]
    Decode: TypeAlias = Callable[[bytes], Image.Image | Pixels]

__all__ = ["Embedder", "content_key"]

Key = TypeVar("Key")
Item = TypeVar("Item")


def content_key(data: bytes) -> str:
    """Return what identifies an image by its content, as hexadecimal digits: the sha256 of its bytes.

    That of one page of a file with several is made of the file's and the number of the page.
    """
    return data.key if isinstance(data, FilePage) else hashlib.sha256(data).hexdigest()


class Embedder:
    """Turns images into features with a backbone.

    Parameters
    ----------
    backbone
        The network.
    decode
        Makes an RGB image, or its pixels, of encoded bytes, or raises ImageError; called from several threads.
    batch_size
        Images that go through the network at once; by default what the backbone likes.
    workers
        Threads that decode.
    """

    def __init__(
        self,
        backbone: Backbone,
        decode: Decode,
        *,
        batch_size: int | None = None,
        workers: int = 2,
    ) -> None:
        self._backbone = backbone
        self._decode = decode
        self._batch_size = batch_size or backbone.batch_size
        self._workers = workers

    def embed(self, images: Iterable[Picture]) -> Iterator[Feature | ImageError]:
        """Yield the feature of each image, lazily and in order.

        The images are read from their iterable a few batches ahead of what was yielded.

        Parameters
        ----------
        images
            Encoded bytes, RGB images, or errors of images that could not be fetched, which are passed on.

        Yields
        ------
        NDArray or ImageError
            A vector of shape (dimension,), float32, or why there is none.

        Raises
        ------
        ModelError
            When the network fails; this is not the fault of one image.
        """
        for embedded in self.embed_with_pixels(images):
            yield embedded if isinstance(embedded, ImageError) else embedded[0]

    def embed_with_pixels(self, images: Iterable[Picture]) -> Iterator[tuple[Feature, Pixels] | ImageError]:
        """Yield with each feature the pixels that the network saw, shape (s, s, 3), as ``embed`` does."""
        for _, embedded in self._embed((None, image) for image in images):
            yield embedded

    def _embed(self, pairs: Iterable[tuple[Key, Picture]]) -> Iterator[tuple[Key, tuple[Feature, Pixels] | ImageError]]:
        prepared = map_in_order(
            self._prepare, pairs, workers=self._workers, look_ahead=self._batch_size + self._workers
        )
        network = ThreadPoolExecutor(max_workers=1)
        try:
            running: deque[Future[list[tuple[Key, tuple[Feature, Pixels] | ImageError]]]] = deque()
            for batch in _batches(prepared, self._batch_size):
                running.append(network.submit(self._embed_batch, batch))
                if len(running) == 2:  # one in the network, the next made ready meanwhile
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            network.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, pair: tuple[Key, Picture]) -> tuple[Key, Pixels | ImageError]:
        key, image = pair
        if isinstance(image, ImageError):
            return key, image
        try:
            decoded = self._decode(image) if isinstance(image, bytes) else image
        except ImageError as error:
            return key, error
        return key, to_fitting_square(decoded, self._backbone.sizes)

    def _embed_batch(
        self, batch: list[tuple[Key, Pixels | ImageError]]
    ) -> list[tuple[Key, tuple[Feature, Pixels] | ImageError]]:
        pixels = [image for _, image in batch if not isinstance(image, ImageError)]
        note_progress()
        sides = np.array([len(image) for image in pixels])
        features = np.empty((len(pixels), self._backbone.dimension), dtype=np.float32)
        for side in np.unique(sides):
            places = np.flatnonzero(sides == side)
            features[places] = self._backbone.embed(np.stack([pixels[place] for place in places]))
        made = iter(features)
        return [(key, image if isinstance(image, ImageError) else (next(made), image)) for key, image in batch]


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
