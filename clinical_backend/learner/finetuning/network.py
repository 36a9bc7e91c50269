"""Fine-tuned networks on disk, and as backbones: read and run without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import BackboneSpec, available_cpus
from clinical_backend.learner.backbones.exported import ExportedBackbone
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["FinetunedBackbone", "FinetunedNetwork", "FinetuningReport", "load_finetuned", "save_finetuned"]

_FORMAT = 1
_DESCRIPTION = "finetuned.json"
_HEAD = ("weights", "bias", "counts")
_CURE = "With TRAINING=finetune it is made anew from the labels, as `clinical finetune` does at once."


@dataclass(frozen=True, slots=True)
class FinetuningReport:
    """How a fine-tuning went.

    Attributes
    ----------
    blocks, of_blocks
        How many of the network's last blocks learnt, and how many it has.
    images, held_out
        How many images it learnt from, and how many were held out to end it.
    steps, epochs, seconds
        Steps and passes done, and the time on the clock.
    loss
        Running mean at the end, over about the last pass.
    held_out_loss, held_out_loss_before
        Mean over the classes of the loss of the images held out, with the weights that were kept and with
        those at the start; ``None`` where none were held out.
    best_epoch
        The pass after which the weights that were kept were made.
    temperature
        What the logits are divided by; 1 where none were held out.
    warm
        Whether it went on from a network that was fine-tuned before.
    device
        Where it was made.
    seed
        Of the order and the views.
    """

    blocks: int
    of_blocks: int
    images: int
    held_out: int
    steps: int
    epochs: float
    seconds: float
    loss: float
    held_out_loss: float | None
    held_out_loss_before: float | None
    best_epoch: float
    temperature: float
    warm: bool
    device: str
    seed: int


@dataclass(frozen=True, slots=True)
class FinetunedNetwork:
    """A backbone that learnt from labels, and the classifier that learnt with it.

    Attributes
    ----------
    architecture, image_size
        Of the backbone that it came from.
    backbone
        Key of that backbone.
    dimension
        Length of a feature.
    head
        The classifier of its features, as ``FinetunedBackbone`` gives them.
    report
        How it was made.
    versions
        Of the packages that made it.
    weights, model
        The body's weights (safetensors) and its export (ONNX).
    held_out_logits
        Of the images held out, in their order, by passes and temperatures that were chosen without them
        (``cross_fitted``), shape (m, C): for a comparison right after the training, not kept on disk. ``None`` where
        none were held out.
    """

    architecture: str
    image_size: int
    backbone: str
    dimension: int
    head: LinearClassifier
    report: FinetuningReport
    versions: Mapping[str, str]
    weights: bytes = field(repr=False)
    model: bytes = field(repr=False)
    held_out_logits: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> str:
        """Key of its features: that of ``FinetunedBackbone``."""
        return _spec(self, Path()).key


class FinetunedBackbone(ExportedBackbone):
    """A fine-tuned network as a backbone, in ONNX Runtime on the CPU.

    Its key holds the hash of the weights, so features of two rounds never mix.

    Parameters
    ----------
    folder
        Where ``save_finetuned`` wrote it.
    threads
        CPU threads; by default one for each CPU that this process may use.

    Attributes
    ----------
    head
        The classifier of its features.

    Raises
    ------
    ModelError
        When there is none, or its files are damaged.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        network = load_finetuned(folder)
        self.head = network.head
        model = folder / _name(network.model, "onnx")
        super().__init__(_spec(network, folder), network.dimension, model, threads=threads or available_cpus())


def save_finetuned(folder: Path, network: FinetunedNetwork) -> None:
    """Write a fine-tuned network; one that is there already is replaced in one step.

    The tensors have names of their own; the JSON that names them is renamed into place last.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    head = safetensors.numpy.save({name: np.ascontiguousarray(getattr(network.head, name)) for name in _HEAD})
    contents = {"weights": network.weights, "model": network.model, "head": head}
    names = {
        "weights": _name(network.weights, "safetensors"),
        "model": _name(network.model, "onnx"),
        "head": _name(head, "safetensors"),
    }
    description = {
        "format": _FORMAT,
        "architecture": network.architecture,
        "image_size": network.image_size,
        "backbone": network.backbone,
        "dimension": network.dimension,
        "classes": list(network.head.classes),
        "report": asdict(network.report),
        "versions": dict(network.versions),
        "files": {part: {"name": names[part], "sha256": _sha256(contents[part])} for part in contents},
    }
    description["sha256"] = description_digest(description)
    try:
        make_folder(folder)
        for part, content in contents.items():
            write_aside(folder / names[part], content)
        write_aside(folder / _DESCRIPTION, json.dumps(description, indent=2, allow_nan=False).encode())
        for pattern in ("finetuned-*.safetensors", "finetuned-*.onnx"):
            for old in folder.glob(pattern):
                if old.name not in names.values():
                    old.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(
            f"The fine-tuned network cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None


def load_finetuned(folder: Path) -> FinetunedNetwork:
    """Return the fine-tuned network of a folder, after a check of its files.

    Raises
    ------
    ModelError
        When there is none, or its files are missing, cut off or changed since they were written.
    """
    try:
        description = json.loads((folder / _DESCRIPTION).read_bytes())
        if description["format"] != _FORMAT:
            raise ModelError("The fine-tuned network was written by another version of the backend.", _CURE)
        if description["sha256"] != description_digest(description):
            raise ModelError("The description of the fine-tuned network was changed.", _CURE)
        contents = {part: _checked(folder, **file) for part, file in description["files"].items()}
        tensors = safetensors.numpy.load(contents["head"])
        return FinetunedNetwork(
            architecture=description["architecture"],
            image_size=description["image_size"],
            backbone=description["backbone"],
            dimension=description["dimension"],
            head=LinearClassifier(tuple(description["classes"]), **{name: tensors[name] for name in _HEAD}),
            report=FinetuningReport(**description["report"]),
            versions=description["versions"],
            weights=contents["weights"],
            model=contents["model"],
        )
    except FileNotFoundError:
        raise ModelError("There is no fine-tuned network in its folder, or it is not whole.", _CURE) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"The fine-tuned network cannot be read ({type(error).__name__}).", _CURE) from None


def _checked(folder: Path, *, name: str, sha256: str) -> bytes:
    content = (folder / name).read_bytes()
    if _sha256(content) != sha256:
        raise ModelError("The fine-tuned network was changed or cut off.", _CURE)
    return content


def _spec(network: FinetunedNetwork, folder: Path) -> BackboneSpec:
    return BackboneSpec(
        f"finetuned-{network.architecture}",
        folder / _name(network.weights, "safetensors"),
        _sha256(network.weights),
        network.image_size,
    )


def _name(content: bytes, suffix: str) -> str:
    return f"finetuned-{_sha256(content)[:16]}.{suffix}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
