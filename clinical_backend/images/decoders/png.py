"""What Pillow leaves out of PNG files: the low bytes of grey with opacity, and transparent values of every depth."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.images.decoders.levels import laid_on_black, levels_by_percentiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.images.decoders.levels import Window

__all__ = ["has_16_bits", "is_deep_grey", "shown"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH, _COLOUR_TYPE = 24, 25  # places in the first chunk
_GREY, _RGB, _GREY_WITH_OPACITY, _RGB_WITH_OPACITY = 0, 2, 4, 6


def has_16_bits(data: bytes) -> bool:
    """Tell by its beginning whether a file is PNG with 16 bits per sample."""
    return data.startswith(_SIGNATURE) and data[_DEPTH : _DEPTH + 1] == b"\x10"


def is_deep_grey(data: bytes) -> bool:
    """Tell by its beginning whether a file is PNG with 16 bits of grey."""
    return has_16_bits(data) and data[_COLOUR_TYPE : _COLOUR_TYPE + 1] in {bytes([_GREY]), bytes([_GREY_WITH_OPACITY])}


def shown(image: Image.Image, data: bytes, window: Window | None = None) -> Image.Image | None:
    """Return a PNG image as it looks on black; ``None`` where Pillow's own conversion is right.

    Parameters
    ----------
    image
        As Pillow opened it, not loaded yet.
    data
        The file.
    window
        Of 16-bit grey, which part of the values is shown.
    """
    if data[12:16] != b"IHDR":
        raise ValueError("does not begin with its header")
    depth, colour = data[_DEPTH], data[_COLOUR_TYPE]
    transparent = image.info.get("transparency")
    if (depth, colour) == (16, _GREY_WITH_OPACITY):
        grey, opacity = _deep_grey_with_opacity(data)
        return Image.fromarray(laid_on_black(levels_by_percentiles(grey, opacity > 0, window), opacity))
    if depth == 16 and colour == _GREY:
        image.load()
        values = np.asarray(image)
        kept = np.ones(values.shape, dtype=bool) if transparent is None else values != transparent
        levels = levels_by_percentiles(values, kept, window)
        return Image.fromarray(np.where(kept, levels, np.uint8(0)))
    if colour == _GREY and transparent is not None:
        image.load()
        levels = np.asarray(image.convert("L"))
        most = 2**depth - 1
        return Image.fromarray(np.where(levels == (transparent & most) * 255 // most, np.uint8(0), levels))
    if (depth, colour) == (16, _RGB) and transparent is not None:
        low = _low_bytes(data)
        image.load()
        high = np.asarray(image)
        same = np.all((high.astype(np.uint16) << 8 | low) == np.array(transparent), axis=2, keepdims=True)
        return Image.fromarray(np.where(same, np.uint8(0), high))
    return None


def _deep_grey_with_opacity(data: bytes) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return 16-bit grey and its opacity: the four bytes of a pixel are read as if they were four colours."""
    header = b"IHDR" + data[16:_DEPTH] + bytes([8, _RGB_WITH_OPACITY]) + data[26:29]
    with Image.open(
        BytesIO(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]), formats=("PNG",)
    ) as image:
        image.load()
        pixels = np.asarray(image)
    return pixels[..., 0].astype(np.uint16) << 8 | pixels[..., 1], pixels[..., 2]


def _low_bytes(data: bytes) -> NDArray[np.uint8]:
    """Return the low bytes of 16-bit colour: those that come first if the byte order were the other one."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        image.load()
        return np.asarray(image)
