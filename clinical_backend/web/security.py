"""Basic authentication of callers."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["BasicAuthentication"]

_LONGEST_HEADER = 4096
_OPEN_PATHS = frozenset({"/", "/health", "/ready"})


class BasicAuthentication:
    """Middleware that lets a request pass if it brings the right user and password.

    It comes before anything of the body is read. The checks of life and readiness are open to all.

    Parameters
    ----------
    app
        What is guarded.
    credentials
        User and password; ``None`` lets everything pass.
    """

    def __init__(self, app: ASGIApp, credentials: tuple[str, str] | None) -> None:
        self._app = app
        # Browsers send UTF-8, Label Studio's HTTP client Latin-1.
        pair = ":".join(credentials or ())
        self._accepted = [pair.encode(encoding, "replace") for encoding in ("utf-8", "latin-1")] if credentials else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 401 whatever is not exactly right."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS and not self._accepts(Headers(scope=scope)):
            refusal = JSONResponse(
                {
                    "detail": "User or password is wrong. Set them in the backend's entry in Label Studio,"
                    " and run `clinical connect` so that webhooks carry them too."
                },
                status.HTTP_401_UNAUTHORIZED,
                {"WWW-Authenticate": "Basic"},
            )
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _accepts(self, headers: Headers) -> bool:
        if not self._accepted:
            return True
        given = _credentials(headers.get("authorization", ""))
        return any(hmac.compare_digest(given, accepted) for accepted in self._accepted)


def _credentials(header: str) -> bytes:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _LONGEST_HEADER:
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
