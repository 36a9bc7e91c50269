"""What is known of single images of tasks, kept beside the model of a round: which of them decides, what each shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint, save_checkpoint
from clinical_backend.strategy.instances import Witnesses
from clinical_backend.workspace.study_features import WitnessedStudies

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.workspace.features import Representation

__all__ = [
    "copy_image_models",
    "load_image_classifier",
    "load_witnesses",
    "save_image_classifier",
    "save_witnesses",
]

_FOLDER, _IMAGES = "witness", "images"
"""Within the folder of a version: what finds the image that decides, and what says what each image shows."""


def save_witnesses(folder: Path, key: str, witnesses: Witnesses, number: int) -> None:
    """Write what finds the image that decides into the folder of a version, made by the round of this number.

    Parameters
    ----------
    key
        Identifies the features of these images.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    metadata = CheckpointMetadata(key, number, {"images": witnesses.rows})
    save_checkpoint(folder / _FOLDER, witnesses.detector, metadata)


def load_witnesses(folder: Path, images: Iterable[Representation]) -> WitnessedStudies | None:
    """Return what finds the image that decides; ``None`` where the version knows none, or one of another backbone.

    Parameters
    ----------
    images
        What images can be represented by: it learnt from one of these.

    Raises
    ------
    ModelError
        When its files were cut off or changed.
    """
    if not (folder / _FOLDER).is_dir():
        return None
    detector, metadata = load_checkpoint(folder / _FOLDER)
    places = {int(task): int(place) for task, place in metadata.metrics["images"].items()}
    every = (WitnessedStudies.of(one, Witnesses(detector, places)) for one in images)
    return next((found for found in every if found.key == metadata.backbone), None)


def save_image_classifier(folder: Path, key: str, classifier: LinearClassifier, number: int) -> None:
    """Write what says what single images show into the folder of a version; the parameters as above.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_checkpoint(folder / _IMAGES, classifier, CheckpointMetadata(key, number))


def load_image_classifier(folder: Path, backbone: str) -> LinearClassifier | None:
    """Return what says what single images show; ``None`` where the version has none, or one of another backbone.

    Raises
    ------
    ModelError
        When its files were cut off or changed.
    """
    if not (folder / _IMAGES).is_dir():
        return None
    classifier, metadata = load_checkpoint(folder / _IMAGES)
    return classifier if metadata.backbone == backbone else None


def copy_image_models(source: Path, target: Path) -> None:
    """Have another version know what one knows of single images, if anything.

    Raises
    ------
    ModelError
        When its files were changed, or the folder cannot be written.
    """
    for name in (_FOLDER, _IMAGES):
        if (source / name).is_dir():
            save_checkpoint(target / name, *load_checkpoint(source / name))
