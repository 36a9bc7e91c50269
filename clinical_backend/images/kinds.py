"""What a file is that is not read as an image, by its first bytes."""

from __future__ import annotations

from clinical_backend.images import jpeg

__all__ = ["kind_of"]

_STARTS = {
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"\xff\xd8\xff": "a damaged JPEG",
    b"\x89PNG\r\n\x1a\n": "a damaged PNG",
    b"GIF8": "a damaged GIF",
    b"BM": "a BMP that is damaged or of an unusual kind",
    b"8BPS": "a Photoshop document",
    b"\x76\x2f\x31\x01": "an OpenEXR image",
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a file compressed with gzip",
    b"\x5c\x01\x00\x00": "a NIfTI volume",
    b"NRRD": "an NRRD volume",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Office or FlashPix document",
}
_BRANDS = {b"avif": "an AVIF image", b"avis": "an AVIF image", b"heic": "a HEIC image", b"mif1": "a HEIF image"}
_TEXTS = {b"<svg": "an SVG drawing", b"<html": "a web page", b"<!doctype html": "a web page", b"<?xml": "an XML text"}


def kind_of(data: bytes) -> str | None:
    """Return what a file is, in words; ``None`` where its first bytes do not tell."""
    if data.startswith(jpeg.SIGNATURE) and (kind := jpeg.kind_not_read(data)):
        return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a damaged WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video")
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for starts, start in ((_STARTS, data), (_TEXTS, text)):
        for signature, kind in starts.items():
            if start.startswith(signature):
                return kind
    return "a JSON text" if text[:1] in {b"{", b"["} else None
