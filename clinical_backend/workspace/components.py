"""What fetches and embeds images, made as the settings say: in any process, on any machine."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.images.sources import ImageSource
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.backbones.packaged import trainable_spec
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, to_fitting_square
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.workspace.features import THUMBNAIL, ImageFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
    from clinical_backend.learner.backbones.embedder import Decode
    from clinical_backend.settings import Settings
    from clinical_backend.storage.database import Database

__all__ = ["Components", "open_backbone", "open_client", "open_decoders", "open_embedder", "open_source"]

_DECODERS = 2
"""Processes that decode: one for each of the two cores that docs/speed.md measures on; more were not measured."""
_CONNECT_SECONDS = 5.0
"""Where nobody else waits for the image: half of what a round gives a piece of it."""
_LOOK_SECONDS = 10.0
"""For one image: a twelfth of what a round gives it."""


def open_client(settings: Settings) -> LabelStudioClient:
    """Return a client of Label Studio; a context manager."""
    return LabelStudioClient(settings.label_studio_url, settings.api_key)


def open_source(settings: Settings, client: LabelStudioClient, seconds: float | None = None) -> ImageSource:
    """Return images by address.

    Parameters
    ----------
    seconds
        Longest time for one image, which is tried once; by default the patience of rounds.
    """
    make = partial(
        ImageSource,
        settings.label_studio_url,
        client.http,
        local_roots=settings.local_roots,
        allowed_hosts=settings.image_hosts,
    )
    return make() if seconds is None else make(time_out=_CONNECT_SECONDS, time_limit=seconds, attempts=1)


def open_backbone(settings: Settings) -> Backbone:
    """Return the network that makes features."""
    return load_backbone(
        settings.backbone,
        folder=settings.model_dir / "backbones",
        image_size=settings.image_size,
        device=settings.device,
    )


def open_decoders(sizes: Sequence[int]) -> DecoderProcesses:
    """Return what makes the square, of these sizes, that a backbone takes of an image's bytes, in processes."""
    return DecoderProcesses(partial(to_fitting_square, sizes=tuple(sizes)), processes=_DECODERS)


def open_embedder(backbone: Backbone, decode: Decode) -> Embedder:
    """Return images through a network."""
    return Embedder(backbone, decode, workers=_DECODERS + 1)  # one fetches the next meanwhile


class Components:
    """What fetches, embeds and keeps images, made when it is first needed.

    Parameters
    ----------
    settings
        Of the backend.
    database
        Its state.
    client, source, watching_source, backbone, decode
        What stands for the properties of these names. By default each is made as the settings say when it is first
        needed: a backbone takes seconds to load, and a command that reads the state needs no key of Label Studio.
    shared
        Components whose client and sources these use too; by default they have their own.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        client: LabelStudioClient | None = None,
        source: ImageSource | None = None,
        watching_source: ImageSource | None = None,
        backbone: Backbone | None = None,
        decode: Decode | None = None,
        shared: Components | None = None,
    ) -> None:
        self.settings = settings
        self.stores = Stores(database)
        self._shared = shared
        given = {
            "client": client,
            "source": source,
            "watching_source": watching_source,
            "backbone": backbone,
            "decode": decode,
        }
        for name, component in given.items():
            if component is not None:
                setattr(self, name, component)

    @cached_property
    def client(self) -> LabelStudioClient:
        """Label Studio's API."""
        return open_client(self.settings) if self._shared is None else self._shared.client

    @cached_property
    def source(self) -> ImageSource:
        """Images by address."""
        return open_source(self.settings, self.client) if self._shared is None else self._shared.source

    @cached_property
    def watching_source(self) -> ImageSource:
        """The same images, for a look whether they changed: nobody waits for it, so it gives up soon."""
        if self._shared is not None:
            return self._shared.watching_source
        return open_source(self.settings, self.client, _LOOK_SECONDS)

    @cached_property
    def spec(self) -> BackboneSpec:
        """Which network makes features, known without loading it."""
        folder = self.settings.model_dir / "backbones"
        return parse_backbone(self.settings.backbone, image_size=self.settings.image_size, folder=folder)

    @cached_property
    def trainable(self) -> BackboneSpec:
        """Which network fine-tuning goes on from."""
        return trainable_spec(self.spec)

    @cached_property
    def backbone(self) -> Backbone:
        """The network that makes features."""
        return open_backbone(self.settings)

    @cached_property
    def decoders(self) -> DecoderProcesses:
        """Reads images in processes of their own."""
        return open_decoders(self.spec.sizes)

    @cached_property
    def decode(self) -> Decode:
        """From the bytes of an image to pixels."""
        return self.decoders.decode

    @cached_property
    def features(self) -> ImageFeatures:
        """The backbone's features of images; where adaptation is on, their thumbnails are kept beside."""
        thumbnails = None if self.settings.adaptation == "off" else self.thumbnails
        store = self.feature_store(self.backbone.key, self.backbone.dimension)
        return ImageFeatures(store, self.source, open_embedder(self.backbone, self.decode), thumbnails)

    @cached_property
    def thumbnails(self) -> FeatureStore:
        """Small pixels of the images that were embedded, for adaptation: shape (n, THUMBNAIL² × 3), uint8."""
        return self.feature_store(f"thumbnails-{THUMBNAIL}-{PREPROCESSING}", THUMBNAIL * THUMBNAIL * 3, np.uint8)

    def feature_store(self, key: str, dimension: int, dtype: DTypeLike = np.float32) -> FeatureStore:
        """Return where what a network makes of images is kept."""
        folder = self.settings.model_dir / "features"
        return FeatureStore(self.stores.database, folder, backbone=key, dimension=dimension, dtype=dtype)
