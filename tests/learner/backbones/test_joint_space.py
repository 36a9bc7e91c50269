"""Which backbones share a space with texts, and how their features come into it."""

import json

import numpy as np
import pytest
import safetensors.numpy

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.joint_space import JointSpace, joint_space_of
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.learner.backbones.preprocessing import power_normalised, unit
from tests.learner.backbones.published import CAPTURED, write_published, write_timm

KINDS = json.loads(CAPTURED.read_text())
TWO_TOWERS = {"clip", "siglip", "open_clip plain", "open_clip quick", "open_clip trunk", "open_clip trunk averaged"}


def parsed(folder):
    return parse_backbone(str(folder), folder=folder)


@pytest.mark.parametrize("projection", [None, np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)])
def test_images_lie_where_their_pooled_output_does_whatever_the_length_of_a_feature(projection):
    pooled = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    expected = unit(pooled if projection is None else pooled @ projection.T)
    space = JointSpace(projection, 1.0)
    for features in (power_normalised(pooled), 3 * power_normalised(pooled)):
        assert space.place(features) == pytest.approx(expected, abs=1e-5)
    half = power_normalised(pooled).astype(np.float16)
    assert space.place(half) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("projection", "width"), [(None, 8), (np.ones((5, 8), dtype=np.float32), 5)])
def test_texts_of_another_width_are_refused(projection, width):
    space = JointSpace(projection, 1.0)
    space.require(np.ones((2, width), dtype=np.float32), 8)
    for texts, dimension in ((width + 1, 8), (width, 9)):
        with pytest.raises(ModelError, match="Fetch its folder again"):
            space.require(np.ones((2, texts), dtype=np.float32), dimension)


def test_a_black_image_lies_nowhere():
    assert not JointSpace(None, 1.0).place(np.zeros((1, 4), dtype=np.float32)).any()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_those_with_a_text_tower_are_told_from_the_others(tmp_path, kind):
    captured = write_published(tmp_path, kind)
    if kind not in TWO_TOWERS:
        with pytest.raises(ModelError, match=r"has no text tower.* Set BACKBONE to"):
            joint_space_of(parsed(tmp_path))
        return
    space = joint_space_of(parsed(tmp_path))
    tensors = safetensors.numpy.load_file(tmp_path / captured["weights"])
    assert space.scale == pytest.approx(np.exp(tensors["logit_scale"].item()))
    if kind == "siglip":
        assert space.projection is None
    else:
        assert space.projection.shape == (512 if kind == "clip" else 16, len(captured["features"][0]))


def test_the_default_and_a_network_of_timm_have_none(tmp_path):
    write_timm(tmp_path, "test_vit", 160)
    for name in ("efficientnet_lite0", str(tmp_path)):
        with pytest.raises(ModelError, match="has no text tower"):
            joint_space_of(parse_backbone(name, folder=tmp_path))


@pytest.mark.parametrize("name", ["visual.head.proj.bias", "visual.head.mlp.fc1.weight"])
def test_a_projection_that_needs_the_length_of_the_output_is_refused(tmp_path, name):
    captured = write_published(tmp_path, "open_clip trunk")
    path = tmp_path / captured["weights"]
    safetensors.numpy.save_file({**safetensors.numpy.load_file(path), name: np.zeros(16, np.float32)}, path)
    with pytest.raises(ModelError, match="more than a matrix"):
        joint_space_of(parsed(tmp_path))


def test_other_weights_in_the_same_file_are_seen(tmp_path):
    captured = write_published(tmp_path, "clip")
    path = tmp_path / captured["weights"]
    before = joint_space_of(parsed(tmp_path)).scale
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(
        {**tensors, "logit_scale": np.array(tensors["logit_scale"] + 1), "more": np.zeros(3)}, path
    )
    assert joint_space_of(parsed(tmp_path)).scale == pytest.approx(np.e * before)
