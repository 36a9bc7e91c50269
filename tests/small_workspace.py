"""Stores in a fresh folder, and a network that is no network: its features are the image's mean colours."""

import base64
from io import BytesIO

import httpx2
import numpy as np
import pytest
from PIL import Image

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.sources import ImageSource
from clinical_backend.learner.backbones.base import Backbone
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace


class MeanColours(Backbone):
    """Stands in for a network, which would take a minute to export: four numbers of each image."""

    def __init__(self, folder):
        super().__init__(parse_backbone("efficientnet_lite0", image_size=32, folder=folder), 4)
        self.embedded = 0

    @property
    def engine(self):
        return "none"

    def _forward(self, batch):
        self.embedded += len(batch)
        means = batch.reshape(len(batch), -1, 3).mean(axis=1) / 255
        return np.hstack([means, np.ones((len(batch), 1))]).astype(np.float32)


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace whose images come from data: URLs alone."""
    database = Database.in_folder(tmp_path)
    made = Workspace(load_settings(model_dir=tmp_path, label_studio_api_key="k"), database)
    with httpx2.Client() as http:
        made.__dict__["source"] = ImageSource("http://127.0.0.1:9", http)
        made.__dict__["backbone"] = MeanColours(tmp_path)
        made.__dict__["embedder"] = Embedder(made.backbone, decode)
        made.stores.projects.register(1)
        yield made
    database.close()


def picture(red, green=0, blue=0):
    """Return a small image of one colour as a data: URL."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
