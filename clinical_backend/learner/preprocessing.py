"""From an image of any size to the square of pixels that a backbone takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PREPROCESSING", "to_square"]

# Part of every backbone's key: change it with the rule below, and all features are made anew.
PREPROCESSING = "letterbox1"


def to_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the whole image in a square: its proportions kept, centred, black beside it.

    Nothing is cut off, since a finding may lie at the border, and nothing is stretched, since shape is a
    sign; black is what medical images have for a background. Resampling is bicubic, with antialiasing.

    Parameters
    ----------
    image
        Mode RGB.
    size
        Side of the square in pixels.

    Returns
    -------
    NDArray
        Shape (size, size, 3), uint8.
    """
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    square = np.zeros((size, size, 3), dtype=np.uint8)
    left, top = (size - width) // 2, (size - height) // 2
    square[top : top + height, left : left + width] = np.asarray(image)
    return square
