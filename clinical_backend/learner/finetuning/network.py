"""Fine-tuned networks on disk, and as backbones: read and run without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from clinical_backend.learner.artifact import ArtifactKind, sha256
from clinical_backend.learner.backbones.base import BackboneSpec, available_cpus
from clinical_backend.learner.backbones.exported import ExportedBackbone
from clinical_backend.learner.classifier.linear import LinearClassifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.artifact import Artifact

__all__ = ["FinetunedBackbone", "FinetunedNetwork", "FinetuningReport", "load_finetuned", "save_finetuned"]

_KIND = ArtifactKind(
    "finetuned",
    "fine-tuned network",
    "With TRAINING=finetune it is made anew from the labels, as `clinical finetune` does at once.",
)
_HEAD = ("weights", "bias", "counts")


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
        return _spec(self.architecture, Path(), sha256(self.weights), self.image_size).key


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
        with _KIND.opened(folder) as artifact:
            about = artifact.description
            self.head = _head(artifact)
            weights, model = artifact.path("weights"), artifact.path("model")
            spec = _spec(about["architecture"], weights, artifact.digest("weights"), about["image_size"])
            dimension = about["dimension"]
        super().__init__(spec, dimension, model, threads=threads or available_cpus())


def save_finetuned(folder: Path, network: FinetunedNetwork) -> None:
    """Write a fine-tuned network; one that is there already is replaced in one step.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    description = {
        "architecture": network.architecture,
        "image_size": network.image_size,
        "backbone": network.backbone,
        "dimension": network.dimension,
        "classes": list(network.head.classes),
        "report": asdict(network.report),
        "versions": dict(network.versions),
    }
    head = safetensors.numpy.save({name: np.ascontiguousarray(getattr(network.head, name)) for name in _HEAD})
    _KIND.save(folder, description, {"weights": network.weights, "model": network.model, "head": head})


def load_finetuned(folder: Path) -> FinetunedNetwork:
    """Return the fine-tuned network of a folder, after a check of its files.

    Raises
    ------
    ModelError
        When there is none, or its files are missing, cut off or changed since they were written.
    """
    with _KIND.opened(folder) as artifact:
        head, description = _head(artifact), artifact.description
        del description["classes"]
        return FinetunedNetwork(
            head=head,
            report=FinetuningReport(**description.pop("report")),
            weights=artifact.read("weights"),
            model=artifact.read("model"),
            **description,
        )


def _head(artifact: Artifact) -> LinearClassifier:
    tensors = safetensors.numpy.load(artifact.read("head"))
    weights, bias, counts = (tensors[name] for name in _HEAD)
    return LinearClassifier(tuple(artifact.description["classes"]), weights, bias, counts)


def _spec(architecture: str, weights: Path, digest: str, image_size: int) -> BackboneSpec:
    return BackboneSpec(f"finetuned-{architecture}", weights, digest, image_size)
