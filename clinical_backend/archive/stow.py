"""Objects that are given to a DICOMweb archive (STOW-RS, PS3.18, 10.5)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from clinical_backend.archive.exchange import Bounds
from clinical_backend.errors import ArchiveError
from clinical_backend.text import read_json

if TYPE_CHECKING:
    from clinical_backend.archive.exchange import Exchange

__all__ = ["store_object"]

_BOUNDS = Bounds(size=2**20, seconds=120.0)
"""The answer names the one object. Storing takes Orthanc some milliseconds; others queue it; chosen."""
_FAILED = "00081198"  # Failed SOP Sequence


def store_object(exchange: Exchange, content: bytes) -> None:
    """Give an object to an archive; one that is there already stays.

    Parameters
    ----------
    exchange
        With the archive.
    content
        The file.

    Raises
    ------
    ArchiveError
        When the archive does not take it.
    """
    boundary = secrets.token_hex(16)
    part = b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--%s--\r\n"
    answer = exchange.post(
        f"{exchange.root}/studies",
        part % (boundary.encode(), content, boundary.encode()),
        f'multipart/related; type="application/dicom"; boundary={boundary}',
        "application/dicom+json",
        _BOUNDS,
    )
    try:
        said = read_json(answer.body.getvalue())
    except ValueError:
        said = None
    if not isinstance(said, dict) or (said.get(_FAILED) or {}).get("Value"):
        raise ArchiveError(
            f"The archive at {exchange.root.host} does not take a report.",
            "Have its administrator let this user store (STOW-RS), and see what its log says.",
        )
