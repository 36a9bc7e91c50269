"""Images are turned upright as their orientation tag says."""

from __future__ import annotations

from PIL import Image

__all__ = ["ORIENTATION", "upright"]

ORIENTATION = 0x0112
"""The tag, the same in EXIF and TIFF."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image as it is meant to be seen; a value without a meaning turns nothing."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
