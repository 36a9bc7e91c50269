"""From the bytes of an image to 8-bit RGB pixels, within bounds."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders import jpeg, png, tiff
from clinical_backend.images.decoders.kinds import kind_of
from clinical_backend.images.decoders.levels import windowed
from clinical_backend.images.decoders.orientation import ORIENTATION, upright
from clinical_backend.study import FilePage

if TYPE_CHECKING:
    from clinical_backend.images.decoders.levels import Window

__all__ = [
    "PIXEL_LIMIT",
    "PREAMBLE",
    "count_images",
    "decode",
    "has_preamble",
    "is_dicom",
    "may_be_deep",
    "may_have_several",
]

PIXEL_LIMIT = 64 * 2**20  # four times a mammogram's 4,096 × 3,328; 192 MiB as RGB

# Named, so that no other of Pillow's readers (some start programs) is ever tried.
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF")
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
PREAMBLE = 132
"""Bytes before the first element of a DICOM file, the last four of which mark it (PS3.10, 7.1)."""
_MARK = b"DICM"
# Without its preamble a DICOM file begins with the first tag of group 2 or 8 (PS3.5, 7.1).
_FIRST_TAGS = (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00", b"\x02\x00\x10\x00", b"\x08\x00")
# Pillow's own limit, which the bytes of samples pass through as if they were pixels (``tiff``).
Image.MAX_IMAGE_PIXELS = 8 * PIXEL_LIMIT
Image.init()  # Pillow registers its formats when first asked, which is not safe in several threads


def decode(
    data: bytes, *, frame: int | None = None, window: Window | None = None, pixel_limit: int = PIXEL_LIMIT
) -> Image.Image:
    """Return an image as 8-bit RGB, upright: three channels, 0 to 255 each.

    JPEG, PNG, TIFF, WebP, BMP, GIF and DICOM are read, told apart by their content. Of several frames or pages
    the first is taken, but of a DICOM file the middle one, unless another is wanted; see ``decode_dicom`` for what else
    holds there.

    Grey becomes three equal channels; a palette is looked up; CMYK is converted by Pillow's formula; what is
    transparent is laid on black. Grey with more than 8 bits is scaled linearly, so that the 0.1 and 99.9
    percentiles of its own values become 0 and 255 and what lies beyond is clipped; a constant one becomes black.
    Colour with 16 bits keeps its high bytes. See ``decode_tiff`` for signed and float samples. A JPEG file that lacks
    its end marker and nothing else is read. EXIF orientation is applied.

    Parameters
    ----------
    data
        The encoded image; of a :class:`FilePage` that page.
    frame
        Of a DICOM or TIFF file, the number of the frame or page that is wanted, from 0; others are read as without it.
    window
        Which part of the values is shown, of those that the file holds: 16 bits are not reduced to 8 first.
    pixel_limit
        Most pixels that the image may have. Checked before any pixel is decoded.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    Raises
    ------
    ImageError
        When the data is empty, of another format, cut off, damaged or too large.
    """
    if not data:
        raise ImageError("The image is empty.", "Upload the file again.")
    if frame is None and isinstance(data, FilePage):
        frame = data.page
    if is_dicom(data):
        from clinical_backend.images.decoders.dicom import decode_dicom  # noqa: PLC0415 - takes long to load, rarely needed

        return decode_dicom(data, frame=frame, window=window, pixel_limit=pixel_limit)
    try:
        if data.startswith(tiff.SIGNATURES):
            return tiff.decode_tiff(data, frame=frame, window=window, pixel_limit=pixel_limit)
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > pixel_limit:
                raise _too_many_pixels(pixel_limit)
            return upright(_rgb(image, data, window), _orientation(image))
    except _BOMB:
        raise _too_many_pixels(pixel_limit) from None
    except UnidentifiedImageError:
        kind = kind_of(data)
        raise ImageError(
            f"The file is {kind}, which is not read."
            if kind
            else "The file is not an image, or of a form that is not known.",
            "Use JPEG, PNG, TIFF, WebP, BMP, GIF or DICOM.",
        ) from None
    except _DAMAGE as error:
        raise ImageError(
            f"The image is damaged or of an unusual kind ({type(error).__name__}).",
            "Open it in an image viewer and save it again as PNG.",
        ) from None


def may_have_several(data: bytes) -> bool:
    """Tell by its beginning whether a file may have pages or frames that are images of their own."""
    return is_dicom(data) or data.startswith(tiff.SIGNATURES)


def count_images(data: bytes) -> int:
    """Return how many images a file has: the frames of a DICOM file, the pages of a TIFF stack, one of any other.

    One also where it is damaged, so that neither the first, nor the middle, nor the last of them can be read: decoding
    it as one image says what is wrong.
    """
    count = _said_to_have(data)
    tried = dict.fromkeys((0, (count - 1) // 2, count - 1))
    return count if count > 1 and any(_is_readable(data, frame) for frame in tried) else 1


def _said_to_have(data: bytes) -> int:
    if is_dicom(data):
        from clinical_backend.images.decoders.dicom import count_frames  # noqa: PLC0415 - takes long to load, rarely needed

        return count_frames(data)
    try:
        return tiff.count_pages(data) if data.startswith(tiff.SIGNATURES) else 1
    except _DAMAGE:
        return 1


def _is_readable(data: bytes, frame: int) -> bool:
    try:
        decode(data, frame=frame)
    except ImageError:
        return False
    return True


def is_dicom(data: bytes) -> bool:
    """Tell by its beginning whether a file is DICOM."""
    return has_preamble(data) or data.startswith(_FIRST_TAGS)


def has_preamble(data: bytes) -> bool:
    """Tell by its first :data:`PREAMBLE` bytes whether a file is marked as one of DICOM."""
    return data[PREAMBLE - len(_MARK) : PREAMBLE] == _MARK


def may_be_deep(data: bytes) -> bool:
    """Tell by its beginning whether a file may hold more than 8 bits per sample."""
    return is_dicom(data) or data.startswith(tiff.SIGNATURES) or png.has_16_bits(data)


def _rgb(image: Image.Image, data: bytes, window: Window | None) -> Image.Image:
    """Load an image and return it as RGB, on black, as a window shows it."""
    if png.is_deep_grey(data):
        deep = png.shown(image, data, window)
        assert deep is not None
        return deep.convert("RGB")
    shown = _rgb_of_8_bits(image, data)
    return shown if window is None else Image.fromarray(windowed(np.asarray(shown), window))


def _rgb_of_8_bits(image: Image.Image, data: bytes) -> Image.Image:
    if image.format == "PNG" and (better := png.shown(image, data)):
        return better.convert("RGB")
    if image.format in {"JPEG", "MPO"} and not jpeg.has_end(data):
        return jpeg.completed(data).convert("RGB")
    image.load()
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, with_alpha).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; an unreadable EXIF block does not make the pixels unreadable."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except _DAMAGE:
        return 1


def _too_many_pixels(pixel_limit: int) -> ImageError:
    return ImageError(
        f"The image has more than {pixel_limit / 2**20:.0f} million pixels.",
        "Provide a smaller version of it.",
    )
