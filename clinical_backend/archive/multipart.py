"""The one object of an answer in parts (RFC 2046, 5.1.1), as WADO-RS sends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import io

__all__ = ["WRAPPING", "only_part"]

_LONGEST_HEAD = 16_384  # of the part of an answer that holds the object; Orthanc's has 90 bytes
WRAPPING = 2 * _LONGEST_HEAD
"""Bytes that a body may have beside the object."""
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)  # RFC 2046, 5.1.1


def only_part(media_type: str, body: io.BytesIO) -> bytes | None:
    """Return the object, held in memory once; ``None`` where it is cut off, or not alone.

    Parameters
    ----------
    media_type
        Of the answer, with its boundary.
    body
        It is changed.
    """
    found = _BOUNDARY.search(media_type)
    span = None if found is None else _span(body, (found[1] or found[2]).encode())
    if span is None:
        return None
    start, stop = span
    with body.getbuffer() as view:
        view[: stop - start] = view[start:stop]
    body.truncate(stop - start)
    return body.getvalue()


def _span(body: io.BytesIO, boundary: bytes) -> tuple[int, int] | None:
    """Return where the only part of a body in parts begins and ends; ``None`` where it is cut off, or not alone."""
    line = re.escape(b"--" + boundary)
    with body.getbuffer() as view:
        head = re.compile(rb"(?:\A|\r\n)" + line + rb"[ \t]*\r\n(?:.*\r\n)*?\r\n").search(view, 0, _LONGEST_HEAD)
        if head is None:
            return None
        end = re.compile(rb"\r\n" + line + rb"(--)?").search(view, head.end())
        return None if end is None or end[1] is None else (head.end(), end.start())
