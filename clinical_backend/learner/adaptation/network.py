"""Adapted networks on disk, and as backbones: read and run without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.artifact import ArtifactKind
from clinical_backend.learner.backbones.base import BackboneSpec, available_cpus
from clinical_backend.learner.backbones.exported import ExportedBackbone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["AdaptedBackbone", "AdaptedNetwork", "join_features", "load_adapted", "save_adapted"]

_KIND = ArtifactKind(
    "adapted", "adapted network", "Start the adaptation again: it makes the network anew from the project's images."
)


@dataclass(frozen=True, slots=True)
class AdaptedNetwork:
    """A network that learnt a pool's images without labels.

    Attributes
    ----------
    run
        Identifies images and options that it came from.
    weights_sha256, model_sha256
        Hashes of its weights (safetensors) and of their export (ONNX).
    image_size
        Side of the square input in pixels.
    dimension
        Length of a feature.
    views
        Which kind of views it learnt from: ``general`` or ``radiograph``.
    images
        Number of images that it learnt from.
    steps, seconds, loss
        Of the training: its steps, its time on the clock, the loss at its end.
    options
        As given.
    versions
        Of the packages that made it.
    """

    run: str
    weights_sha256: str
    model_sha256: str
    image_size: int
    dimension: int
    views: str
    images: int
    steps: int
    seconds: float
    loss: float
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def weights_name(self) -> str:
        """Name of the file that holds the weights."""
        return _KIND.file_name("weights", self.weights_sha256)

    @property
    def model_name(self) -> str:
        """Name of the file that holds the export."""
        return _KIND.file_name("model", self.model_sha256)


class AdaptedBackbone(ExportedBackbone):
    """An adapted network as a backbone, in ONNX Runtime on the CPU.

    Its key holds the hash of the weights, so features of two adaptations never mix.

    Parameters
    ----------
    folder
        Where ``adapt`` wrote it.
    threads
        CPU threads; by default one for each CPU that this process may use.

    Raises
    ------
    ModelError
        When there is none, or its files are damaged.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.network = load_adapted(folder)
        spec = BackboneSpec(
            "adapted", folder / self.network.weights_name, self.network.weights_sha256, self.network.image_size
        )
        model = folder / self.network.model_name
        super().__init__(spec, self.network.dimension, model, threads=threads or available_cpus())


def save_adapted(folder: Path, network: AdaptedNetwork, weights: bytes, model: bytes) -> None:
    """Write an adapted network; one that is there already is replaced in one step.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    description = asdict(network)
    del description["weights_sha256"], description["model_sha256"]
    _KIND.save(folder, description, {"weights": weights, "model": model})


def load_adapted(folder: Path) -> AdaptedNetwork:
    """Return what is known of the adapted network of a folder, after a check of its files.

    Raises
    ------
    ModelError
        When there is none, or its files are missing, cut off or changed since they were written.
    """
    with _KIND.opened(folder) as artifact:
        for part in ("weights", "model"):
            artifact.path(part)
        return AdaptedNetwork(
            weights_sha256=artifact.digest("weights"), model_sha256=artifact.digest("model"), **artifact.description
        )


def join_features(blocks: Sequence[NDArray[np.float32]], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Return the features of several backbones as one, in which every block has the length of its weight.

    So the cosine of two joined features is the mean of the blocks' cosines, weighted with the squared weights.

    Parameters
    ----------
    blocks
        Arrays of shape (n, d_i), one for each backbone, with the same images as rows.
    weights
        Lengths of the blocks; by default all are 1.

    Returns
    -------
    NDArray
        Shape (n, Σ d_i), float32. A row of zeros stays one.

    Raises
    ------
    InvalidArgumentError
        When the blocks do not have the same number of rows, or one has no weight.
    """
    lengths = [1.0] * len(blocks) if weights is None else list(weights)
    if not blocks or len(lengths) != len(blocks) or len({len(block) for block in blocks}) != 1:
        raise InvalidArgumentError(
            "blocks", "they do not fit together.", "Give one weight for each block, and blocks of the same images."
        )
    scaled = []
    for block, length in zip(blocks, lengths, strict=True):
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        scaled.append(block * (np.float32(length) / np.where(norms > 0, norms, np.float32(1.0))))
    return np.concatenate(scaled, axis=1, dtype=np.float32)
