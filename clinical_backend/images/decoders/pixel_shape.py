"""Images whose pixels are no squares, as a browser takes all pixels to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.images.decoders.frame_groups import of_frame

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["TAGS", "with_square_pixels"]

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""In the order in which they count (PS3.3, C.7.6.3.1.7); all name the vertical extent of a pixel first."""
_MEASURES = "PixelMeasuresSequence"
TAGS = _SPACINGS
"""The names of the tags that tell a pixel's shape; where it stands frame by frame, they are in functional groups."""

_SQUARE = 0.01
"""By how much a ratio differs from 1 where spacings were rounded: two pixels in a hundred cannot be seen."""
_MOST = 20.0
"""A CT of slices 5 mm apart, cut across, has 10; what says more is at fault."""
_FLOATING = 1e-6  # what a product of whole numbers may lack


def with_square_pixels(image: Image.Image, dataset: Dataset, frame: int, pixel_limit: int) -> Image.Image:
    """Return an image with the shorter side of its pixels made as long as the other, so that nothing is lost.

    Parameters
    ----------
    dataset
        Says what its pixels are like.
    frame
        The number of the frame.
    pixel_limit
        Most pixels; of more, the image is made smaller.
    """
    ratio = _ratio(dataset, frame)
    if not 1 / _MOST <= ratio <= _MOST or abs(ratio - 1) <= _SQUARE:
        return image
    width, height = image.width * max(1.0, 1 / ratio), image.height * max(1.0, ratio)
    scale = min(1.0, (pixel_limit / (width * height)) ** 0.5)
    size = (max(1, int(width * scale + _FLOATING)), max(1, int(height * scale + _FLOATING)))
    if size[0] * size[1] > pixel_limit:  # a line of pixels, which can be no narrower
        return image
    return image.resize(size, Image.Resampling.BILINEAR)  # adds no level that neighbours do not have


def _ratio(dataset: Dataset, frame: int) -> float:
    """Return how high a pixel is in widths; 1 where that is not known."""
    for place in (*of_frame(dataset, frame, _MEASURES), dataset):
        for name in _SPACINGS:
            try:
                height, width = map(float, place.get(name) or ())
            except (ValueError, TypeError):
                continue
            if np.isfinite(height) and np.isfinite(width) and height > 0 and width > 0:
                return height / width
    return 1.0
