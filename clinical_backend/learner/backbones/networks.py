"""Backbones as torch modules: built by timm, with weights that are checked. Importing this imports torch."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any, cast

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import PACKAGED, Backbone, BackboneSpec
from clinical_backend.learner.backbones.devices import torch_device
from clinical_backend.learner.backbones.joined import JoinedNetwork, StageStatistics
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FeatureNetwork", "TorchBackbone", "build_network", "cuda_backbone", "download_weights"]


class FeatureNetwork(torch.nn.Module):
    """A timm network without its classifier that takes pixels as they are.

    Input: uint8, shape (n, size, size, 3). Output: float32, shape (n, d).
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, body: torch.nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("shift", 255.0 * torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std).reshape(1, 3, 1, 1)), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the pooled features of a batch of pixels."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32)
        features: torch.Tensor = self.body((images - self.shift) * self.scale)
        return features


def build_network(spec: BackboneSpec) -> tuple[FeatureNetwork, int]:
    """Return the network of a backbone in evaluation mode, and its number of features.

    Raises
    ------
    ModelError
        When timm does not know the architecture, the weights do not fit it, or it does not take images of
        this size.
    """
    if spec.members:
        members = [_packaged(name) for name in spec.members]
        body: torch.nn.Module = JoinedNetwork([StageStatistics(member) for member in members])
        config = _configuration(members[0])  # EfficientNet-Lite: all take pixels alike
    elif spec.weights is None:
        body = _packaged(spec.architecture)
        config = _configuration(body)
    else:
        body = _create(spec.architecture, pretrained=False)
        _load(body, spec.weights)
        config = _configuration(body)
    network = FeatureNetwork(body, tuple(config["mean"]), tuple(config["std"])).eval()
    try:
        with torch.inference_mode():
            shape = network(torch.zeros((1, spec.image_size, spec.image_size, 3), dtype=torch.uint8)).shape
    except (RuntimeError, AssertionError):
        wanted = config.get("input_size", (3, 0, 0))[-1]
        raise ModelError(
            f"The backbone {spec.architecture} does not take images of {spec.image_size} pixels.",
            f"Set IMAGE_SIZE to {wanted}, the size that it was trained with.",
        ) from None
    if len(shape) != 2:
        raise ModelError(
            f"The backbone {spec.architecture} does not give one vector for an image.",
            "Choose an architecture with pooled features.",
        )
    return network, shape[1]


def download_weights(architecture: str, path: Path) -> None:
    """Let timm download the default weights of an architecture, and keep them as a safetensors file.

    Raises
    ------
    ModelError
        When timm does not know the architecture or cannot download it.
    """
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:  # else it stays below the home folder
        body = _create(architecture, pretrained=True, cache_dir=cache)
    aside = path.with_suffix(f".{os.getpid()}.part")
    safetensors.torch.save_file(body.state_dict(), aside)
    aside.replace(path)


def _create(architecture: str, *, pretrained: bool, cache_dir: str | None = None) -> torch.nn.Module:
    if not timm.is_model(architecture):
        raise ModelError(
            f"timm does not know the architecture {architecture!r}.",
            "Take a name from timm.list_models(), without an organisation before it.",
        )
    try:
        body: torch.nn.Module = timm.create_model(
            architecture, pretrained=pretrained, num_classes=0, cache_dir=cache_dir
        )
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise ModelError(
            f"timm cannot provide {architecture} ({type(error).__name__}).",
            "If this machine has no network, copy the weights here as a safetensors file and name it: "
            f"timm:{architecture}?weights=/path/of/file.safetensors",
        ) from None
    return body


def _packaged(architecture: str) -> torch.nn.Module:
    """Return a network with the weights of its package."""
    body = _create(architecture, pretrained=False)
    packaged = torch.load(PACKAGED[architecture].path(), map_location="cpu", weights_only=True)
    # The package's tensors have other names and stand in timm's order; its last two are the classifier.
    names = list(body.state_dict())
    body.load_state_dict(dict(zip(names, list(packaged.values())[:-2], strict=True)))
    return body


def _configuration(body: torch.nn.Module) -> dict[str, Any]:
    return cast("dict[str, Any]", body.pretrained_cfg)


def _load(body: torch.nn.Module, path: Path) -> None:
    try:
        loaded = body.load_state_dict(safetensors.torch.load_file(path), strict=False)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(
            f"The weights do not fit the architecture, or cannot be read ({type(error).__name__}).",
            "Check that the file belongs to the architecture that BACKBONE names, and is whole.",
        ) from None
    classifier = _configuration(body).get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    missing = [name for name in loaded.missing_keys if not name.endswith("num_batches_tracked")]
    surplus = [name for name in loaded.unexpected_keys if not name.startswith(heads)]
    if missing or surplus:
        raise ModelError(
            f"The weights are of another network: {len(missing)} tensors are missing and {len(surplus)} have no place.",
            "Check that the file belongs to the architecture that BACKBONE names.",
        )


class TorchBackbone(Backbone):
    """A backbone that torch runs, on a CUDA device or a CPU."""

    def __init__(self, spec: BackboneSpec, device: str) -> None:
        network, dimension = build_network(spec)
        super().__init__(spec, dimension)
        self.engine = f"torch on {device}"
        self._device = torch.device(device)
        self._network = network.to(self._device).to(memory_format=torch.channels_last)

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        # Without TF32, so that features of one key agree whatever device made them.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                pixels = torch.from_numpy(batch).to(self._device, non_blocking=True)
                features: NDArray[np.float32] = self._network(pixels).float().cpu().numpy()
        except torch.OutOfMemoryError:
            raise ModelError(
                "The CUDA device has no memory left for the backbone.",
                "Free the device, choose a smaller IMAGE_SIZE, or set DEVICE=cpu.",
            ) from None
        return features


def cuda_backbone(spec: BackboneSpec, *, required: bool) -> TorchBackbone | None:
    """Return the backbone on a CUDA device, or ``None`` where there is none and none is required.

    Raises
    ------
    ModelError
        When there is none and one is required.
    """
    device = torch_device("cuda" if required else "auto")
    return TorchBackbone(spec, "cuda") if device.type == "cuda" else None
