"""Folders as publishers have them give the publisher's own features, at any size, through torch and through ONNX."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import timm
import timm.layers
import torch

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.folders import conversion_needed
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.backbones.networks import TorchBackbone, build_network
from tests.learner.backbones.published import CAPTURED, MEAN, STD, images, normalised, write_published, write_timm

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}


def dinov2(folder):
    write_timm(folder, "vit_base_patch14_dinov2", 56, **SMALL, init_values=1.0)


def dinov3(folder):
    write_timm(folder, "vit_base_patch16_dinov3", 64, **SMALL)


def rad_dino(folder):
    write_published(folder, "dinov2")


def uni(folder):
    write_timm(folder, "vit_large_patch16_224", 64, **SMALL, init_values=1.0, dynamic_img_size=True)


def biomedclip(folder):
    write_published(folder, "open_clip trunk")


KINDS = [dinov2, dinov3, rad_dino, uni, biomedclip]
SIZES = (128, 224, 518)


def is_near(found, expected):
    return np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def library_features(folder, pixels):
    """Return what timm gives by itself: built for the size of the training, it resamples and pads as it runs."""
    spec = parse_backbone(str(folder), image_size=None, folder=folder)
    body = build_network(spec)[0].body
    arguments = {name: value for name, value in spec.arguments.items() if name != "norm_eps"}
    sizes = {"img_size": spec.image_size, "dynamic_img_size": True, "dynamic_img_pad": True}
    own = timm.create_model(spec.architecture, num_classes=0, **{**arguments, **sizes})
    own.load_state_dict(body.state_dict())
    with torch.inference_mode():
        return own.eval()(normalised(pixels)).numpy()


@pytest.mark.parametrize("kind", json.loads(CAPTURED.read_text()))
def test_a_folder_gives_the_features_of_its_publishers_library(tmp_path, kind):
    captured = write_published(tmp_path, kind)
    backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=None, folder=tmp_path), "cpu")
    assert backbone.image_size == captured["size"]
    assert is_near(backbone._forward(images(captured["size"])), np.array(captured["features"]))


@pytest.mark.parametrize("kind", [dinov2, dinov3, uni])
def test_a_folder_of_timms_hub_gives_timms_features(tmp_path, kind):
    kind(tmp_path)
    spec = parse_backbone(str(tmp_path), image_size=None, folder=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = timm.create_model(config["architecture"], num_classes=0, img_size=spec.image_size, **config["model_args"])
    own.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    pixels = images(spec.image_size)
    with torch.inference_mode():
        expected = own.eval()(normalised(pixels)).numpy()
    assert is_near(TorchBackbone(spec, "cpu")._forward(pixels), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_another_size_give_the_features_of_timms_own_resampling(tmp_path, kind, size):
    kind(tmp_path)
    pixels = images(size)
    backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=size, folder=tmp_path), "cpu")
    assert is_near(backbone._forward(pixels), library_features(tmp_path, pixels))


# One size of each kind takes seconds; the others are tried with the slow tests.
QUICK = {(dinov2, 518), (dinov3, 128), (rad_dino, 224), (uni, 224), (biomedclip, 128)}


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        pytest.param(kind, size, marks=() if (kind, size) in QUICK else pytest.mark.slow)
        for kind in KINDS
        for size in SIZES
    ],
)
def test_the_export_gives_the_same_features(tmp_path, kind, size):
    kind(tmp_path)
    pixels = images(size)
    exported = load_backbone(str(tmp_path), folder=tmp_path / "kept", image_size=size, device="cpu", threads=1)
    assert is_near(exported._forward(pixels), library_features(tmp_path, pixels))


def test_networks_of_one_file_with_other_descriptions_have_other_keys(tmp_path):
    uni(tmp_path)
    first = parse_backbone(str(tmp_path), image_size=64, folder=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (tmp_path / "config.json").write_text(json.dumps(config))
    second = parse_backbone(f"local-dir:{tmp_path}", image_size=64, folder=tmp_path)
    assert first.key != second.key
    assert (first.normalisation.mean, second.normalisation.mean) == (tuple(MEAN), (0.5, 0.5, 0.5))
    assert first.normalisation.std == tuple(STD)


@pytest.mark.parametrize("pool", ["token", ""])
def test_gated_blocks_and_a_pooling_that_a_publisher_leaves_to_code_are_found(tmp_path, pool):
    code = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    own = timm.create_model("vit_huge_patch14_224", num_classes=0, img_size=56, **SMALL, **code).eval()
    safetensors.torch.save_file(own.state_dict(), tmp_path / "model.safetensors")
    pretrained = {"mean": MEAN, "std": STD, "input_size": [3, 56, 56]}
    config = {"architecture": "vit_huge_patch14_224", "model_args": {**SMALL, "global_pool": pool}}
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": pretrained}))
    pixels = images(56)
    with torch.inference_mode():
        expected = own(normalised(pixels)).numpy()
    backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=None, folder=tmp_path), "cpu")
    assert is_near(backbone._forward(pixels), expected)


def test_a_network_of_timms_is_read_as_transformers_saves_it(tmp_path):
    own = timm.create_model("test_vit", num_classes=3).eval()
    tensors = {f"timm_model.{name}": tensor for name, tensor in own.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    pretrained = {"mean": MEAN, "std": STD, "input_size": [3, 160, 160]}
    config = {
        "architecture": "test_vit",
        "model_type": "timm_wrapper",
        "model_args": None,
        "pretrained_cfg": pretrained,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    own.reset_classifier(0)
    with torch.inference_mode():
        expected = own(normalised(images(160))).numpy()
    backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=None, folder=tmp_path), "cpu")
    assert is_near(backbone._forward(images(160)), expected)


class TestSeveralLibraries:
    """Many repositories of CLIP hold the same network as open_clip and as transformers keep it."""

    def write(self, folder, *kinds):
        return [write_published(folder, kind) for kind in kinds]

    def test_each_description_goes_with_the_weights_of_its_library(self, tmp_path):
        captured, _ = self.write(tmp_path, "open_clip plain", "clip")
        backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=None, folder=tmp_path), "cpu")
        assert is_near(backbone._forward(images(captured["size"])), np.array(captured["features"]))

    @pytest.mark.parametrize("kind", ["open_clip plain", "clip"])
    def test_a_file_that_is_named_by_either_is_read_as_its_tensors_are_named(self, tmp_path, kind):
        self.write(tmp_path, "open_clip plain", "clip")
        (tmp_path / "open_clip_model.safetensors").unlink()
        captured = write_published(tmp_path, kind)
        (tmp_path / captured["weights"]).rename(tmp_path / "model.safetensors")
        backbone = TorchBackbone(parse_backbone(str(tmp_path), image_size=None, folder=tmp_path), "cpu")
        assert is_near(backbone._forward(images(captured["size"])), np.array(captured["features"]))


class TestRefusals:
    def refused(self, folder, message, cure):
        with pytest.raises(ModelError, match=message) as refusal:
            build_network(parse_backbone(str(folder), image_size=None, folder=folder))
        assert cure in refusal.value.cure

    def test_no_folder(self, tmp_path):
        self.refused(tmp_path / "none", "There is no folder", "full path")

    def test_a_file_in_place_of_a_folder(self, tmp_path):
        uni(tmp_path)
        self.refused(tmp_path / "model.safetensors", "is a file", "timm:ARCHITECTURE")

    def test_a_pointer_of_git_lfs(self, tmp_path):
        uni(tmp_path)
        (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
        self.refused(tmp_path, "cannot be read", "Git LFS")

    def test_no_description(self, tmp_path):
        self.refused(tmp_path, "neither config.json nor open_clip_config.json", "timm:ARCHITECTURE")

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_a_description_that_is_none(self, tmp_path, content):
        (tmp_path / "config.json").write_text(content)
        self.refused(tmp_path, "config.json", "JSON")

    def test_a_description_with_a_part_missing(self, tmp_path):
        (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {"width": 16}}}')
        self.refused(tmp_path, "cannot be understood", "anew")

    def test_a_kind_of_transformers_that_is_not_known(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "swinv2"}')
        self.refused(tmp_path, "'swinv2' of transformers is not known, only .*dinov2", "hf-hub:timm/")

    def test_weights_that_can_hold_programs(self, tmp_path):
        uni(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        self.refused(tmp_path, "pytorch_model.bin only", "weights_only=True")

    def test_the_conversion_that_is_told_takes_tensors_as_they_lie_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        tensors = {"turned": torch.arange(6.0).reshape(2, 3).T, "again": torch.ones(2)}
        torch.save(tensors, "pytorch_model.bin")
        code = re.search('python -c "(.*?)",', conversion_needed("The folder", "pytorch_model.bin").cure)[1]
        exec(code)
        converted = safetensors.torch.load_file("model.safetensors")
        assert {name: tensor.tolist() for name, tensor in converted.items()} == {
            name: tensor.tolist() for name, tensor in tensors.items()
        }

    def test_weights_in_several_files(self, tmp_path):
        uni(tmp_path)
        for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "model.safetensors").unlink()
        self.refused(tmp_path, "holds 2 safetensors files", "several parts")

    def test_no_weights(self, tmp_path):
        uni(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        self.refused(tmp_path, "holds no weights", "model.safetensors")

    def test_images_that_are_not_rgb(self, tmp_path):
        config = {"architecture": "vit_base_patch16_224", "model_args": {"in_chans": 1}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        self.refused(tmp_path, "1 channels", "RGB")

    def test_weights_of_another_network(self, tmp_path):
        write_published(tmp_path, "dinov2")
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
        self.refused(tmp_path, "of another network: .* missing", "config.json")

    def test_arguments_that_timm_does_not_have(self, tmp_path):
        uni(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["model_args"]["colours"] = 4
        (tmp_path / "config.json").write_text(json.dumps(config))
        self.refused(tmp_path, "cannot build vit_large_patch16_224 .*colours", "timm that it was saved with")

    @pytest.mark.parametrize("part", [{"attentional_pool": True}, {"layers": [1, 1, 1, 1]}, {"timm_model_name": "x"}])
    def test_an_image_tower_that_is_not_known(self, tmp_path, part):
        write_published(tmp_path, "open_clip plain")
        config = json.loads((tmp_path / "open_clip_config.json").read_text())
        config["model_cfg"]["vision_cfg"] |= {**part, "timm_pool": "abs_attn"}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        self.refused(tmp_path, "image tower", "vision transformer")
