"""Images that stand in a task's data itself, as ``data:`` URLs."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from clinical_backend.errors import ImageError

__all__ = ["read_data_url"]


def read_data_url(uri: str, *, size_limit: int) -> bytes:
    """Return the content of a ``data:`` URL (RFC 2397), base64 or percent-encoded.

    Parameters
    ----------
    uri
        The whole URL.
    size_limit
        Most bytes that the content may have.

    Raises
    ------
    ImageError
        When the URL has no comma, is not valid base64, or holds too much.
    """
    header, comma, body = uri.partition(",")
    if not comma:
        raise ImageError(
            "The data: URL of the image has no comma before its content.",
            "Import the task again with a URL of the form data:image/png;base64,….",
        )
    if len(body) > 4 * size_limit:  # percent-encoding needs three characters a byte, base64 less than two
        raise _too_large(size_limit)
    content = unquote_to_bytes(body)
    if header.lower().rstrip().endswith(";base64"):
        content = _base64(content)
    if len(content) > size_limit:
        raise _too_large(size_limit)
    return content


def _base64(encoded: bytes) -> bytes:
    compact = b"".join(encoded.split()).rstrip(b"=")
    try:
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        raise ImageError(
            "The data: URL of the image is not valid base64.",
            "Import the task again; the URL may have been cut off.",
        ) from None


def _too_large(size_limit: int) -> ImageError:
    return ImageError(
        f"The data: URL of the image holds more than {size_limit / 2**20:.0f} MiB.",
        "Import the image as a file or by its web address.",
    )
