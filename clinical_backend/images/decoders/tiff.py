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
)
from clinical_backend.images.decoders.orientation import ORIENTATION, upright

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["SIGNATURES", "decode_tiff"]

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What a TIFF file begins with, the last two with offsets of 64 bits (BigTIFF)."""

_LARGEST_SAMPLES = 8
"""Most bytes that a pixel takes in the mean: 16-bit colour with alpha of the largest image fits a child's memory."""

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 266, 273, 277, 278, 279
_PLANAR, _PREDICTOR, _COLOUR_MAP = 284, 317, 320
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 332, 338, 339
_IMAGE_DEPTH, _TILE_DEPTH, _DNG_VERSION = 32997, 32998, 50706
_READ = {
    *(_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP),
    *(_STRIP_BYTES, _PLANAR, _PREDICTOR, _COLOUR_MAP, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES, _INK_SET),
    *(_EXTRA_SAMPLES, _SAMPLE_FORMAT, _IMAGE_DEPTH, _TILE_DEPTH, _DNG_VERSION, ORIENTATION),
}

_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # types of values, by their number in a file
_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, deflate, PackBits, deflate, LZMA, Zstandard
_FAX = {2, 3, 4, 32771}
_JPEG = {6, 7}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB = 0, 1, 2, 3, 5, 6, 8
_FORMATS = {1: 1, 2: 2, 3: 3, 4: 1}  # what is undefined (4) counts as unsigned
_PREDICTED = {5, 8, 32946, 34925, 50000}
_COREL_OPACITY = 999
_MOST_PIECES = 2**20  # of 64 million pixels each would have 64
_MOST_VALUES = 4 * _MOST_PIECES  # of one tag: the places of all pieces of four planes
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _CIELAB: 3}
_CONVERTED = {_CMYK: "CMYK", _CIELAB: "LAB"}  # by Pillow, in its modes of that name
_COLOURS = {
    4: "a transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a camera's colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a camera's linear raw",
}
_CODECS = {
    32766: "NeXT",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34933: "PNG",
    34934: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}

TiffImagePlugin.READ_LIBTIFF = (
    True  # Pillow's own reader of what is not compressed misplaces planes and subsampled YCbCr
)


def decode_tiff(data: bytes, *, pixel_limit: int) -> Image.Image:
    """Return the first page of a TIFF file as 8-bit RGB, upright.

    Samples have 1 to 64 bits, in strips, tiles or planes of either byte order. Unsigned grey of up to 8 bits and
    unsigned colour are shown by their full range. Grey with more bits, and whatever is signed or float, is scaled so
    that the 0.1 and 99.9 percentiles of what is not transparent become 0 and 255, those of all channels together.

    Parameters
    ----------
    data
        The file.
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
    tags = _tags(data, order)
    page = _page(tags, order)
    if page.width * page.height > pixel_limit:
        raise ImageError(
            f"The image has more than {pixel_limit / 2**20:.0f} million pixels.", "Provide a smaller version of it."
        )
    if page.row_bytes * page.planes * page.height > pixel_limit * _LARGEST_SAMPLES:
        raise ImageError(
            f"The samples of the TIFF image take more than {pixel_limit * _LARGEST_SAMPLES / 2**20:.0f} MiB.",
            "Provide a smaller version of it, or one with 16 bits per sample.",
        )
    if page.compression in _FAX | _JPEG or page.photometric == _YCBCR:
        try:
            with Image.open(BytesIO(data), formats=("TIFF",)) as image:
                image.load()  # turns it upright as well
                return image.convert("RGB")
        except UnidentifiedImageError:
            raise _not_read(_samples_in_words(page)) from None
    levels = _shown(_samples(data, tags, page), page, tags)
    return upright(Image.fromarray(levels).convert("RGB"), _one(tags, ORIENTATION, 1))


@dataclass(frozen=True, slots=True)
class _Page:
    """How the samples of a page lie, and what they mean.

    Attributes
    ----------
    order
        Of bytes, as in ``struct``.
    bits, format
        Of every sample: how many, and 1 for unsigned, 2 for signed, 3 for float.
    samples
        How many a pixel has.
    opacity, multiplied
        Which of them is its opacity, and whether the colour is multiplied by it already.
    planar
        Whether each sample has a plane of its own.
    """

    order: str
    width: int
    height: int
    bits: int
    format: int
    samples: int
    opacity: int | None
    multiplied: bool
    planar: bool
    photometric: int
    compression: int

    @property
    def planes(self) -> int:
        return self.samples if self.planar else 1

    @property
    def in_plane(self) -> int:
        return 1 if self.planar else self.samples

    @property
    def row_bytes(self) -> int:
        return self.bytes_of(self.width)

    def bytes_of(self, pixels: int) -> int:
        """Return how many bytes so many pixels of a row take in a plane."""
        return (pixels * self.in_plane * self.bits + 7) // 8


def _tags(data: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """Return what the first directory says of pixels, by tag."""
    big = data[2:4] in {b"+\0", b"\0+"}
    offset, count, entry = (
        (f"{order}Q", f"{order}Q", f"{order}HHQ") if big else (f"{order}I", f"{order}H", f"{order}HHI")
    )
    (start,) = struct.unpack_from(offset, data, 8 if big else 4)
    (entries,) = struct.unpack_from(count, data, start)
    tags: dict[int, tuple[int, ...]] = {}
    place = start + struct.calcsize(count)
    for _ in range(entries):
        tag, kind, length = struct.unpack_from(entry, data, place)
        place += struct.calcsize(entry)
        if kind in _INTEGERS and tag in _READ and tag not in tags:
            if length > _MOST_VALUES:
                raise ValueError("too many values")
            dtype = np.dtype(order + _INTEGERS[kind])
            inline = length * dtype.itemsize <= struct.calcsize(offset)
            at = place if inline else struct.unpack_from(offset, data, place)[0]
            tags[tag] = tuple(np.frombuffer(data, dtype, length, at).tolist())
        place += struct.calcsize(offset)
    return tags


def _one(tags: Mapping[int, tuple[int, ...]], tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]


def _page(tags: Mapping[int, tuple[int, ...]], order: str) -> _Page:
    """Return what the tags say of the first page; what is not read is refused by its name."""
    compression = _one(tags, _COMPRESSION, 1)
    photometric = _one(tags, _PHOTOMETRIC, _guessed_colours(tags, compression))
    if _DNG_VERSION in tags:
        raise _not_read("is a camera's raw file (DNG)")
    if max(_one(tags, _IMAGE_DEPTH, 1), _one(tags, _TILE_DEPTH, 1)) > 1:
        raise _not_read("is a volume")
    if compression not in _LOSSLESS | _FAX | _JPEG:
        raise _not_read(f"is compressed with {_CODECS.get(compression, f'the unknown method {compression}')}")
    if photometric not in _CHANNELS:
        raise _not_read(f"has colours of an unusual kind: {_COLOURS.get(photometric, photometric)}")
    if compression in _JPEG and _PHOTOMETRIC not in tags:
        raise _not_read("is compressed as JPEG, without colours that are named")
    if photometric == _CMYK and _one(tags, _INK_SET, 1) != 1:
        raise _not_read("has inks other than cyan, magenta, yellow and black")
    channels = _CHANNELS[photometric]
    samples = _one(tags, _SAMPLES, channels if compression in _JPEG else 1)
    depths, formats = (set(tags.get(tag, (1,))[:samples]) for tag in (_BITS, _SAMPLE_FORMAT))
    if len(depths) > 1 or len(formats) > 1:
        raise _not_read("has channels of different depths")
    page = _Page(
        order=order,
        width=tags[_WIDTH][0],
        height=tags[_LENGTH][0],
        bits=depths.pop(),
        format=_FORMATS.get(formats.pop(), 0),
        samples=samples,
        planar=samples > 1 and _one(tags, _PLANAR, 1) == 2,
        photometric=photometric,
        compression=compression,
        **_opacity(tags, channels, samples),
    )
    _check_samples(page)
    return page


def _guessed_colours(tags: Mapping[int, tuple[int, ...]], compression: int) -> int:
    """Return what samples mean where a file does not say it, as libtiff guesses."""
    if compression in _FAX:
        return _WHITE_IS_ZERO
    return _RGB if _one(tags, _SAMPLES, 1) >= 3 else _BLACK_IS_ZERO


def _opacity(tags: Mapping[int, tuple[int, ...]], channels: int, samples: int) -> dict[str, Any]:
    """Return which sample is the opacity. A fourth one of RGB without a meaning is, as everywhere else."""
    extra = tags.get(_EXTRA_SAMPLES, (2,) if (channels, samples) == (3, 4) else ())
    if samples < channels or samples > channels + len(extra):
        raise _not_read(f"has {samples} channels, not {channels}")
    for at, meaning in enumerate(extra[: samples - channels], channels):
        if meaning in {1, 2, _COREL_OPACITY}:
            return {"opacity": at, "multiplied": meaning == 1}
    return {"opacity": None, "multiplied": False}


def _check_samples(page: _Page) -> None:
    if page.width < 1 or page.height < 1 or not 1 <= page.bits <= 64:
        raise ValueError("no pixels")
    whole = page.bits in {8, 16, 32, 64}
    readable = {1: whole or page.bits < 32, 2: whole, 3: page.bits in {16, 32, 64}}.get(page.format, False)
    plain = page.format == 1 and not page.planar
    if page.compression in _FAX:
        readable = plain and (page.bits, page.samples) == (1, 1)
    elif page.compression in _JPEG or page.photometric == _YCBCR:
        readable = plain and page.bits == 8 and page.opacity is None
    elif page.photometric == _PALETTE:
        readable = page.format == 1 and page.bits <= 16
    elif page.photometric in {_CMYK, _CIELAB}:
        readable = page.format == 1 and page.bits in {8, 16}
    elif page.opacity is not None:
        readable = readable and page.format != 2 and not (page.multiplied and page.photometric == _WHITE_IS_ZERO)
    if not readable:
        raise _not_read(_samples_in_words(page))


def _samples_in_words(page: _Page) -> str:
    kind = {1: "", 2: "signed ", 3: "floating-point "}.get(page.format, "complex ")
    colours = {_PALETTE: " of a palette", _CMYK: " of CMYK", _YCBCR: " of YCbCr", _CIELAB: " of L*a*b*"}
    packing = {6: " compressed as JPEG in the old way", 7: " compressed as JPEG"}
    packing |= dict.fromkeys(_FAX, " compressed as fax")
    more = page.samples - _CHANNELS[page.photometric]
    planes = " in planes" if page.planar else ""
    return (
        f"has {kind}samples of {page.bits} bits{colours.get(page.photometric, '')}"
        f"{f' and {more} more channels' if more else ''}{planes}{packing.get(page.compression, '')}"
    )


def _not_read(kind: str) -> ImageError:
    return ImageError(
        f"The TIFF image {kind}, which is not read.",
        "Save it again as grey or RGB with 8 or 16 bits, as PNG or as TIFF without compression.",
    )


def _samples(data: bytes, tags: Mapping[int, tuple[int, ...]], page: _Page) -> NDArray[Any]:
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


def _pieces(tags: Mapping[int, tuple[int, ...]], page: _Page) -> _Pieces:
    tiled = _TILE_OFFSETS in tags
    if tiled:
        width, height = tags[_TILE_WIDTH][0], tags[_TILE_LENGTH][0]
    else:
        width, height = page.width, min(_one(tags, _ROWS_PER_STRIP, page.height), page.height)
    across = -(-page.width // width)
    count = across * -(-page.height // height)
    if tiled and (width % 8 or width > 2 * page.width + 2**12 or height > 2 * page.height + 2**12):
        raise ValueError("tiles of no use")
    if count > _MOST_PIECES or len(tags[_TILE_OFFSETS if tiled else _STRIP_OFFSETS]) < count * page.planes:
        raise ValueError("pieces missing, or too many")
    return _Pieces(tiled, width, height, across, count)


def _unpacked(
    data: bytes, tags: Mapping[int, tuple[int, ...]], page: _Page, pieces: _Pieces, plane: int
) -> NDArray[np.uint8]:
    """Return the decompressed bytes of a plane: shape (rows, pieces beside each other, bytes).

    They are declared 8-bit grey in a directory of our own at the end of the file, so that libtiff decompresses them
    and gives them no meaning.
    """
    its = slice(plane * pieces.count, (plane + 1) * pieces.count)
    offsets, lengths = (_TILE_OFFSETS, _TILE_BYTES) if pieces.tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    width = page.bytes_of(pieces.width)
    directory = {
        _WIDTH: (pieces.across * width,),
        _LENGTH: (page.height,),
        _BITS: (8,),
        _COMPRESSION: (page.compression,),
        _PHOTOMETRIC: (_BLACK_IS_ZERO,),
        _FILL_ORDER: (_one(tags, _FILL_ORDER, 1),),
        _SAMPLES: (1,),
        offsets: tags[offsets][its],
        lengths: _lengths(data, tags, page, pieces, its),
    }
    if pieces.tiled:
        directory |= {_TILE_WIDTH: (width,), _TILE_LENGTH: (pieces.height,)}
    else:
        directory[_ROWS_PER_STRIP] = (pieces.height,)
    # Not by Image.open, which takes bytes for pixels and finds too many.
    with TiffImagePlugin.TiffImageFile(BytesIO(_with_directory(data, directory, page.order))) as image:
        image.load()
        return np.asarray(image).reshape(page.height, pieces.across, width)


def _lengths(
    data: bytes, tags: Mapping[int, tuple[int, ...]], page: _Page, pieces: _Pieces, its: slice
) -> tuple[int, ...]:
    """Return the bytes of every piece; one that would end behind the file, where our directory is, is not there."""
    starts = tags[_TILE_OFFSETS if pieces.tiled else _STRIP_OFFSETS][its]
    if page.compression == 1:  # what a file says of these is often wrong
        rows = [pieces.height] * pieces.count
        if not pieces.tiled:
            rows[-1] = page.height - pieces.height * (pieces.count - 1)
        lengths = tuple(page.bytes_of(pieces.width) * each for each in rows)
    else:
        rest = (len(data) - starts[0],) if pieces.count == 1 else ()
        lengths = tags.get(_TILE_BYTES if pieces.tiled else _STRIP_BYTES, rest * page.planes)[its]
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
    packed: NDArray[np.uint8], tags: Mapping[int, tuple[int, ...]], page: _Page, pieces: _Pieces
) -> NDArray[Any]:
    """Return the samples of a plane: shape (rows, columns, samples in the plane)."""
    predictor = _one(tags, _PREDICTOR, 1) if page.compression in _PREDICTED else 1
    whole = page.bits in {8, 16, 32, 64}
    if predictor not in {1, 2, 3} or (predictor > 1 and not whole) or (predictor == 3 and page.format != 3):
        raise _not_read(f"has samples of {page.bits} bits compressed with predictor {predictor}")
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


def _few_bits(packed: NDArray[np.uint8], page: _Page, pieces: _Pieces) -> NDArray[Any]:
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


def _floats_by_differences(packed: NDArray[np.uint8], page: _Page, pieces: _Pieces) -> NDArray[Any]:
    """Return floats whose bytes lie apart, the first bytes of all first, as differences (Adobe's technical note 3)."""
    differences = packed.reshape(page.height, pieces.across, -1, page.in_plane)
    apart = np.add.accumulate(differences, axis=2, dtype=np.uint8).reshape(
        page.height, pieces.across, page.bits // 8, pieces.width * page.in_plane
    )
    return np.ascontiguousarray(np.moveaxis(apart, 2, 3)).view(f">f{page.bits // 8}")


def _shown(values: NDArray[Any], page: _Page, tags: Mapping[int, tuple[int, ...]]) -> NDArray[np.uint8]:
    """Return what the samples look like: shape (rows, columns), or (rows, columns, 3)."""
    opacity = None if page.opacity is None else _opacity_levels(values[..., page.opacity], page)
    values = values[..., : _CHANNELS[page.photometric]]
    grey = page.photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO}
    if page.photometric == _PALETTE:
        levels = _looked_up(values[..., 0], tags)
    elif page.format == 1 and (page.bits <= 8 or not grey):
        levels = levels_by_range(values, page.bits)
    else:
        counted = None if opacity is None else np.broadcast_to(opacity[..., None] > 0, values.shape)
        levels = levels_by_percentiles(values, counted)
    if grey:
        levels = levels[..., 0]
    if page.photometric == _WHITE_IS_ZERO:
        levels = 255 - levels
    elif page.photometric in _CONVERTED:
        mode = _CONVERTED[page.photometric]
        levels = np.asarray(Image.frombytes(mode, (page.width, page.height), levels.tobytes()).convert("RGB"))
    return levels if opacity is None or page.multiplied else laid_on_black(levels, opacity)


def _opacity_levels(values: NDArray[Any], page: _Page) -> NDArray[np.uint8]:
    if page.format == 1:
        return levels_by_range(values, page.bits)
    return levels_between(values.astype(np.float32), 0.0, 1.0)


def _looked_up(values: NDArray[Any], tags: Mapping[int, tuple[int, ...]]) -> NDArray[np.uint8]:
    """Return the colours of a palette. Where no entry exceeds 255, all are of 8 bits, as libtiff takes them."""
    entries = np.array(tags[_COLOUR_MAP], dtype=np.uint16)
    palette = entries[: len(entries) // 3 * 3].reshape(3, -1).T
    if int(values.max()) >= len(palette):
        raise _not_read("has a palette with fewer colours than its pixels name")
    colours: NDArray[np.uint8] = levels_by_range(palette, 8 if int(entries.max()) <= 255 else 16)[values]
    return colours
