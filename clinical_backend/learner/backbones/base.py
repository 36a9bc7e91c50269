"""Backbones: pretrained networks, frozen, that turn images into features.

What names one: ``learner/backbones/loading.py``. torch and timm are imported only where a network has to be built: a
process that uses an exported backbone on a CPU needs ONNX Runtime alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.preprocessing import PREPROCESSING, check_squares, power_normalised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "DEFAULT_BACKBONE",
    "Backbone",
    "BackboneSpec",
    "Device",
    "Layout",
    "Normalisation",
    "is_of",
]

Device = Literal["auto", "cpu", "cuda"]

Layout = Literal["timm", "transformers", "open_clip"]
"""Whose names the tensors of a file of weights have."""

DEFAULT_BACKBONE = "efficientnet_lite"


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
        Local safetensors file; ``None`` for packaged weights.
    weights_sha256
        Hash of the file that holds the weights.
    image_size
        Side of the square input in pixels; the largest, where there are several.
    sizes
        Sides of all squares that it takes, in rising order: an image goes into the smallest that keeps all of its
        pixels, or the largest. By default the image size alone.
    members
        Names in timm of the networks that are joined; empty where there is one. They normalise their features.
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
    sizes: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    normalisation: Normalisation | None = None
    layout: Layout = "timm"
    half: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", self.sizes or (self.image_size,))

    @property
    def key(self) -> str:
        """What identifies a feature: network, weights, input sizes and preprocessing.

        Features of one key agree to 1e-4 whatever machine made them; where the key says ``half``, as far as half
        precision does (docs/backbones.md).
        """
        parts = [self.architecture, self.weights_sha256[:16], "+".join(map(str, self.sizes))]
        if self.arguments or self.normalisation is not None:
            normalisation = self.normalisation and [self.normalisation.mean, self.normalisation.std]
            described = json.dumps([dict(self.arguments), normalisation], sort_keys=True)
            parts.append(hashlib.sha256(described.encode()).hexdigest()[:8])
        if self.half:
            parts.append("half")
        return "-".join([*parts, PREPROCESSING])

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
        self.sizes = spec.sizes
        self._normalises = bool(spec.members)

    def has_made(self, key: str) -> bool:
        """Tell whether features of a key are this backbone's, alone or joined with an adapted network's."""
        return is_of(self.key, key)

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


def is_of(backbone: str, features: str) -> bool:
    """Tell whether features of a key are those of a backbone's key, alone or joined with an adapted network's."""
    return features == backbone or features.startswith(f"{backbone}+")


def side_of(size: int | Sequence[int] | None) -> int | None:
    """Return the side of a square that a description tells as one number or several."""
    return size if size is None or isinstance(size, int) else int(size[-1])


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
