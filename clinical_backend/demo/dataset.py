"""The images of the demonstration: BloodMNIST where it can be had, else drawn cells, plainly synthetic."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clinical_backend.errors import ClinicalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Dataset", "drawn_cells", "load_dataset"]

_BLOOD_CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature granulocyte",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
_CELL_CLASSES = ("granular cell", "round cell", "lobed cell", "platelet")
_DATA_FOLDERS = ("data", "../shared/data")
_DOWNLOAD_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images with one rare class.

    Attributes
    ----------
    origin
        Where the images come from, for people.
    images
        Each (height, width, 3), uint8.
    labels
        Class index of each, shape (n,).
    classes
        Names; the first is the rare one.
    """

    origin: str
    images: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def load_dataset(size: int, rare: int, seed: int, cache: Path) -> Dataset:
    """Return ``size`` images of which ``rare`` are of the first class, in random order.

    BloodMNIST (Yang et al. 2023, CC BY 4.0) is taken from the folder CLINICAL_DATA, else downloaded by
    the medmnist package; where neither is possible, cells are drawn.
    """
    generator = np.random.default_rng(seed)
    archive = _blood_archive(cache)
    if archive is None:
        return drawn_cells(size, rare, seed=seed)
    with np.load(archive) as file:
        images, labels = file["train_images"], file["train_labels"].ravel().astype(np.int64)
    chosen = np.concatenate(
        [
            generator.choice(np.flatnonzero(labels == 0), rare, replace=False),
            generator.choice(np.flatnonzero(labels != 0), size - rare, replace=False),
        ]
    )
    chosen = generator.permutation(chosen)
    return Dataset("BloodMNIST (CC BY 4.0)", list(images[chosen]), labels[chosen], _BLOOD_CLASSES)


def _blood_archive(cache: Path) -> Path | None:
    named = os.environ.get("CLINICAL_DATA")
    for folder in (named,) if named else _DATA_FOLDERS:
        archive = Path(folder) / "bloodmnist.npz"
        if archive.is_file():
            return archive
    if named:
        raise ClinicalError(
            f"CLINICAL_DATA names a folder without bloodmnist.npz: {named}.",
            "Put the file there, or unset CLINICAL_DATA to have it downloaded.",
        )
    return _download(cache)


def _download(cache: Path) -> Path | None:
    archive = cache / "bloodmnist.npz"
    if archive.is_file():
        return archive
    from medmnist import BloodMNIST  # noqa: PLC0415 - imports much, and only here

    cache.mkdir(parents=True, exist_ok=True)
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        BloodMNIST(split="train", root=str(cache), download=True)
    except (OSError, RuntimeError):  # medmnist raises RuntimeError for whatever went wrong
        archive.unlink(missing_ok=True)
        return None
    finally:
        socket.setdefaulttimeout(waited)
    return archive if archive.is_file() else None


def drawn_cells(size: int, rare: int, *, seed: int) -> Dataset:
    """Return drawn cells, of which ``rare`` are of the first class: plainly synthetic, and free of patients."""
    generator = np.random.default_rng(seed)
    common = generator.integers(1, len(_CELL_CLASSES), size - rare)
    labels = generator.permutation(np.concatenate([np.zeros(rare, dtype=np.int64), common]))
    images = [_draw_cell(int(label), generator) for label in labels]
    return Dataset("synthetic: drawn cells, no medical images", images, labels, _CELL_CLASSES)


def _draw_cell(label: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one stained cell on a 64-pixel field; the classes differ in nucleus and granules."""
    side, middle = 64, 32 + generator.normal(0, 3, 2)
    background = tuple(int(value) for value in generator.normal((235, 215, 220), 6).clip(0, 255))
    image = Image.new("RGB", (side, side), background)
    draw = ImageDraw.Draw(image)
    radius = max(3.0, generator.normal(7 if label == 3 else 20, 2))
    body = tuple(int(value) for value in generator.normal((205, 170, 200), 12).clip(0, 255))
    _disc(draw, middle, radius, body)
    nucleus = tuple(int(value) for value in generator.normal((110, 60, 140), 14).clip(0, 255))
    if label in {0, 1}:
        _disc(draw, middle, radius * generator.uniform(0.5, 0.75), nucleus)
    if label == 2:
        for angle in generator.uniform(0, 6.3) + np.arange(3) * 2.1:
            _disc(draw, middle + 0.45 * radius * np.array([np.cos(angle), np.sin(angle)]), radius * 0.4, nucleus)
    if label == 0:
        for _ in range(25):
            place = middle + generator.normal(0, radius * 0.45, 2)
            _disc(draw, place, generator.uniform(1, 2), (60, 20, 95))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float64)
    return (pixels + generator.normal(0, 5, pixels.shape)).clip(0, 255).astype(np.uint8)


def _disc(draw: ImageDraw.ImageDraw, middle: NDArray[np.float64], radius: float, colour: tuple[int, ...]) -> None:
    x, y = (float(value) for value in middle)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
