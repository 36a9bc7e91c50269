"""Files that are nearly images: real ones of every kind, cut, joined and altered."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pydicom
from hypothesis import strategies as st
from PIL import Image

from tests.images.decoders.pngs import png
from tests.images.decoders.tiffs import tiff

DICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
_SMALL = 40_000


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Return a valid file of each kind."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    deep = Image.fromarray(random.integers(0, 65536, (13, 17), dtype=np.uint16))
    real = Image.fromarray(random.normal(size=(13, 17)).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [_encoded(colour, kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")]
    files += [_encoded(colour, "JPEG", exif=exif, progressive=True), _encoded(colour.convert("CMYK"), "JPEG")]
    files += [_encoded(colour, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    files += [_encoded(colour.convert("1"), "TIFF", compression="group4"), _encoded(colour.convert("P"), "PNG")]
    files += [_encoded(deep, "PNG"), _encoded(deep, "TIFF"), _encoded(real, "TIFF")]
    files += [_encoded(colour, "TIFF", save_all=True, append_images=[colour] * 3)]
    planes = random.integers(0, 65536, (13, 17, 3)).astype(np.uint16)
    files += [tiff(planes, planar=True), tiff(planes, order=">", tile=(16, 16), deflate=True, predictor=2, big=True)]
    files += [tiff(planes[..., 0] >> 4, bits=12), tiff(planes[..., :2].astype(np.float32), photometric=1, tag338=(2,))]
    files += [png(planes[..., :2], 16, 4), png(planes, 16, 2, tRNS=bytes(6))]
    files += [path.read_bytes() for path in sorted(DICOM_FILES.glob("*.dcm")) if path.stat().st_size < _SMALL]
    return tuple(files)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@st.composite
def broken_files(draw: st.DrawFn) -> bytes:
    """Return a file of a known kind with a few bytes altered, mostly in its header, cut off, or with a piece moved."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 6))):
        reach = len(data) if draw(st.booleans()) else min(len(data), 400)
        at = draw(st.integers(0, max(0, reach - 1)))
        piece = draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]))
        data[at : at + len(piece)] = piece
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    if draw(st.integers(0, 9)) == 0:
        other = draw(st.sampled_from(seeds()))
        data += other[draw(st.integers(0, len(other))) :]
    return bytes(data)
