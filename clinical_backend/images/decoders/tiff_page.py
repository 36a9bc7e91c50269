"""The pages of a TIFF file: where they are, what their tags say of their samples, and why some are not read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.orientation import ORIENTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHANNELS",
    "FAX",
    "JPEG",
    "MOST_PAGES",
    "MOST_PIECES",
    "Colours",
    "Page",
    "Tag",
    "directories",
    "not_read",
    "one",
    "page_of",
    "read_tags",
    "samples_in_words",
]

MOST_PIECES = 2**20  # of 64 million pixels each would have 64


class Tag(IntEnum):
    """The tags that are read, by their numbers in a file."""

    SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
    FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 266, 273, 277, 278, 279
    PLANAR, PREDICTOR, COLOUR_MAP = 284, 317, 320
    TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
    INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 332, 338, 339
    IMAGE_DEPTH, TILE_DEPTH, DNG_VERSION = 32997, 32998, 50706
    ORIENTATION = ORIENTATION


class Colours(IntEnum):
    """What the samples of a pixel mean, as the tag ``PHOTOMETRIC`` says it."""

    WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8


_READ = frozenset(Tag)
_OF_STACK = frozenset({Tag.SUBFILE, Tag.WIDTH, Tag.LENGTH})
_VALUES_OF_STACK = 4  # each tag has one; a file that repeats millions in each directory would take minutes
_NO_PAGE = 0b101  # a smaller version of another page, or a transparency mask
MOST_PAGES = 4096
"""Of a file, as of frames of a DICOM file."""
_MOST_ENTRIES = 2**17
"""Of all directories that are looked at: 32 for each page, twice as many as are usual."""
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # types of values, by their number in a file
_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, deflate, PackBits, deflate, LZMA, Zstandard
FAX = {2, 3, 4, 32771}
JPEG = {6, 7}
_FORMATS = {1: 1, 2: 2, 3: 3, 4: 1}  # what is undefined (4) counts as unsigned
_COREL_OPACITY = 999
_MOST_VALUES = 4 * MOST_PIECES  # of one tag: the places of all pieces of four planes
CHANNELS: dict[int, int] = dict(zip(Colours, (1, 1, 3, 1, 4, 3, 3), strict=True))
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


@dataclass(frozen=True, slots=True)
class Page:
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
        """How many planes there are."""
        return self.samples if self.planar else 1

    @property
    def in_plane(self) -> int:
        """How many samples a pixel has in a plane."""
        return 1 if self.planar else self.samples

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes in a plane."""
        return self.bytes_of(self.width)

    def bytes_of(self, pixels: int) -> int:
        """Return how many bytes so many pixels of a row take in a plane."""
        return (pixels * self.in_plane * self.bits + 7) // 8


def directories(data: bytes) -> list[tuple[int, int]]:
    """Return number and offset of the directory of each page that is one of a stack, at most MOST_PAGES of them.

    These are pages of the size of the first one that are neither smaller versions nor masks of another, by their tag
    NewSubfileType (TIFF 6.0, section 8): the levels of a pyramid, thumbnails and labels are none. The chain of
    directories ends where it is damaged.
    """
    order = "<" if data.startswith(b"II") else ">"
    offset, count, entry, first = _forms(data, order)
    (start,) = struct.unpack_from(offset, data, first)
    found: list[tuple[int, int]] = []
    sizes: list[tuple[int, ...]] = []
    seen: set[int] = set()
    left = _MOST_ENTRIES
    try:
        while start and start not in seen and len(seen) < MOST_PAGES:
            seen.add(start)
            (entries,) = struct.unpack_from(count, data, start)
            left -= entries
            if left < 0:
                break
            tags = read_tags(data, order, start, _OF_STACK, most=_VALUES_OF_STACK)
            size = (*tags[Tag.WIDTH], *tags[Tag.LENGTH])
            sizes.append(size)
            if size == sizes[0] and not one(tags, Tag.SUBFILE, 0) & _NO_PAGE:
                found.append((len(seen) - 1, start))
            end = start + struct.calcsize(count) + entries * (struct.calcsize(entry) + struct.calcsize(offset))
            (start,) = struct.unpack_from(offset, data, end)
    except (struct.error, ValueError, LookupError, OverflowError):
        return found
    return found


def _forms(data: bytes, order: str) -> tuple[str, str, str, int]:
    """Return the forms of an offset, a count and an entry of a directory, and where the first offset stands."""
    if data[2:4] in {b"+\0", b"\0+"}:
        return f"{order}Q", f"{order}Q", f"{order}HHQ", 8
    return f"{order}I", f"{order}H", f"{order}HHI", 4


def read_tags(
    data: bytes,
    order: str,
    start: int | None = None,
    wanted: frozenset[int] = _READ,
    most: int = _MOST_VALUES,
) -> dict[int, tuple[int, ...]]:
    """Return what a directory says of pixels, by tag: the first one, or that at an offset; ``most`` values of a tag."""
    offset, count, entry, first = _forms(data, order)
    if start is None:
        (start,) = struct.unpack_from(offset, data, first)
    (entries,) = struct.unpack_from(count, data, start)
    tags: dict[int, tuple[int, ...]] = {}
    place = start + struct.calcsize(count)
    for _ in range(entries):
        tag, kind, length = struct.unpack_from(entry, data, place)
        place += struct.calcsize(entry)
        if kind in _INTEGERS and tag in wanted and tag not in tags:
            if length > most:
                raise ValueError("too many values")
            dtype = np.dtype(order + _INTEGERS[kind])
            inline = length * dtype.itemsize <= struct.calcsize(offset)
            at = place if inline else struct.unpack_from(offset, data, place)[0]
            tags[tag] = tuple(np.frombuffer(data, dtype, length, at).tolist())
        place += struct.calcsize(offset)
    return tags


def one(tags: Mapping[int, tuple[int, ...]], tag: int, default: int) -> int:
    """Return the first value of a tag."""
    return tags.get(tag, (default,))[0]


def page_of(tags: Mapping[int, tuple[int, ...]], order: str) -> Page:
    """Return what the tags say of a page; what is not read is refused by its name."""
    compression = one(tags, Tag.COMPRESSION, 1)
    photometric = one(tags, Tag.PHOTOMETRIC, _guessed_colours(tags, compression))
    if Tag.DNG_VERSION in tags:
        raise not_read("is a camera's raw file (DNG)")
    if max(one(tags, Tag.IMAGE_DEPTH, 1), one(tags, Tag.TILE_DEPTH, 1)) > 1:
        raise not_read("is a volume")
    if compression not in _LOSSLESS | FAX | JPEG:
        raise not_read(f"is compressed with {_CODECS.get(compression, f'the unknown method {compression}')}")
    if photometric not in CHANNELS:
        raise not_read(f"has colours of an unusual kind: {_COLOURS.get(photometric, photometric)}")
    if compression in JPEG and Tag.PHOTOMETRIC not in tags:
        raise not_read("is compressed as JPEG, without colours that are named")
    if photometric == Colours.CMYK and one(tags, Tag.INK_SET, 1) != 1:
        raise not_read("has inks other than cyan, magenta, yellow and black")
    channels = CHANNELS[photometric]
    samples = one(tags, Tag.SAMPLES, channels if compression in JPEG else 1)
    depths, formats = (set(tags.get(tag, (1,))[:samples]) for tag in (Tag.BITS, Tag.SAMPLE_FORMAT))
    if len(depths) > 1 or len(formats) > 1:
        raise not_read("has channels of different depths")
    page = Page(
        order=order,
        width=tags[Tag.WIDTH][0],
        height=tags[Tag.LENGTH][0],
        bits=depths.pop(),
        format=_FORMATS.get(formats.pop(), 0),
        samples=samples,
        planar=samples > 1 and one(tags, Tag.PLANAR, 1) == 2,
        photometric=photometric,
        compression=compression,
        **_opacity(tags, channels, samples),
    )
    _check_samples(page)
    return page


def _guessed_colours(tags: Mapping[int, tuple[int, ...]], compression: int) -> int:
    """Return what samples mean where a file does not say it, as libtiff guesses."""
    if compression in FAX:
        return Colours.WHITE_IS_ZERO
    return Colours.RGB if one(tags, Tag.SAMPLES, 1) >= 3 else Colours.BLACK_IS_ZERO


def _opacity(tags: Mapping[int, tuple[int, ...]], channels: int, samples: int) -> dict[str, Any]:
    """Return which sample is the opacity. A fourth one of RGB without a meaning is, as everywhere else."""
    extra = tags.get(Tag.EXTRA_SAMPLES, (2,) if (channels, samples) == (3, 4) else ())
    if samples < channels or samples > channels + len(extra):
        raise not_read(f"has {samples} channels, not {channels}")
    for at, meaning in enumerate(extra[: samples - channels], channels):
        if meaning in {1, 2, _COREL_OPACITY}:
            return {"opacity": at, "multiplied": meaning == 1}
    return {"opacity": None, "multiplied": False}


def _check_samples(page: Page) -> None:
    if page.width < 1 or page.height < 1 or not 1 <= page.bits <= 64:
        raise ValueError("no pixels")
    whole = page.bits in {8, 16, 32, 64}
    readable = {1: whole or page.bits < 32, 2: whole, 3: page.bits in {16, 32, 64}}.get(page.format, False)
    plain = page.format == 1 and not page.planar
    if page.compression in FAX:
        readable = plain and (page.bits, page.samples) == (1, 1)
    elif page.compression in JPEG or page.photometric == Colours.YCBCR:
        readable = plain and page.bits == 8 and page.opacity is None
    elif page.photometric == Colours.PALETTE:
        readable = page.format == 1 and page.bits <= 16
    elif page.photometric in {Colours.CMYK, Colours.CIELAB}:
        readable = page.format == 1 and page.bits in {8, 16}
    elif page.opacity is not None:
        readable = readable and page.format != 2 and not (page.multiplied and page.photometric == Colours.WHITE_IS_ZERO)
    if not readable:
        raise not_read(samples_in_words(page))


def samples_in_words(page: Page) -> str:
    """Say what the samples of a page are like."""
    kind = {1: "", 2: "signed ", 3: "floating-point "}.get(page.format, "complex ")
    colours: dict[int, str] = {
        Colours.PALETTE: " of a palette",
        Colours.CMYK: " of CMYK",
        Colours.YCBCR: " of YCbCr",
        Colours.CIELAB: " of L*a*b*",
    }
    packing = {6: " compressed as JPEG in the old way", 7: " compressed as JPEG"}
    packing |= dict.fromkeys(FAX, " compressed as fax")
    more = page.samples - CHANNELS[page.photometric]
    planes = " in planes" if page.planar else ""
    return (
        f"has {kind}samples of {page.bits} bits{colours.get(page.photometric, '')}"
        f"{f' and {more} more channels' if more else ''}{planes}{packing.get(page.compression, '')}"
    )


def not_read(kind: str) -> ImageError:
    """Return the refusal of a kind of image."""
    return ImageError(
        f"The TIFF image {kind}, which is not read.",
        "Save it again as grey or RGB with 8 or 16 bits, as PNG or as TIFF without compression.",
    )
