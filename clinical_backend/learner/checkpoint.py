"""Classifiers on disk: tensors as safetensors, everything else as JSON that vouches for them; no pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from clinical_backend.errors import ModelError
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CheckpointMetadata", "load_checkpoint", "load_held_out", "save_checkpoint"]

_FORMAT = 1
_DESCRIPTION = "checkpoint.json"
_TENSORS = ("weights", "bias", "counts")
_HELD_OUT = "held_out."
_CURE = "Start a round: it makes the model anew from the labels in Label Studio."


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

    The tensors are written first, under a name of their own; the JSON that names them is renamed into place
    last. So a reader, or a crash, meets the old checkpoint or the new one.

    Parameters
    ----------
    held_out
        What the classifier is judged by, if it was; its classes are the classifier's.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    content = safetensors.numpy.save(_tensors(classifier, held_out))
    digest = hashlib.sha256(content).hexdigest()
    description = {
        "format": _FORMAT,
        "tensors": f"{digest[:16]}.safetensors",
        "tensors_sha256": digest,
        "classes": list(classifier.classes),
        "metadata": asdict(metadata),
    }
    description["sha256"] = description_digest(description)
    try:
        make_folder(folder)
        write_aside(folder / str(description["tensors"]), content)
        write_aside(folder / _DESCRIPTION, json.dumps(description, indent=2, allow_nan=False).encode())
        for old in folder.glob("*.safetensors"):
            if old.name != description["tensors"]:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(
            f"The checkpoint cannot be written ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable; the next round writes it again.",
        ) from None


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
    """Return what the classifier of a checkpoint is judged by; ``None`` if it was not.

    Raises
    ------
    ModelError
        As ``load_checkpoint``.
    """
    return _load(folder)[2]


def _load(folder: Path) -> tuple[LinearClassifier, CheckpointMetadata, HeldOut | None]:
    try:
        description = json.loads((folder / _DESCRIPTION).read_bytes())
        if description["format"] != _FORMAT:
            raise ModelError("The checkpoint was written by another version of the backend.", _CURE)
        if description["sha256"] != description_digest(description):
            raise ModelError("The description of the checkpoint was changed.", _CURE)
        content = (folder / description["tensors"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != description["tensors_sha256"]:
            raise ModelError("The tensors of the checkpoint were changed or cut off.", _CURE)
        tensors = safetensors.numpy.load(content)
        classes = tuple(description["classes"])
        classifier = _classifier(classes, tensors, "")
        metadata = CheckpointMetadata(**description["metadata"])
        if f"{_HELD_OUT}tasks" not in tensors:
            return classifier, metadata, None
        tasks, probabilities = tensors[f"{_HELD_OUT}tasks"], tensors[f"{_HELD_OUT}probabilities"]
        return classifier, metadata, HeldOut(tasks, probabilities, _classifier(classes, tensors, _HELD_OUT))
    except FileNotFoundError:
        raise ModelError("There is no checkpoint in its folder.", _CURE) from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"The checkpoint cannot be read ({type(error).__name__}).", _CURE) from None


def _tensors(classifier: LinearClassifier, held_out: HeldOut | None) -> dict[str, NDArray[Any]]:
    tensors = {name: getattr(classifier, name) for name in _TENSORS}
    if held_out is not None:
        tensors |= {f"{_HELD_OUT}{name}": getattr(held_out.reference, name) for name in _TENSORS}
        tensors |= {f"{_HELD_OUT}{name}": getattr(held_out, name) for name in ("tasks", "probabilities")}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _classifier(classes: tuple[str, ...], tensors: Mapping[str, NDArray[Any]], prefix: str) -> LinearClassifier:
    return LinearClassifier(classes=classes, **{name: tensors[f"{prefix}{name}"] for name in _TENSORS})
