"""What a file is that is not read as an image, by its first bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.images.decoders import jpeg

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["kind_of"]

_STARTS = {
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"\xff\xd8\xff": "a damaged JPEG",
    b"\x89PNG\r\n\x1a\n": "a damaged PNG",
    b"GIF8": "a damaged GIF",
    b"II\xbc\x01": "a JPEG XR image",
    b"IIRO": "a camera's raw file (Olympus)",
    b"IIRS": "a camera's raw file (Olympus)",
    b"IIU\0": "a camera's raw file (Panasonic)",
    b"FUJIFILM": "a camera's raw file (Fujifilm)",
    b"\0\0\x01\0": "an icon (ICO)",
    b"P4\n": "a portable bitmap (PNM)",
    b"P5\n": "a portable graymap (PNM)",
    b"P6\n": "a portable pixmap (PNM)",
    b"SIMPLE  =": "a FITS image",
    b"ObjectType": "a MetaImage volume",
    b"ZISRAWFILE": "a microscope's image (CZI)",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB 5.0": "a MATLAB file",
    b"version https://git-lfs": "the pointer of Git LFS to a file that was not fetched",
    b"/annex/objects/": "the pointer of git-annex to a file that was not fetched",
    b"age-encryption.org": "a file encrypted with age",
    b"-----BEGIN PGP MESSAGE": "a file encrypted with PGP",
    b"Salted__": "a file encrypted with OpenSSL",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a file compressed with Zstandard",
    b"BZh": "a file compressed with bzip2",
    b"\xfd7zXZ": "a file compressed with xz",
    b"BM": "a BMP that is damaged or of an unusual kind",
    b"8BPS": "a Photoshop document",
    b"\x76\x2f\x31\x01": "an OpenEXR image",
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a file compressed with gzip",
    b"\x5c\x01\x00\x00": "a NIfTI volume",
    b"\x00\x00\x01\x5c": "a NIfTI volume",
    b"\x1c\x02\x00\x00": "a NIfTI volume",
    b"\x00\x00\x02\x1c": "a NIfTI volume",
    b"NRRD": "an NRRD volume",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Office or FlashPix document",
}
_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
    b"crx ": "a camera's raw file (Canon)",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "a HEIC image"),
}
_TEXTS = {
    b"<svg": "an SVG drawing",
    b"<!doctype svg": "an SVG drawing",
    b"<html": "a web page",
    b"<head": "a web page",
    b"<!doctype html": "a web page",
    b"<?xml": "an XML text",
}
_MARKS = (
    (8, b"WEBP", "a damaged WebP"),
    (12, b"CgBI", "a PNG in the form of Apple's Xcode"),
    (257, b"ustar", "a tar archive"),
)
_SEEN = 1024  # the marks above end by 262; text may begin with a comment


def kind_of(data: bytes) -> str | None:
    """Return what a file is, in words; ``None`` where its first bytes do not tell."""
    return _kind_within(data) or _kind_by_start(data, _STARTS) or _kind_of_text(data)


def _kind_within(data: bytes) -> str | None:
    """Return what a file is of which more than the start has to be looked at."""
    if data.startswith(jpeg.SIGNATURE) and (kind := jpeg.kind_not_read(data)):
        return kind
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video")
    kind = next((kind for at, mark, kind in _MARKS if data[at : at + len(mark)] == mark), None)
    if kind is None and not data[:_SEEN].strip(b"\0"):
        return "a file that begins with nothing but zeros, as a copy that failed"
    return kind


def _kind_of_text(data: bytes) -> str | None:
    text = data[:_SEEN].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<?xml", b"<!--")) and (found := _first_element(text)):
        return found
    return _kind_by_start(text, _TEXTS) or ("a JSON text" if text[:1] in {b"{", b"["} else None)


def _kind_by_start(start: bytes, kinds: Mapping[bytes, str]) -> str | None:
    return next((kind for signature, kind in kinds.items() if start.startswith(signature)), None)


def _first_element(text: bytes) -> str | None:
    """Return what a text is whose declaration or comment says nothing of it."""
    places = {text.find(start): kind for start, kind in _TEXTS.items() if start != b"<?xml" and start in text}
    return places[min(places)] if places else None
