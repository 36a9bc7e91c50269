"""Stores in a fresh folder, and a network that is no network: its features are the image's mean colours."""

import base64
from contextlib import closing
from io import BytesIO

import httpx2
import numpy as np
import pytest
from PIL import Image

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.sources import ImageSource
from clinical_backend.learner.adaptation.network import AdaptedBackbone
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.features import THUMBNAIL, AdaptedFeatures
from clinical_backend.workspace.workspace import Workspace


class MeanColours(Backbone):
    """Stands in for a network, which would take a minute to export: four numbers of each image."""

    engine = "none"

    def __init__(self, folder):
        super().__init__(parse_backbone("efficientnet_lite0", image_size=32, folder=folder), 4)
        self.embedded = 0

    def _forward(self, batch):
        self.embedded += len(batch)
        means = batch.reshape(len(batch), -1, 3).mean(axis=1) / 255
        return np.hstack([means, np.ones((len(batch), 1))]).astype(np.float32)


class Reds(AdaptedBackbone):
    """Stands in for an adapted network, which would take minutes to train: red against a constant."""

    def __init__(self):
        Backbone.__init__(self, BackboneSpec("adapted", None, "a" * 64, THUMBNAIL), 2)
        self.embedded = 0

    def _forward(self, batch):
        self.embedded += len(batch)
        red = batch[..., 0].mean(axis=(1, 2), dtype=np.float32)
        return np.stack([red, np.full_like(red, 100)], axis=1)


class AnotherNetwork(MeanColours):
    """The same, with another key: its features are to be made anew."""

    def __init__(self, folder):
        super().__init__(folder)
        self.key = f"another-{self.key}"


def adapt_to_reds(workspace):
    """Have project 1 of a workspace know a network that is adapted to its images, and return what it makes."""
    backbone = Reds()
    made = AdaptedFeatures(backbone, workspace.feature_store(backbone.key, 2), workspace.thumbnails)
    workspace.project(1).adapted = lambda: made
    return made


@pytest.fixture
def fake_client():
    """Return what stands for Label Studio; a module whose tests need one has a fixture of this name."""


@pytest.fixture
def source():
    """Return where images come from: data: URLs alone, unless a module has a fixture of this name."""
    with httpx2.Client() as http:
        yield ImageSource("http://127.0.0.1:9", http)


@pytest.fixture
def workspace(tmp_path, fake_client, source):
    """Return a workspace of project 1."""
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    parts = {"client": fake_client, "source": source, "watching_source": source, "backbone": MeanColours(tmp_path)}
    with closing(Workspace(settings, Database.in_folder(tmp_path), decode=decode, **parts)) as made:
        made.stores.projects.register(1)
        yield made


def reopened(workspace, **parts):
    """Return a workspace as another process would have it, with other parts where they are given."""
    names = ("client", "source", "watching_source", "backbone", "decode")
    kept = {name: getattr(workspace, name) for name in names}
    return Workspace(workspace.settings, workspace.stores.database, **kept | parts)


def picture(red, green=0, blue=0):
    """Return a small image of one colour as a data: URL."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
