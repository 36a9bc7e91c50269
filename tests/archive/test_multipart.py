"""The one object of an answer in parts is taken out of its wrapping, or refused."""

from __future__ import annotations

import pytest

from clinical_backend.errors import ArchiveError
from tests.archive.false_archive import BOUNDARY, OBJECT, PARTS, FalseArchive, in_parts
from tests.images.servers import reply


def reading(body, kind=PARTS, **options):
    archive = FalseArchive()
    archive.instead["object"] = lambda request: reply(request, body, **{"Content-Type": kind})
    with archive.open(**options) as source:
        return source.read(next(source.find()))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (in_parts(OBJECT), PARTS),
        (in_parts(OBJECT)[2:], PARTS),
        (in_parts(OBJECT), PARTS.replace(BOUNDARY, f'"{BOUNDARY}"')),
        (b"preamble\r\nof two lines" + in_parts(OBJECT) + b"epilogue", PARTS),
        (f"--{BOUNDARY}{BOUNDARY}\r\n".encode() + in_parts(OBJECT), PARTS),
        (f"--{BOUNDARY}\r\n\r\n".encode() + OBJECT + f"\r\n--{BOUNDARY}--".encode(), PARTS),
        (in_parts(OBJECT), PARTS.replace("multipart/related", "Multipart/Related").replace("boundary", "Boundary")),
        (OBJECT, "application/dicom"),
        (OBJECT, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ],
)
def test_an_object_is_taken_out_of_its_wrapping(body, kind):
    assert reading(body, kind) == OBJECT


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (in_parts(OBJECT, OBJECT), PARTS),
        (in_parts(OBJECT, end=""), PARTS),
        (in_parts(OBJECT)[:-30], PARTS),
        (in_parts(), PARTS),
        (b"", PARTS),
        (OBJECT, PARTS),
        (in_parts(OBJECT), "multipart/related"),
        (in_parts(OBJECT), 'multipart/related; boundary=""'),
        (in_parts(OBJECT), "multipart/related; boundary=another"),
        (f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 10_000 + b"\r\n" + OBJECT, PARTS),
        (OBJECT, "image/png"),
        (OBJECT, ""),
        (b"<html>", "text/html"),
    ],
)
def test_what_is_not_one_whole_object_is_refused(body, kind):
    with pytest.raises(ArchiveError):
        reading(body, kind)


def test_an_object_above_the_limit_is_refused():
    assert reading(in_parts(OBJECT), size_limit=len(OBJECT)) == OBJECT
    with pytest.raises(ArchiveError, match="more than"):
        reading(in_parts(OBJECT), size_limit=len(OBJECT) - 1)
    with pytest.raises(ArchiveError, match="more than"):
        reading(in_parts(bytes(10**6)), size_limit=1000)
