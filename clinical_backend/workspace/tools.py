"""What fetches and embeds images, made from the settings alone: once per process, on any machine."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from clinical_backend.images.decoders.processes import DecoderProcesses
from clinical_backend.images.patience import Patience
from clinical_backend.images.sources import ImageSource
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.backbones.preprocessing import to_square
from clinical_backend.workspace.embedding import Station

if TYPE_CHECKING:
    from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
    from clinical_backend.settings import Settings

__all__ = ["Tools", "station"]

_DECODERS = 2


class Tools:
    """The client, the source of images and the backbone, each made when first needed.

    Parameters
    ----------
    settings
        Of the backend.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> LabelStudioClient:
        """Label Studio's API."""
        return LabelStudioClient(self.settings.label_studio_url, self.settings.api_key)

    @cached_property
    def source(self) -> ImageSource:
        """Images by address."""
        return ImageSource(
            self.settings.label_studio_url,
            self.client.http,
            local_roots=self.settings.local_roots,
            allowed_hosts=self.settings.image_hosts,
        )

    @cached_property
    def watching_source(self) -> ImageSource:
        """The same images, for a look whether they changed: nobody waits for it, so it gives up soon."""
        return ImageSource(
            self.settings.label_studio_url,
            self.client.http,
            local_roots=self.settings.local_roots,
            allowed_hosts=self.settings.image_hosts,
            time_out=5.0,
            time_limit=10.0,
            attempts=1,
        )

    @cached_property
    def spec(self) -> BackboneSpec:
        """Which network makes features, known without loading it."""
        settings = self.settings
        folder = settings.model_dir / "backbones"
        return parse_backbone(settings.backbone, image_size=settings.image_size, folder=folder)

    @cached_property
    def backbone(self) -> Backbone:
        """The network that makes features."""
        return load_backbone(
            self.settings.backbone,
            folder=self.settings.model_dir / "backbones",
            image_size=self.settings.image_size,
            device=self.settings.device,
        )

    @cached_property
    def decoders(self) -> DecoderProcesses:
        """From the bytes of an image to the square that the backbone takes."""
        return DecoderProcesses(partial(to_square, size=self.settings.image_size), processes=_DECODERS)

    @cached_property
    def embedder(self) -> Embedder:
        """Images through the backbone."""
        return self.embedder_of(self.backbone)

    def embedder_of(self, backbone: Backbone) -> Embedder:
        """Return images through another network."""
        return Embedder(backbone, self.decoders.decode, workers=_DECODERS + 1)  # one fetches the next meanwhile


def station(settings: Settings, small: bool) -> Station:
    """Return where images are embedded on a node of a cluster."""
    tools = Tools(settings)
    patience = Patience(settings.embed_seconds, settings.slow_host_seconds)
    return Station(tools.source, tools.embedder, small=small, patience=patience)
