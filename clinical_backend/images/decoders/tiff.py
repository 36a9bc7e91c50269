"""TIFF files: their samples are read as plain numbers of any depth, and shown by what the tags say of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.levels import (
    laid_on_black,
    levels_between,
    levels_by_percentiles,
    levels_by_range,
    windowed,
)
from clinical_backend.images.decoders.orientation import upright
from clinical_backend.images.decoders.tiff_page import (
    CHANNELS,
    FAX,
    JPEG,
    MOST_PIECES,
    Colours,
    Page,
    Tag,
    directories,
    not_read,
    one,
    page_of,
    read_tags,
    samples_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.images.decoders.levels import Window

__all__ = ["SIGNATURES", "count_pages", "decode_tiff"]

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What a TIFF file begins with, the last two with offsets of 64 bits (BigTIFF)."""

_LARGEST_SAMPLES = 8
"""Most bytes that a pixel takes in the mean: 16-bit colour with alpha of the largest image fits a child's memory."""

_PREDICTED = {5, 8, 32946, 34925, 50000}
_CONVERTED: dict[int, str] = {Colours.CMYK: "CMYK", Colours.CIELAB: "LAB"}  # by Pillow, in its modes of that name

TiffImagePlugin.READ_LIBTIFF = (
    True  # Pillow's own reader of what is not compressed misplaces planes and subsampled YCbCr
)


def count_pages(data: bytes) -> int:
    """Return how many pages a TIFF file has that are images of a stack; see :func:`directories`. At least one."""
    return max(1, len(directories(data)))


def decode_tiff(
    data: bytes, *, frame: int | None = None, window: Window | None = None, pixel_limit: int
) -> Image.Image:
    """Return a page of a TIFF file as 8-bit RGB, upright: the first one, unless another is wanted.

    Samples have 1 to 64 bits, in strips, tiles or planes of either byte order. Unsigned grey of up to 8 bits and
    unsigned colour are shown by their full range. Grey with more bits, and whatever is signed or float, is scaled so
    that the 0.1 and 99.9 percentiles of what is not transparent become 0 and 255, those of all channels together.

    Parameters
    ----------
    data
        The file.
    frame
        The number of the page that is wanted, from 0, among those of the stack.
    window
        Which part of the values is shown.
    pixel_limit
        Most pixels that the page may have. Checked before any pixel is decoded.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    Raises
    ------
    ImageError
        When the page is too large, or of a kind that is not read; it is named.
    Exception
        Of any kind, when the file is damaged.
    """
    order = "<" if data.startswith(b"II") else ">"
    number, start = (0, None) if frame is None else _directory(data, frame)
    tags = read_tags(data, order, start)
    page = page_of(tags, order)
    if page.width * page.height > pixel_limit:
        raise ImageError(
            f"The image has more than {pixel_limit / 2**20:.0f} million pixels.", "Provide a smaller version of it."
        )
    if page.row_bytes * page.planes * page.height > pixel_limit * _LARGEST_SAMPLES:
        raise ImageError(
            f"The samples of the TIFF image take more than {pixel_limit * _LARGEST_SAMPLES / 2**20:.0f} MiB.",
            "Provide a smaller version of it, or one with 16 bits per sample.",
        )
    if page.compression in FAX | JPEG or page.photometric == Colours.YCBCR:
        try:
            with Image.open(BytesIO(data), formats=("TIFF",)) as image:
                image.seek(number)
                image.load()  # turns it upright as well
                shown = image.convert("RGB")
                return shown if window is None else Image.fromarray(windowed(np.asarray(shown), window))
        except UnidentifiedImageError:
            raise not_read(samples_in_words(page)) from None
    levels = _shown(_samples(data, tags, page), page, tags, window)
    return upright(Image.fromarray(levels).convert("RGB"), one(tags, Tag.ORIENTATION, 1))


def _directory(data: bytes, frame: int) -> tuple[int, int]:
    """Return number and offset of the directory of a page of the stack."""
    every = directories(data)
    if frame >= len(every):
        raise ImageError(f"The TIFF file has {len(every)} pages, and not number {frame + 1}.", "Upload it again.")
    return every[frame]


def _samples(data: bytes, tags: Mapping[int, tuple[int, ...]], page: Page) -> NDArray[Any]:
    """Return the samples of a page: shape (rows, columns, samples)."""
    pieces = _pieces(tags, page)
    planes = [_numbers(_unpacked(data, tags, page, pieces, plane), tags, page, pieces) for plane in range(page.planes)]
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The strips or tiles of a plane: their size in pixels, and how many lie beside each other and in all."""

    tiled: bool
    width: int
    height: int
    across: int
    count: int


def _pieces(tags: Mapping[int, tuple[int, ...]], page: Page) -> _Pieces:
    tiled = Tag.TILE_OFFSETS in tags
    if tiled:
        width, height = tags[Tag.TILE_WIDTH][0], tags[Tag.TILE_LENGTH][0]
    else:
        width, height = page.width, min(one(tags, Tag.ROWS_PER_STRIP, page.height), page.height)
    across = -(-page.width // width)
    count = across * -(-page.height // height)
    if tiled and (width % 8 or width > 2 * page.width + 2**12 or height > 2 * page.height + 2**12):
        raise ValueError("tiles of no use")
    if count > MOST_PIECES or len(tags[Tag.TILE_OFFSETS if tiled else Tag.STRIP_OFFSETS]) < count * page.planes:
        raise ValueError("pieces missing, or too many")
    return _Pieces(tiled, width, height, across, count)


def _unpacked(
    data: bytes, tags: Mapping[int, tuple[int, ...]], page: Page, pieces: _Pieces, plane: int
) -> NDArray[np.uint8]:
    """Return the decompressed bytes of a plane: shape (rows, pieces beside each other, bytes).

    They are declared 8-bit grey in a directory of our own at the end of the file, so that libtiff decompresses them
    and gives them no meaning.
    """
    its = slice(plane * pieces.count, (plane + 1) * pieces.count)
    offsets, lengths = (Tag.TILE_OFFSETS, Tag.TILE_BYTES) if pieces.tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
    width = page.bytes_of(pieces.width)
    directory: dict[int, tuple[int, ...]] = {
        Tag.WIDTH: (pieces.across * width,),
        Tag.LENGTH: (page.height,),
        Tag.BITS: (8,),
        Tag.COMPRESSION: (page.compression,),
        Tag.PHOTOMETRIC: (Colours.BLACK_IS_ZERO,),
        Tag.FILL_ORDER: (one(tags, Tag.FILL_ORDER, 1),),
        Tag.SAMPLES: (1,),
        offsets: tags[offsets][its],
        lengths: _lengths(data, tags, page, pieces, its),
    }
    if pieces.tiled:
        directory |= {Tag.TILE_WIDTH: (width,), Tag.TILE_LENGTH: (pieces.height,)}
    else:
        directory[Tag.ROWS_PER_STRIP] = (pieces.height,)
    # Not by Image.open, which takes bytes for pixels and finds too many.
    with TiffImagePlugin.TiffImageFile(BytesIO(_with_directory(data, directory, page.order))) as image:
        image.load()
        return np.asarray(image).reshape(page.height, pieces.across, width)


def _lengths(
    data: bytes, tags: Mapping[int, tuple[int, ...]], page: Page, pieces: _Pieces, its: slice
) -> tuple[int, ...]:
    """Return the bytes of every piece; one that would end behind the file, where our directory is, is not there."""
    starts = tags[Tag.TILE_OFFSETS if pieces.tiled else Tag.STRIP_OFFSETS][its]
    if page.compression == 1:  # what a file says of these is often wrong
        rows = [pieces.height] * pieces.count
        if not pieces.tiled:
            rows[-1] = page.height - pieces.height * (pieces.count - 1)
        lengths = tuple(page.bytes_of(pieces.width) * each for each in rows)
    else:
        rest = (len(data) - starts[0],) if pieces.count == 1 else ()
        lengths = tags.get(Tag.TILE_BYTES if pieces.tiled else Tag.STRIP_BYTES, rest * page.planes)[its]
    if any(start + length > len(data) for start, length in zip(starts, lengths, strict=True)):
        raise ValueError("cut off")
    return lengths


def _with_directory(data: bytes, tags: Mapping[int, tuple[int, ...]], order: str) -> bytes:
    """Return a file with another directory. What it points to stays where it is, even where a large header was."""
    start = len(data) + len(data) % 2
    values = start + 2 + 12 * len(tags) + 4
    entries, far = b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        if len(numbers) == 1:
            entries += packed
        else:
            entries += struct.pack(f"{order}I", values + len(far))
            far += packed
    signature = b"II*\0" if order == "<" else b"MM\0*"
    count, end = struct.pack(f"{order}H", len(tags)), bytes(4)
    header = signature + struct.pack(f"{order}I", start)
    return b"".join((header, data[8:], bytes(len(data) % 2), count, entries, end, far))


def _numbers(
    packed: NDArray[np.uint8], tags: Mapping[int, tuple[int, ...]], page: Page, pieces: _Pieces
) -> NDArray[Any]:
    """Return the samples of a plane: shape (rows, columns, samples in the plane)."""
    predictor = one(tags, Tag.PREDICTOR, 1) if page.compression in _PREDICTED else 1
    whole = page.bits in {8, 16, 32, 64}
    if predictor not in {1, 2, 3} or (predictor > 1 and not whole) or (predictor == 3 and page.format != 3):
        raise not_read(f"has samples of {page.bits} bits compressed with predictor {predictor}")
    if not whole:
        values = _few_bits(packed, page, pieces)
    elif predictor == 3:
        values = _floats_by_differences(packed, page, pieces)
    else:
        values = packed.view(f"{page.order}u{page.bits // 8}")
        if predictor == 2:  # each sample is the difference from its left neighbour; every tile begins anew
            differences = values.reshape(page.height, pieces.across, pieces.width, page.in_plane)
            values = np.add.accumulate(differences, axis=2, dtype=differences.dtype.newbyteorder("="))
        values = values.view(values.dtype.str.replace("u", " uif"[page.format]))
    return values.reshape(page.height, pieces.across * pieces.width, page.in_plane)[:, : page.width]


def _few_bits(packed: NDArray[np.uint8], page: Page, pieces: _Pieces) -> NDArray[Any]:
    """Return unsigned samples that do not fill bytes: highest bit first, whatever the byte order."""
    count = pieces.width * page.in_plane
    values = np.zeros(
        (page.height, pieces.across, count), np.uint8 if page.bits <= 8 else np.min_scalar_type(2**page.bits - 1)
    )
    rows = max(1, 2**22 // (pieces.across * count * page.bits))  # at a time, since each bit takes a byte
    for start in range(0, page.height, rows):
        bits = np.unpackbits(packed[start : start + rows], axis=2, count=count * page.bits)
        bits = bits.reshape(*bits.shape[:2], count, page.bits)
        for place in range(page.bits):
            values[start : start + rows] |= bits[..., place].astype(values.dtype) << (page.bits - 1 - place)
    return values


def _floats_by_differences(packed: NDArray[np.uint8], page: Page, pieces: _Pieces) -> NDArray[Any]:
    """Return floats whose bytes lie apart, the first bytes of all first, as differences (Adobe's technical note 3)."""
    differences = packed.reshape(page.height, pieces.across, -1, page.in_plane)
    apart = np.add.accumulate(differences, axis=2, dtype=np.uint8).reshape(
        page.height, pieces.across, page.bits // 8, pieces.width * page.in_plane
    )
    return np.ascontiguousarray(np.moveaxis(apart, 2, 3)).view(f">f{page.bits // 8}")


def _shown(
    values: NDArray[Any], page: Page, tags: Mapping[int, tuple[int, ...]], window: Window | None
) -> NDArray[np.uint8]:
    """Return what the samples look like: shape (rows, columns), or (rows, columns, 3)."""
    opacity = None if page.opacity is None else _opacity_levels(values[..., page.opacity], page)
    values = values[..., : CHANNELS[page.photometric]]
    grey = page.photometric in {Colours.WHITE_IS_ZERO, Colours.BLACK_IS_ZERO}
    of_values = window.mirrored() if window and page.photometric == Colours.WHITE_IS_ZERO else window
    by_range = page.format == 1 and (page.bits <= 8 or not grey)
    if page.photometric == Colours.PALETTE:
        levels = _looked_up(values[..., 0], tags)
    elif by_range:
        levels = levels_by_range(values, page.bits)
    else:
        counted = None if opacity is None else np.broadcast_to(opacity[..., None] > 0, values.shape)
        levels = levels_by_percentiles(values, counted, of_values)
    if grey:
        levels = levels[..., 0]
    if page.photometric == Colours.WHITE_IS_ZERO:
        levels = 255 - levels
    elif page.photometric in _CONVERTED:
        mode = _CONVERTED[page.photometric]
        levels = np.asarray(Image.frombytes(mode, (page.width, page.height), levels.tobytes()).convert("RGB"))
    if by_range:
        levels = windowed(levels, window)
    return levels if opacity is None or page.multiplied else laid_on_black(levels, opacity)


def _opacity_levels(values: NDArray[Any], page: Page) -> NDArray[np.uint8]:
    if page.format == 1:
        return levels_by_range(values, page.bits)
    return levels_between(values.astype(np.float32), 0.0, 1.0)


def _looked_up(values: NDArray[Any], tags: Mapping[int, tuple[int, ...]]) -> NDArray[np.uint8]:
    """Return the colours of a palette. Where no entry exceeds 255, all are of 8 bits, as libtiff takes them."""
    entries = np.array(tags[Tag.COLOUR_MAP], dtype=np.uint16)
    palette = entries[: len(entries) // 3 * 3].reshape(3, -1).T
    if int(values.max()) >= len(palette):
        raise not_read("has a palette with fewer colours than its pixels name")
    colours: NDArray[np.uint8] = levels_by_range(palette, 8 if int(entries.max()) <= 255 else 16)[values]
    return colours
