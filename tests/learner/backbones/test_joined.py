"""Joined networks: means and spreads of each, normalised by themselves, projected; small images in small squares."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from clinical_backend.learner.backbones.base import Backbone, BackboneSpec
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.joined import JoinedNetwork, StageStatistics, random_signs
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.learner.backbones.networks import TorchBackbone
from clinical_backend.learner.backbones.packaged import PACKAGED, trainable_spec
from clinical_backend.learner.backbones.preprocessing import power_normalised, to_fitting_square, to_square
from clinical_backend.learner.backbones.sized import SizedBackbone


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return TorchBackbone(
        parse_backbone("efficientnet_lite", image_size=64, folder=tmp_path_factory.mktemp("none")), "cpu"
    )


def own_network(name):
    packaged = torch.load(PACKAGED[name].path(), weights_only=True)
    model = timm.create_model(name)
    model.load_state_dict(dict(zip(model.state_dict(), packaged.values(), strict=True)))
    return model.eval()


def statistics(model, batch):
    """Return mean and spread of the last layer and the spreads of four stages, normalised together."""
    images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        last, stages = model.forward_intermediates(images, indices=4)
    values = [last.mean((2, 3)), *(maps.flatten(2).std(2, correction=0) for maps in (last, *stages))]
    return power_normalised(torch.cat(values, 1).numpy())


def test_the_default_projects_the_statistics_of_both_networks_at_equal_weight(joined):
    batch = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    parts = [statistics(own_network(name), batch) for name in PACKAGED]
    expected = np.concatenate(parts, 1) / np.sqrt(2)
    assert joined.dimension == 1280
    features = joined.embed(batch)
    assert (
        np.abs(features - expected @ random_signs(expected.shape[1], 1280) / np.sqrt(1280)).max() < 5e-4
    )  # roots of values near 0
    assert (
        np.abs(features @ features.T - expected @ expected.T).max() < 0.1
    )  # of 1; the projection errs by about 1/√1280


def test_signs_are_the_same_wherever_and_whenever_they_are_drawn():
    signs = random_signs(3, 30)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert ((signs[0, :16] > 0) @ (2 ** np.arange(16))) == 16890
    assert abs(random_signs(500, 500).mean()) < 0.01


def test_a_network_without_variation_has_finite_features():
    network = JoinedNetwork([StageStatistics(timm.create_model("test_efficientnet").eval())]).eval()
    with torch.inference_mode():
        assert torch.isfinite(network(torch.zeros((2, 3, 64, 64)))).all()


class Sides(Backbone):
    """Stands in for a network: its one feature is the side of the square."""

    engine = "none"

    def __init__(self, spec):
        super().__init__(spec, 1)

    def _forward(self, batch):
        return np.full((len(batch), 1), batch.shape[1], dtype=np.float32)


@pytest.fixture
def sized(tmp_path):
    loaded = []

    def load(spec):
        loaded.append(spec.image_size)
        return Sides(spec)

    made = SizedBackbone(parse_backbone("efficientnet_lite", folder=tmp_path), load)
    made.loaded = loaded
    return made


def image(width, height):
    return Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8))


def test_each_image_goes_through_the_smallest_square_that_it_fits_and_keeps_its_place(sized):
    images = [image(28, 28), image(600, 450), image(128, 90), image(129, 20), image(224, 1), image(100, 128)]
    embedded = list(Embedder(sized, lambda _: None, batch_size=4).embed(images))
    assert [int(feature[0]) for feature in embedded] == [128, 224, 128, 224, 224, 128]


def test_a_size_is_loaded_when_the_first_image_needs_it(sized):
    assert sized.loaded == [128]
    sized.embed(np.zeros((1, 224, 224, 3), dtype=np.uint8))
    sized.embed(np.zeros((1, 224, 224, 3), dtype=np.uint8))
    assert sized.loaded == [128, 224]


class Ramp(Backbone):
    """Stands in for one network on a GPU, which likes large batches."""

    engine, batch_size = "none", 128

    def __init__(self, spec):
        super().__init__(spec, 2)

    def _forward(self, batch):
        return np.tile(np.float32([1, 16]), (len(batch), 1))


def test_several_sizes_of_one_network_give_what_each_gives_in_batches_that_it_likes():
    spec = BackboneSpec("ramp", None, "0" * 64, 224, (128, 224))
    squares = np.zeros((3, 224, 224, 3), dtype=np.uint8)
    sized = SizedBackbone(spec, Ramp)
    assert np.array_equal(sized.embed(squares), Ramp(spec.at(224)).embed(squares))
    assert sized.batch_size == 128


def test_a_square_that_fits_is_left_as_it_is():
    square = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert to_fitting_square(square, (128, 224)) is square
    assert np.array_equal(to_fitting_square(image(300, 10), (128, 224)), to_square(image(300, 10), 224))


def test_a_chosen_size_holds_for_all_images_and_features_of_other_sizes_have_other_keys(tmp_path):
    specs = [parse_backbone("efficientnet_lite", image_size=size, folder=tmp_path) for size in (None, 128, 224)]
    assert [spec.sizes for spec in specs] == [(128, 224), (128,), (224,)]
    assert len({spec.key for spec in specs}) == 3


def test_fine_tuning_goes_on_from_the_first_network_as_it_did_before_there_were_two(tmp_path):
    alone = parse_backbone("efficientnet_lite0", image_size=128, folder=tmp_path)
    assert trainable_spec(parse_backbone("efficientnet_lite", folder=tmp_path)) == alone
    assert trainable_spec(alone) is alone
