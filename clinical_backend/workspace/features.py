"""The vector that stands for an image: kept by the image's content, or made now. All who need one look it up here."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from clinical_backend.errors import ClinicalError, ImageError
from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.learner.backbones.embedder import content_key
from clinical_backend.learner.backbones.preprocessing import to_square
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageRequest, ImageSource
    from clinical_backend.learner.adaptation.network import AdaptedBackbone
    from clinical_backend.learner.backbones.embedder import Embedder
    from clinical_backend.storage.feature_files import FeatureStore

__all__ = [
    "ADAPTED_WEIGHT",
    "THUMBNAIL",
    "AdaptedFeatures",
    "ImageFeatures",
    "KeptFeatures",
    "Representation",
    "Vectors",
    "featured_tasks",
    "join",
    "thumbnail",
]

logger = logging.getLogger(__name__)

THUMBNAIL = 48
"""Side of the images in pixels that adaptation learns from."""

ADAPTED_WEIGHT = 2.0
"""All joined features of docs/finding-power.md were measured so; no other weight is reported there."""
_WEIGHTS = (1.0, ADAPTED_WEIGHT)
_FETCHED = 32
"""A batch of the network, between two looks at the deadline."""
_ADAPTED = 256
"""Thumbnails between two signs of life: 1.7 MB of pixels; of the order of a second of the network, not measured."""
HELD_WHOLE = 400_000
"""Tasks whose features a round holds in float32: 2 GB in 1,280 dimensions. Those of more it holds in float16, which
leaves a unit vector within 0.0005 of where it was, far nearer than two images ever are (docs/backbones.md)."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of those of some images that have one.

    Attributes
    ----------
    places
        Which of the images they are of, shape (n,). Those that were kept come first, in the order of the images.
    digests
        What identifies their contents.
    rows
        The vectors, shape (n, d), float32.
    """

    places: NDArray[np.intp]
    digests: list[str]
    rows: NDArray[np.float32]

    @property
    def by_place(self) -> dict[int, NDArray[np.float32]]:
        """Each vector by the place of its image."""
        return dict(zip(self.places.tolist(), self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What a network makes of whole images.

    Attributes
    ----------
    store
        What it made so far.
    source, embedder
        What fetches other images, and puts them through the network.
    thumbnails
        Where small pixels of them are kept, for adaptation; ``None`` where they are not.
    head
        Makes the vectors that are kept of the network's features, both of shape (n, ·); by default these are kept.
    """

    store: FeatureStore
    source: ImageSource
    embedder: Embedder
    thumbnails: FeatureStore | None = None
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.asarray

    def look_up(
        self, digests: Sequence[str | None], requests: Sequence[ImageRequest] = (), deadline: float = 0.0
    ) -> Vectors:
        """Return the vector of each image, kept or made now; an image that cannot be read in time has none.

        Parameters
        ----------
        digests
            Of each image, where its content is known.
        requests
            Where each image is fetched. By default none is.
        deadline
            By ``time.monotonic``. Images that have come until then are put through the network to their end.
        """
        kept = _kept(self.store, digests)
        missing = np.setdiff1d(np.arange(len(requests)), kept.places).tolist()
        found = [kept, *(self._make([(place, requests[place]) for place in missing], deadline))]
        if len(found) == 1:
            return kept
        return Vectors(
            np.concatenate([part.places for part in found]),
            [digest for part in found for digest in part.digests],
            np.concatenate([part.rows for part in found]),
        )

    def of_content(self, content: bytes) -> NDArray[np.float32]:
        """Return the vector of an image that is at hand, shape (d,): kept of a task with the same image, or made now.

        What is made is not kept.

        Raises
        ------
        ImageError
            When it cannot be read.
        """
        kept = _kept(self.store, [content_key(content)]).by_place
        if kept:
            return kept[0]
        made = next(self.embedder.embed([content]))
        if isinstance(made, ImageError):
            raise made
        vector: NDArray[np.float32] = self.head(made[None])[0]
        return vector

    def keep(self, vectors: Mapping[str, NDArray[np.float32]], thumbnails: Mapping[str, NDArray[np.uint8]]) -> None:
        """Keep vectors of images by their content, and small pixels of the same images where they are wanted.

        Raises
        ------
        StorageError
            When they cannot be written.
        """
        if self.thumbnails is not None and thumbnails:
            small = np.stack(list(thumbnails.values()))
            self.thumbnails.add(list(thumbnails), small.reshape(len(small), -1))
        if vectors:
            self.store.add(list(vectors), np.stack(list(vectors.values())))

    def _make(self, wanted: Sequence[tuple[int, ImageRequest]], deadline: float) -> Iterator[Vectors]:
        """Fetch images and yield their vectors, batch by batch, until the deadline; they are kept for the next time."""
        waiting = iter(wanted)
        while time.monotonic() <= deadline and (batch := list(islice(waiting, _FETCHED))):
            contents = [content for _, content in self.source.fetch_many([one for _, one in batch], deadline=deadline)]
            places, digests, features, small = [], [], [], {}
            for (place, request), content, embedded in zip(
                batch, contents, self.embedder.embed_with_pixels(contents), strict=True
            ):
                if isinstance(content, ImageError) or isinstance(embedded, ImageError):
                    logger.warning("Task %s is left out: %s", request.task_id, embedded)
                    continue
                places.append(place)
                digests.append(content_key(content))
                features.append(embedded[0])
                if self.thumbnails is not None:
                    small[digests[-1]] = thumbnail(embedded[1])
            if features:
                rows = self.head(np.stack(features))
                try:
                    self.keep(dict(zip(digests, rows, strict=True)), small)
                except ClinicalError as error:
                    logger.warning("Features are not kept: %s", error)
                yield Vectors(np.array(places), digests, rows)


@dataclass(frozen=True, slots=True)
class AdaptedFeatures:
    """A network that is adapted to a project's images, and what it makes of their thumbnails.

    Attributes
    ----------
    backbone
        The network.
    store
        What it made so far.
    thumbnails
        Its input.
    """

    backbone: AdaptedBackbone
    store: FeatureStore
    thumbnails: FeatureStore

    def look_up(self, digests: Sequence[str | None]) -> Vectors:
        """Return the adapted feature of each image, kept or made now; an image without a thumbnail has none."""
        self.positions(filter(None, digests))
        return _kept(self.store, digests)

    def positions(self, digests: Iterable[str]) -> Mapping[str, int]:
        """Return where the adapted feature of each image with a thumbnail is, which is made now where it is not."""
        wanted = list(digests)
        known = self.store.positions(wanted)
        missing = self.thumbnails.positions(digest for digest in wanted if digest not in known)
        waiting = list(missing)
        for start in range(0, len(waiting), _ADAPTED):
            batch = waiting[start : start + _ADAPTED]
            pixels = self.thumbnails.read([missing[digest] for digest in batch])
            note_progress()
            self.store.add(batch, self.backbone.embed(pixels.reshape(-1, THUMBNAIL, THUMBNAIL, 3)))
        return self.store.positions(wanted) if waiting else known


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """Where features of some images are kept, checked at once: to be read part by part.

    Attributes
    ----------
    places
        Of each part of a feature its store, and the rows of those images that it has.
    """

    places: Sequence[tuple[FeatureStore, Mapping[str, int]]]

    def __contains__(self, digest: str) -> bool:
        return all(digest in rows for _, rows in self.places)

    def read(self, digests: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return which of some images have all of their parts, shape (n,), and their features, shape (n, d).

        The files are read from end to end, whatever the order of the images, and of more than 400,000 the features are
        float16: nothing is held twice.
        """
        count, dimension = len(digests), sum(store.dimension for store, _ in self.places)
        rows_of = [np.fromiter((rows.get(one, -1) for one in digests), np.int64, count) for _, rows in self.places]
        found = np.flatnonzero(np.min(rows_of, axis=0) >= 0)
        features = np.empty((len(found), dimension), dtype=np.float32 if count <= HELD_WHOLE else np.float16)
        weights = _WEIGHTS if len(self.places) > 1 else (None,)
        column = 0
        for (store, _), rows, weight in zip(self.places, rows_of, weights, strict=True):
            part = features[:, column : column + store.dimension]
            for places, block in store.blocks(rows[found]):
                part[places] = block if weight is None else join_features([block], [weight])
            column += store.dimension
        return found, cast("NDArray[np.float32]", features)


@dataclass(frozen=True, slots=True)
class Representation:
    """A way to represent the images of a project: by frozen features alone, or joined with adapted ones.

    Attributes
    ----------
    key
        Identifies the backbones: a classifier fits features of its own key only.
    frozen
        The backbone's features.
    adapted
        The adapted network's, if it takes part.
    """

    key: str
    frozen: ImageFeatures
    adapted: AdaptedFeatures | None = None

    @property
    def images(self) -> Representation:
        """What single images are represented by: itself, as tasks show one."""
        return self

    @property
    def parts(self) -> tuple[int, ...]:
        """Lengths of the parts that a feature is joined of; empty for one."""
        return () if self.adapted is None else (self.frozen.store.dimension, self.adapted.backbone.dimension)

    @property
    def dimension(self) -> int:
        """Length of a feature."""
        return sum(self.parts) or self.frozen.store.dimension

    def kept(self, digests: Iterable[str]) -> KeptFeatures:
        """Return where the features of images are; the adapted ones that are missing are made."""
        wanted = list(digests)
        of_frozen = (self.frozen.store, self.frozen.store.positions(wanted))
        if self.adapted is None:
            return KeptFeatures((of_frozen,))
        return KeptFeatures((of_frozen, (self.adapted.store, self.adapted.positions(of_frozen[1]))))

    def look_up(
        self, digests: Sequence[str | None], requests: Sequence[ImageRequest] = (), deadline: float = 0.0
    ) -> Vectors:
        """Return the feature of each image that has all of its parts, as :meth:`ImageFeatures.look_up` does."""
        frozen = self.frozen.look_up(digests, requests, deadline)
        if self.adapted is None:
            return frozen
        own = self.adapted.look_up(frozen.digests)
        return Vectors(frozen.places[own.places], own.digests, join(frozen.rows[own.places], own.rows))


def featured_tasks(representation: Representation, digests: Mapping[int, str]) -> FeaturedTasks:
    """Return those of the tasks that have a feature, in their order; no image is fetched for one.

    Parameters
    ----------
    digests
        What identifies the image of each task.
    """
    ids, names = np.array(list(digests), dtype=np.int64), list(digests.values())
    places, features = representation.kept(names).read(names)
    return FeaturedTasks(ids[places], features, representation.parts)


def join(frozen: NDArray[np.float32], adapted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return frozen and adapted features as one, shape (n, d + d'), in which the adapted ones have more weight."""
    return join_features([frozen, adapted], _WEIGHTS)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels that a backbone saw in the size that adaptation learns from."""
    return to_square(Image.fromarray(pixels), THUMBNAIL)


def _kept(store: FeatureStore, digests: Sequence[str | None]) -> Vectors:
    positions = store.positions(filter(None, digests))
    known = [(place, digest) for place, digest in enumerate(digests) if digest in positions]
    places = np.array([place for place, _ in known], dtype=np.intp)
    kept = [digest for _, digest in known if digest is not None]
    return Vectors(places, kept, store.read([positions[digest] for digest in kept]))
