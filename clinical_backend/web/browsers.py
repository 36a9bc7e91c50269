"""What browsers may do with a reply, and which requests of theirs are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SameOrigin", "SecurityHeaders", "wants_page"]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def wants_page(request: Request) -> bool:
    """Tell whether a person's browser asks, and not Label Studio or a script."""
    return "text/html" in request.headers.get("accept", "")


class SecurityHeaders:
    """Middleware that gives every reply the headers that keep pages and images to this site.

    Nothing is kept by browsers or proxies unless the reply says so itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add to the head of the reply what it does not set."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class SameOrigin:
    """Middleware that refuses what a page of another site makes a browser send.

    The browser would add the user's password by itself. Label Studio and scripts send neither of the headers that
    tell where a request comes from, and pass.

    Parameters
    ----------
    app
        What is guarded.
    addresses
        Where this server is reached, beside the host that a request names: it comes after
        :class:`~clinical_backend.web.hosts.KnownHosts`, which vouches for that one.
    """

    def __init__(self, app: ASGIApp, addresses: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {urlsplit(f"//{address.rpartition('//')[2]}").netloc.lower() for address in addresses}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 403 what would change something and comes from elsewhere."""
        changes = scope["type"] == "http" and scope["method"] not in _SAFE_METHODS
        if changes and self._is_foreign(Headers(scope=scope)):
            refusal = JSONResponse(
                {
                    "detail": "The request comes from a page of another site."
                    " Open this backend's own page and press the button there;"
                    " behind a proxy, name the host in the browser's address in ALLOWED_HOSTS."
                },
                status.HTTP_403_FORBIDDEN,
            )
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site not in {"same-origin", "none"}
        origin = headers.get("origin")
        return origin is not None and origin.rpartition("//")[2].lower() not in {headers.get("host"), *self._hosts}
