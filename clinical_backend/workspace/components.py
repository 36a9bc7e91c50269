"""What fetches and embeds images, made as the settings say: in any process, on any machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.images.sources import ImageSource
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.learner.backbones.preprocessing import to_square

if TYPE_CHECKING:
    from clinical_backend.learner.backbones.base import Backbone
    from clinical_backend.learner.backbones.embedder import Decode
    from clinical_backend.settings import Settings

__all__ = ["open_backbone", "open_client", "open_decoder", "open_embedder", "open_source"]

_DECODERS = 2
"""Processes that decode: one for each of the two cores that docs/speed.md measures on; more were not measured."""
_CONNECT_SECONDS = 5.0
"""Where nobody else waits for the image: half of what a round gives a piece of it."""


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


def open_decoder(image_size: int) -> Decode:
    """Return what makes the square that a backbone takes of an image's bytes, in processes of its own."""
    return DecoderProcesses(partial(to_square, size=image_size), processes=_DECODERS).decode


def open_embedder(backbone: Backbone, decode: Decode) -> Embedder:
    """Return images through a network."""
    return Embedder(backbone, decode, workers=_DECODERS + 1)  # one fetches the next meanwhile
