"""Backbones as torch modules: built by timm, with weights that are checked. Importing this imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx2
import numpy as np
import timm
import timm.layers
import torch

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import Backbone, BackboneSpec, Normalisation
from clinical_backend.learner.backbones.devices import torch_device
from clinical_backend.learner.backbones.joined import JoinedNetwork, StageStatistics
from clinical_backend.learner.backbones.packaged import PACKAGED
from clinical_backend.learner.backbones.tensors import fill, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["FeatureNetwork", "TorchBackbone", "build_network", "create_body", "cuda_backbone", "trained_size"]

_CUDA_BATCH = 128
"""As many as a round hands over at once; what the device's memory cannot take is halved."""


class FeatureNetwork(torch.nn.Module):
    """A timm network without its classifier that takes pixels as they are.

    Input: uint8, shape (n, size, size, 3). Output: float32, shape (n, d).

    Parameters
    ----------
    body
        The network.
    mean, std
        What pixels are normalised by, from 0 to 1.
    padding
        So many pixels are added to the right and below, with the value 0 once normalised: up to whole patches.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, body: torch.nn.Module, mean: tuple[float, ...], std: tuple[float, ...], *, padding: int = 0
    ) -> None:
        super().__init__()
        self.body = body
        self.padding = padding
        self.register_buffer("shift", 255.0 * torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std).reshape(1, 3, 1, 1)), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the pooled features of a batch of pixels."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32)
        images = (images - self.shift) * self.scale
        if self.padding:
            images = torch.nn.functional.pad(images, (0, self.padding, 0, self.padding))
        features: torch.Tensor = self.body(images)
        return features


def build_network(spec: BackboneSpec) -> tuple[FeatureNetwork, int]:
    """Return the network of a backbone in evaluation mode, and its number of features.

    Raises
    ------
    ModelError
        When timm does not know the architecture, the weights do not fit it, or it does not take images of
        this size.
    """
    body, configuration, padding = _body(spec)
    normalisation = spec.normalisation or Normalisation(tuple(configuration["mean"]), tuple(configuration["std"]))
    network = FeatureNetwork(body, normalisation.mean, normalisation.std, padding=padding).eval()
    try:
        with torch.inference_mode():
            shape = network(torch.zeros((1, spec.image_size, spec.image_size, 3), dtype=torch.uint8)).shape
    except (RuntimeError, AssertionError):
        raise _wrong_size(spec) from None
    if len(shape) != 2:
        raise ModelError(
            f"The backbone {spec.architecture} does not give one vector for an image.",
            "Choose an architecture with pooled features.",
        )
    return network, shape[1]


def create_body(architecture: str, *, pretrained: bool = False, **arguments: Any) -> torch.nn.Module:
    """Return a network of timm's without its classifier.

    Raises
    ------
    ModelError
        When timm does not know it, or cannot provide its weights where these are asked for.
    """
    if not timm.is_model(architecture):
        raise ModelError(
            f"timm does not know the architecture {architecture!r}.",
            "Take a name from timm.list_models(), without an organisation before it; newer ones need a newer timm.",
        )
    try:
        body: torch.nn.Module = timm.create_model(architecture, pretrained=pretrained, num_classes=0, **arguments)
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError, ImportError) as error:
        raise ModelError(
            f"timm cannot provide {architecture} ({type(error).__name__}).",
            "If this machine has no network, copy the weights here as a safetensors file and name it: "
            f"timm:{architecture}?weights=/path/of/file.safetensors",
        ) from None
    return body


def _body(spec: BackboneSpec) -> tuple[torch.nn.Module, dict[str, Any], int]:
    """Return the network without what is done to pixels, what timm says of it, and how far images are padded."""
    if spec.members:
        members = [_packaged(name) for name in spec.members]
        joined = JoinedNetwork([StageStatistics(member) for member in members])
        return joined, _configuration(members[0]), 0  # EfficientNet-Lite: all take pixels alike
    if spec.weights is None:
        body = _packaged(spec.architecture)
        return body, _configuration(body), 0
    tensors = read_tensors(spec)
    body, padding = _sized(spec, _settled(spec.arguments, tensors))
    _fill(body, tensors, spec)
    return body, _configuration(body), padding


def _packaged(architecture: str) -> torch.nn.Module:
    """Return a network with the weights of its package."""
    body = create_body(architecture)
    packaged = torch.load(PACKAGED[architecture].path(), map_location="cpu", weights_only=True)
    # The package's tensors have other names and stand in timm's order; its last two are the classifier.
    names = list(body.state_dict())
    body.load_state_dict(dict(zip(names, list(packaged.values())[:-2], strict=True)))
    return body


def trained_size(architecture: str) -> int:
    """Return the side of the images that timm's default weights of an architecture were trained with.

    Raises
    ------
    ModelError
        When timm does not know the architecture.
    """
    configuration = timm.models.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    if configuration is None:
        create_body(architecture)  # says what is wrong with the name
        raise ModelError(f"timm does not say which size {architecture} was trained with.", "Set IMAGE_SIZE.")
    return int(configuration.input_size[-1])


def _sized(spec: BackboneSpec, arguments: Mapping[str, Any]) -> tuple[torch.nn.Module, int]:
    """Return the network for images of a size, with random weights, and how far they have to be padded.

    A network of whole patches takes them padded up to these, as timm does with ``dynamic_img_pad``.
    """
    body = _for_size(spec, arguments, spec.image_size)
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", 1)
    padding = -spec.image_size % int(patch[-1] if isinstance(patch, (tuple, list)) else patch)
    if padding and _takes_a_size(body):
        body = _for_size(spec, arguments, spec.image_size + padding)
    return body, padding


def _for_size(spec: BackboneSpec, arguments: Mapping[str, Any], size: int) -> torch.nn.Module:
    chosen = dict(arguments)
    epsilon = chosen.pop("norm_eps", None)
    try:
        try:
            body = create_body(spec.architecture, img_size=size, **chosen)
        except TypeError:  # networks without positions have no such argument
            body = create_body(spec.architecture, **chosen)
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"timm cannot build {spec.architecture} with what config.json says ({error}).",
            "Save the model anew with the installed timm, or install the timm that it was saved with.",
        ) from None
    except (AssertionError, ArithmeticError):
        raise _wrong_size(spec) from None
    for module in body.modules():
        if epsilon is not None and isinstance(module, torch.nn.LayerNorm):
            module.eps = float(epsilon)
    return body


def _takes_a_size(body: torch.nn.Module) -> bool:
    return getattr(getattr(body, "patch_embed", None), "img_size", None) is not None


def _fill(body: torch.nn.Module, tensors: dict[str, torch.Tensor], spec: BackboneSpec) -> None:
    """Put tensors into a network; where they fit it at the size of its training alone, say that."""
    try:
        fill(body, tensors)
    except ModelError:
        own = timm.models.get_pretrained_cfg(spec.architecture)
        if spec.arguments or own is None or own.input_size[-1] == spec.image_size:
            raise
        fill(create_body(spec.architecture), tensors)
        raise _wrong_size(spec) from None


def _settled(arguments: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return arguments with those that publishers of vision transformers leave to code, but that their tensors show."""
    settled = dict(arguments)
    if settled.get("global_pool") == "":  # Virchow leaves the pooling to whoever uses it
        settled["global_pool"] = "token" if "cls_token" in tensors else "avg"
    if settled.get("global_pool") == "avg" and {"norm.weight", "blocks.0.norm1.weight"} <= tensors.keys():
        settled["fc_norm"] = False  # open_clip pools after the last normalisation, where timm itself does before
    first, second = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    if first is not None and second is not None and len(first) == 2 * second.shape[1]:
        # The gated blocks of UNI 2 and Virchow: the first linear layer makes twice what the second takes.
        settled |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    return settled


def _wrong_size(spec: BackboneSpec) -> ModelError:
    configuration = timm.models.get_pretrained_cfg(spec.architecture)
    wanted = "another size" if configuration is None else f"{configuration.input_size[-1]}"
    return ModelError(
        f"The backbone {spec.architecture} does not take images of {spec.image_size} pixels.",
        f"Set IMAGE_SIZE to {wanted}, the size that it was trained with.",
    )


def _configuration(body: torch.nn.Module) -> dict[str, Any]:
    return cast("dict[str, Any]", body.pretrained_cfg)


class TorchBackbone(Backbone):
    """A backbone that torch runs, on a CUDA device or a CPU."""

    def __init__(self, spec: BackboneSpec, device: str) -> None:
        network, dimension = build_network(spec)
        super().__init__(spec, dimension)
        self._device = torch.device(device)
        self._half = spec.half and self._device.type == "cuda"
        self.engine = f"torch on {device}{' in half precision' if self._half else ''}"
        if self._device.type == "cuda":
            self.batch_size = _CUDA_BATCH
        self._network = network.to(self._device).to(memory_format=torch.channels_last)

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self._run(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise ModelError(
                    "The CUDA device has no memory left for the backbone.",
                    "Free the device, choose a smaller IMAGE_SIZE, or set DEVICE=cpu.",
                ) from None
        torch.cuda.empty_cache()  # outside the handler, which holds on to what the failed call had
        self.batch_size = max(1, len(batch) // 2)
        middle = len(batch) // 2
        return np.concatenate([self._forward(batch[:middle]), self._forward(batch[middle:])])

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        # Without TF32, so that features of one key agree whatever device made them.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
        with torch.inference_mode(), exact:
            pixels = torch.from_numpy(batch).to(self._device, non_blocking=True)
            # float16 and not bfloat16: its features lie five times nearer to float32's (docs/backbones.md).
            with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
                features = self._network(pixels).float()
            if self._half and not features.isfinite().all():  # beyond what float16 holds
                features = self._network(pixels)
            found: NDArray[np.float32] = features.cpu().numpy()
        return found


def cuda_backbone(spec: BackboneSpec, *, required: bool) -> TorchBackbone | None:
    """Return the backbone on a CUDA device, or ``None`` where there is none and none is required.

    Raises
    ------
    ModelError
        When there is none and one is required.
    """
    device = torch_device("cuda" if required else "auto")
    return TorchBackbone(spec, "cuda") if device.type == "cuda" else None
