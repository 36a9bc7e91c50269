"""Adapted networks on disk, and as backbones: read and run without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones.base import BackboneSpec, available_cpus
from clinical_backend.learner.backbones.exported import ExportedBackbone
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["AdaptedBackbone", "AdaptedNetwork", "join_features", "load_adapted", "save_adapted"]

_FORMAT = 1
_DESCRIPTION = "adapted.json"
_CURE = "Start the adaptation again: it makes the network anew from the project's images."


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
        return f"adapted-{self.weights_sha256[:16]}.safetensors"

    @property
    def model_name(self) -> str:
        """Name of the file that holds the export."""
        return f"adapted-{self.model_sha256[:16]}.onnx"


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

    Weights and export have names of their own; the JSON that names them is renamed into place last.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    make_folder(folder)
    write_aside(folder / network.weights_name, weights)
    write_aside(folder / network.model_name, model)
    description: dict[str, Any] = {"format": _FORMAT, **asdict(network)}
    description["sha256"] = description_digest(description)
    write_aside(folder / _DESCRIPTION, json.dumps(description, indent=2, allow_nan=False).encode())
    kept = {network.weights_name, network.model_name}
    for pattern in ("adapted-*.safetensors", "adapted-*.onnx"):
        for old in folder.glob(pattern):
            if old.name not in kept:
                old.unlink(missing_ok=True)


def load_adapted(folder: Path) -> AdaptedNetwork:
    """Return what is known of the adapted network of a folder, after a check of its files.

    Raises
    ------
    ModelError
        When there is none, or its files are missing, cut off or changed since they were written.
    """
    try:
        description = json.loads((folder / _DESCRIPTION).read_bytes())
    except FileNotFoundError:
        raise ModelError("There is no adapted network in its folder.", _CURE) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"The adapted network cannot be read ({type(error).__name__}).", _CURE) from None
    try:
        # That of an earlier version does not vouch for itself; its files are checked all the same.
        if description.get("sha256") not in {None, description_digest(description)}:
            raise ModelError("The description of the adapted network was changed.", _CURE)
        description.pop("sha256", None)
        if description.pop("format") != _FORMAT:
            raise ModelError("The adapted network was written by another version of the backend.", _CURE)
        network = AdaptedNetwork(**description)
        files = ((network.weights_name, network.weights_sha256), (network.model_name, network.model_sha256))
        for name, expected in files:
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                raise ModelError("The adapted network was changed or cut off.", _CURE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"The adapted network is not whole ({type(error).__name__}).", _CURE) from None
    return network


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
