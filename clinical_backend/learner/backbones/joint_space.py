"""The space that images and texts share: how features of a network with two towers come into it, and texts beside them.

The features that are kept for each image are enough: see :meth:`JointSpace.place`. Importing this imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.preprocessing import unit

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["JointSpace", "joint_space_of"]

_CURE = (
    "Set BACKBONE to a network with an image and a text tower, such as hf-hub:google/medsiglip-448 or the folder of a"
    " CLIP, SigLIP or BiomedCLIP; `clinical backbones` lists some."
)


@dataclass(frozen=True, slots=True)
class JointSpace:
    """How features come into the space, and how near in it tells that image and text belong together.

    Attributes
    ----------
    projection
        Shape (p, d), float32; ``None`` where features lie in the space already, as those of SigLIP do.
    scale
        What a cosine is multiplied by for log-odds: the exponential of what the network learnt as ``logit_scale``.
    """

    projection: NDArray[np.float32] | None
    scale: float

    def place(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images in the space, each of unit length: shape (n, p), float32.

        A backbone gives the signed root of each value, at unit length. Squared with their signs, these are the
        network's pooled output up to a positive factor, which a projection without a bias keeps and the unit length
        takes away.

        Parameters
        ----------
        features
            Of the backbone, shape (n, d), scaled as may be.
        """
        rows = features.astype(np.float32, copy=False)
        pooled = rows * np.abs(rows)
        return unit(pooled if self.projection is None else pooled @ self.projection.T)

    def require(self, texts: NDArray[np.float32], dimension: int) -> None:
        """Make sure that texts, shape (n, p), lie in the space of images whose features have a dimension.

        Raises
        ------
        ModelError
            When the space of either has another width.
        """
        expected = (dimension, dimension) if self.projection is None else self.projection.shape
        if expected != (texts.shape[1], dimension):
            raise ModelError(
                f"Images and texts of the backbone have {expected[0]} and {texts.shape[1]} dimensions.",
                "Fetch its folder again: a projection is missing, or of another network.",
            )


def joint_space_of(spec: BackboneSpec) -> JointSpace:
    """Return the space that a backbone's images share with texts.

    Raises
    ------
    ModelError
        When it has no text tower, or a projection that needs the length of its pooled output, which is not kept.
    """
    if spec.weights is None or spec.layout == "timm":
        raise _no_text_tower(spec)
    try:
        state = spec.weights.stat()
    except OSError as error:
        raise ModelError(
            f"The weights of {spec.architecture} are not there any more ({error.strerror}).",
            "Bring the folder of BACKBONE back.",
        ) from None
    return _read(spec.weights, spec.layout, spec.architecture, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, layout: str, architecture: str, size: int, changed: int) -> JointSpace:  # noqa: ARG001
    """Read what is needed of a file of weights; its size and time tell its states apart."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            read = _open_clip if layout == "open_clip" else _transformers
            projection = read(file, names, architecture)
            scale = float(np.exp(file.get_tensor("logit_scale").astype(np.float64)).reshape(-1)[0])
            if not np.isfinite(scale):
                raise ValueError("the scale is no number")
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ModelError(
            f"What joins the towers of {architecture} cannot be read ({type(error).__name__}).",
            "Fetch the folder again, with weights in float32 or float16.",
        ) from None
    return JointSpace(projection, scale)


class _Tensors(Protocol):
    """A file of tensors that is read as far as is asked."""

    def get_tensor(self, name: str) -> NDArray[np.float32]:
        """Return one, by its name."""


def _transformers(file: _Tensors, names: Collection[str], architecture: str) -> NDArray[np.float32] | None:
    if "logit_scale" not in names or not any(name.startswith("text_model.") for name in names):
        raise _no_text_tower(architecture)
    if "visual_projection.weight" in names:
        return np.asarray(file.get_tensor("visual_projection.weight"), dtype=np.float32)
    return None


def _open_clip(file: _Tensors, names: Collection[str], architecture: str) -> NDArray[np.float32] | None:
    reads_text = "token_embedding.weight" in names or any(name.startswith("text.") for name in names)
    if "logit_scale" not in names or not reads_text:
        raise _no_text_tower(architecture)
    if "visual.proj" in names:
        return np.asarray(file.get_tensor("visual.proj"), dtype=np.float32).T
    if any(name.startswith(("visual.head.mlp.", "visual.head.proj.bias", "visual.trunk.head.")) for name in names):
        raise ModelError(f"The projection of {architecture} into the joint space is more than a matrix.", _CURE)
    if "visual.head.proj.weight" in names:
        return np.asarray(file.get_tensor("visual.head.proj.weight"), dtype=np.float32)
    return None


def _no_text_tower(what: BackboneSpec | str) -> ModelError:
    name = what if isinstance(what, str) else what.architecture
    return ModelError(f"The backbone {name} has no text tower: it cannot be asked by words.", _CURE)
