"""JPEG files whose end is missing, and those of a kind that is not read."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNATURE", "completed", "has_end", "kind_not_read", "size_of"]

SIGNATURE = b"\xff\xd8\xff"

_END = b"\xff\xd9"
_GUESSES = (
    b"",
    b"\x55" * 4096,
    b"\xaa" * 4096,
    b"\x0f\x36" * 2048,
)  # of what follows; they differ from their first bits on
_START_OF_SCAN = 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_KINDS = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless"}


def has_end(data: bytes) -> bool:
    """Return whether a JPEG file has its end marker, whatever follows that."""
    return data.endswith(_END) or any(marker == _END[1] for marker, _ in _segments(data))


def completed(data: bytes) -> Image.Image:
    """Return a JPEG image without an end marker, loaded, if nothing but the marker is missing.

    Browsers show such a file, but also one of which rows are missing. All are there if the pixels do not depend on
    what is guessed to follow, and if every scan of a progressive image is there.

    Raises
    ------
    ImageError
        When pixels are missing.
    """
    body = _without_padding(data)
    if _every_scan_is_there(body):
        image, *others = (_loaded(body + guess + _END) for guess in _GUESSES)
        pixels = np.asarray(image)
        if all(np.array_equal(pixels, np.asarray(other)) for other in others):
            return image
    raise ImageError("The JPEG image is cut off.", "Upload the whole file again.")


def kind_not_read(data: bytes) -> str | None:
    """Return what a JPEG file is, if it is of a kind that is not read."""
    for marker, segment in _segments(data):
        if marker in _FRAMES and segment:
            if marker in _KINDS:
                return f"a {_KINDS[marker]} JPEG"
            return f"a JPEG with {segment[0]} bits per sample" if segment[0] != 8 else None
    return None


def size_of(data: bytes, also: int = 0xC0) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG file, or of a frame that ``also`` marks; ``None`` where it does not tell."""
    for marker, segment in _segments(data):
        if (marker in _FRAMES or marker == also) and len(segment) >= 5:
            return int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
    return None


def _without_padding(data: bytes) -> bytes:
    """Leave out zeros at the end, which fill what was not written, and half an end marker."""
    body = data.rstrip(b"\0")
    if body.endswith(b"\xff"):
        return body + b"\0" if len(body) < len(data) else body[:-1]
    return body


def _loaded(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=("JPEG",)) as image:
        image.load()
        return image


def _every_scan_is_there(data: bytes) -> bool:
    """Return whether the scans hold every coefficient of every component to its last bit."""
    missing: set[tuple[int, int]] = set()
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            missing = {(component, place) for component in segment[6::3] for place in range(64)}
        elif marker == _START_OF_SCAN:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            if bits & 15 == 0:
                components = segment[1 : 1 + 2 * count : 2]
                missing -= {(component, place) for component in components for place in range(first, last + 1)}
    return not missing


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers of a file with their segments, until it ends or is no longer one."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 2 <= len(data):
        marker = data[at + 1]
        if marker in {0x00, 0xFF} or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _END[1]:
            yield marker, b""
            return
        length = int.from_bytes(data[at + 2 : at + 4])
        segment = data[at + 4 : at + 2 + length]
        if len(segment) < length - 2:
            return
        yield marker, segment
        at += 2 + length
