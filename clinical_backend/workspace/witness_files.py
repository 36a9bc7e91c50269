"""What finds the image that decides in each task, kept beside the model that learnt from these images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint, save_checkpoint
from clinical_backend.strategy.instances import Witnesses
from clinical_backend.workspace.study_features import WitnessedStudies

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.workspace.features import ImageFeatures

__all__ = ["copy_witnesses", "load_witnesses", "save_witnesses"]

_FOLDER = "witness"
"""Within the folder of a version."""


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


def load_witnesses(folder: Path, backbone: str, images: ImageFeatures) -> WitnessedStudies | None:
    """Return what finds the image that decides; ``None`` where the version knows none, or one of another backbone.

    Raises
    ------
    ModelError
        When its files were cut off or changed.
    """
    if not (folder / _FOLDER).is_dir():
        return None
    detector, metadata = load_checkpoint(folder / _FOLDER)
    places = {int(task): int(place) for task, place in metadata.metrics["images"].items()}
    found = WitnessedStudies.of(backbone, images, Witnesses(detector, places))
    return found if found.key == metadata.backbone else None


def copy_witnesses(source: Path, target: Path) -> None:
    """Have another version know what one knows, if anything.

    Raises
    ------
    ModelError
        When its files were changed, or the folder cannot be written.
    """
    if (source / _FOLDER).is_dir():
        save_checkpoint(target / _FOLDER, *load_checkpoint(source / _FOLDER))
