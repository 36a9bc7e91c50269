"""Backbones that tests share: the default one, exported once per checkout, and a tiny one of timm's."""

import pytest

from clinical_backend.learner.backbones import onnx_export
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from tests.conftest import CACHE
from tests.tiny_network import TINY, save_tiny_weights


@pytest.fixture(scope="session")
def lite0():
    return load_backbone("efficientnet_lite0", folder=CACHE / "backbones", image_size=64, device="cpu")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """The weights of a tiny network, classifier included, as timm's own files have them."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_tiny_weights(path)
    return path


@pytest.fixture(scope="session")
def tiny_name(tiny_weights):
    return f"timm:{TINY}?weights={tiny_weights}"


@pytest.fixture(scope="session")
def tiny_export(tiny_name, tmp_path_factory):
    """The tiny network's export, made once, since that takes seconds."""
    spec = parse_backbone(tiny_name, image_size=32, folder=tmp_path_factory.mktemp("none"))
    return onnx_export.export_onnx(spec)


@pytest.fixture(scope="session")
def tiny_folder(tiny_name, tiny_export, tmp_path_factory):
    """A folder that the tiny network was exported into."""
    folder = tmp_path_factory.mktemp("backbones")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "export_onnx", lambda _: tiny_export)
        load_backbone(tiny_name, folder=folder, image_size=32, device="cpu")
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_name, tiny_folder):
    return load_backbone(tiny_name, folder=tiny_folder, image_size=32, device="cpu", threads=1)
