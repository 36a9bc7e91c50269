"""Basic authentication of callers."""

from __future__ import annotations

import base64
import binascii
import hmac

from fastapi import HTTPException, Request, status

__all__ = ["BasicAuthentication"]

_LONGEST_HEADER = 4096


class BasicAuthentication:
    """A dependency that lets a request pass if it brings the right user and password.

    Parameters
    ----------
    credentials
        User and password; ``None`` lets everything pass.
    """

    def __init__(self, credentials: tuple[str, str] | None) -> None:
        # Browsers send UTF-8, Label Studio's HTTP client Latin-1.
        pair = ":".join(credentials or ())
        self._accepted = [pair.encode(encoding, "replace") for encoding in ("utf-8", "latin-1")] if credentials else []

    async def __call__(self, request: Request) -> None:
        """Refuse with 401 whatever is not exactly right."""
        if not self._accepted:
            return
        given = _credentials(request.headers.get("authorization", ""))
        if not any(hmac.compare_digest(given, accepted) for accepted in self._accepted):
            raise HTTPException(
                status.HTTP_401_UNAUTHORIZED,
                "User or password is wrong. Set them in the backend's entry in Label Studio,"
                " and run `clinical connect` so that webhooks carry them too.",
                {"WWW-Authenticate": "Basic"},
            )


def _credentials(header: str) -> bytes:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _LONGEST_HEADER:
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
