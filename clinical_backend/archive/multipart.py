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
_LINE_END = re.compile(rb"[ \t]*\r\n")
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
    content = body.getvalue()  # the body's own memory, until it is written to
    span = None if found is None else _span(content, b"--" + (found[1] or found[2]).encode())
    del content
    if span is None:
        return None
    start, stop = span
    with body.getbuffer() as view:
        view[: stop - start] = view[start:stop]
    body.truncate(stop - start)
    return body.getvalue()


def _span(content: bytes, delimiter: bytes) -> tuple[int, int] | None:
    """Return where the only part of a body in parts begins and ends; ``None`` where it is cut off, or not alone.

    Archives take another delimiter for each answer: a pattern takes as long to compile as a small object to fetch.
    """
    start = _start(content[:_LONGEST_HEAD], delimiter)
    stop = -1 if start is None else content.find(b"\r\n" + delimiter, start)
    if start is None or stop < 0 or not content.startswith(b"--", stop + 2 + len(delimiter)):
        return None
    return start, stop


def _start(head: bytes, delimiter: bytes) -> int | None:
    """Return where the first part begins, after its own head; ``None`` where there is none."""
    at = 0 if head.startswith(delimiter) else head.find(b"\r\n" + delimiter) + 2
    while at != 1:
        if (line := _LINE_END.match(head, at + len(delimiter))) is not None:
            end = head.find(b"\r\n\r\n", line.end() - 2)  # of a part without a head, right after that line
            return None if end < 0 else end + 4
        at = head.find(b"\r\n" + delimiter, at) + 2
    return None
