"""Classifiers on disk, with what they are compared by."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from clinical_backend.learner.artifact import ArtifactKind
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CheckpointMetadata", "load_checkpoint", "load_held_out", "save_checkpoint"]

_KIND = ArtifactKind(
    "checkpoint", "checkpoint", "Start a round: it makes the model anew from the labels in Label Studio."
)
_TENSORS = ("weights", "bias", "counts")
_HELD_OUT = "held_out."


@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    """What is kept beside a classifier's tensors.

    Attributes
    ----------
    backbone
        Key of the backbone whose features the classifier takes.
    round
        Number of the round that made it.
    metrics
        What was measured of it.
    versions
        Of the packages that made it.
    """

    backbone: str
    round: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def save_checkpoint(
    folder: Path, classifier: LinearClassifier, metadata: CheckpointMetadata, held_out: HeldOut | None = None
) -> None:
    """Write a checkpoint into a folder; one that is there already is replaced in one step.

    Parameters
    ----------
    held_out
        What the classifier is compared by, if it was; its classes are the classifier's.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    description = {
        "classes": list(classifier.classes),
        "independent": classifier.independent,
        "metadata": asdict(metadata),
    }
    _KIND.save(folder, description, {"tensors": safetensors.numpy.save(_tensors(classifier, held_out))})


def load_checkpoint(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata]:
    """Return the classifier of a checkpoint and what is known of it.

    Raises
    ------
    ModelError
        When it is missing, cut off or changed since it was written.
    """
    classifier, metadata, _ = _load(folder)
    return classifier, metadata


def load_held_out(folder: Path) -> HeldOut | None:
    """Return what the classifier of a checkpoint is compared by; ``None`` if it was not.

    Raises
    ------
    ModelError
        As ``load_checkpoint``.
    """
    return _load(folder)[2]


def _load(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata, HeldOut | None]:
    with _KIND.opened(folder) as artifact:
        tensors = safetensors.numpy.load(artifact.read("tensors"))
        classes = tuple(artifact.description["classes"])
        independent = bool(artifact.description.get("independent", False))
        read = partial(_classifier, classes, tensors, independent)
        classifier = read("")
        metadata = CheckpointMetadata(**artifact.description["metadata"])
        if f"{_HELD_OUT}tasks" not in tensors:
            return classifier, metadata, None
        tasks, probabilities = tensors[f"{_HELD_OUT}tasks"], tensors[f"{_HELD_OUT}probabilities"]
        return classifier, metadata, HeldOut(tasks, probabilities, read(_HELD_OUT))


def _tensors(classifier: LinearClassifier, held_out: HeldOut | None) -> dict[str, NDArray[Any]]:
    tensors = {name: getattr(classifier, name) for name in _TENSORS}
    if held_out is not None:
        tensors |= {f"{_HELD_OUT}{name}": getattr(held_out.reference, name) for name in _TENSORS}
        tensors |= {f"{_HELD_OUT}{name}": getattr(held_out, name) for name in ("tasks", "probabilities")}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _classifier(
    classes: tuple[str, ...], tensors: Mapping[str, NDArray[Any]], independent: bool, prefix: str
) -> LinearClassifier:
    weights, bias, counts = (tensors[f"{prefix}{name}"] for name in _TENSORS)
    return LinearClassifier(classes, weights, bias, counts, independent)
