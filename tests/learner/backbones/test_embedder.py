"""Images become features in order, batch by batch, and one bad image spoils no other."""

import io

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError, ModelError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
from clinical_backend.learner.backbones.embedder import Embedder, content_key


class Mean(Backbone):
    """A backbone whose features are the mean of red and 100; it notes the sizes of its batches."""

    engine = "numpy"

    def __init__(self):
        super().__init__(BackboneSpec("mean", None, "0" * 64, 8), 2)
        self.batches = []

    def _forward(self, batch):
        self.batches.append(len(batch))
        red = batch[..., 0].mean(axis=(1, 2), dtype=np.float32)
        return np.stack([red, np.full_like(red, 100)], axis=1)


def level_of(feature):
    """Return the mean of red that a normalised feature was made of."""
    return round(float(100 * (feature[0] / feature[1]) ** 2))


def png(level):
    file = io.BytesIO()
    Image.new("RGB", (9, 9), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def backbone():
    return Mean()


def test_features_come_in_order_whatever_the_input_is(backbone):
    images = [png(level) if level % 2 else decode(png(level)) for level in range(75)]
    features = list(Embedder(backbone, decode, batch_size=16).embed(images))
    assert [level_of(feature) for feature in features] == list(range(75))
    assert backbone.batches == [16, 16, 16, 16, 11]


def test_unreadable_images_give_errors_in_their_places(backbone):
    unfetched = ImageError("Not there.", "Look elsewhere.")
    images = [png(0), b"no image", png(2), unfetched, png(4)]
    results = list(Embedder(backbone, decode, batch_size=2).embed(images))
    assert [isinstance(result, ImageError) for result in results] == [False, True, False, True, False]
    assert results[3] is unfetched
    assert [level_of(results[place]) for place in (0, 2, 4)] == [0, 2, 4]


def test_only_errors_need_no_network(backbone):
    assert all(isinstance(result, ImageError) for result in Embedder(backbone, decode).embed([b"x"] * 40))
    assert backbone.batches == []


def test_no_image_gives_no_feature(backbone):
    assert list(Embedder(backbone, decode).embed([])) == []


def test_it_reads_ahead_by_a_few_batches_only(backbone):
    asked = []

    def images():
        for level in range(100_000):
            asked.append(level)
            yield png(0)

    features = Embedder(backbone, decode, batch_size=4).embed(images())
    assert asked == []
    next(features)
    assert len(asked) <= 16
    features.close()


def test_a_failure_of_the_network_is_raised(backbone):
    backbone._forward = lambda batch: np.full((len(batch), 3), np.nan, dtype=np.float32)
    with pytest.raises(ModelError, match="not finite"):
        list(Embedder(backbone, decode).embed([png(0)]))


def test_the_default_backbone_tells_images_apart(lite0):
    cells = [Image.effect_noise((50, 40), 90).convert("RGB"), Image.linear_gradient("L").convert("RGB")]
    features = np.stack(list(Embedder(lite0, decode).embed([*cells, cells[0]])))
    assert np.allclose(features[0], features[2], atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 0.1


def test_the_content_key_is_the_sha256_of_the_bytes():
    assert content_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
