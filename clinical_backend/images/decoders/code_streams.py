"""What a compressed frame of a DICOM file says itself of its size, which may be the other way round in the header."""

from __future__ import annotations

import struct

from clinical_backend.images.decoders import jpeg

__all__ = ["size_of"]

_JPEG_2000 = b"\xff\x4f\xff\x51"  # of which the size follows (ISO/IEC 15444-1, A.5.1)
_SIZES = struct.Struct(">IIII")
_FRAME_OF_JPEG_LS = 0xF7  # else as JPEG (ISO/IEC 14495-1, C.2.2)


def size_of(stream: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 code stream; ``None`` where it does not tell."""
    if stream.startswith(_JPEG_2000):
        if len(stream) < 8 + _SIZES.size:
            return None
        right, bottom, left, top = _SIZES.unpack_from(stream, 8)
        return bottom - top, right - left
    if stream.startswith(jpeg.SIGNATURE):
        return jpeg.size_of(stream, also=_FRAME_OF_JPEG_LS)
    return None
