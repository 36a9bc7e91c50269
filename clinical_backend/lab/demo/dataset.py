"""The images of the demonstration: BloodMNIST where it can be had, else drawn cells, plainly synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clinical_backend.lab.experiments.datasets import MEDMNIST_CLASSES, medmnist_archive

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Dataset", "drawn_cells", "load_dataset"]

_CELL_CLASSES = ("granular cell", "round cell", "lobed cell", "platelet")


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
    archive = medmnist_archive("bloodmnist", cache)
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
    return Dataset("BloodMNIST (CC BY 4.0)", list(images[chosen]), labels[chosen], MEDMNIST_CLASSES["bloodmnist"])


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
