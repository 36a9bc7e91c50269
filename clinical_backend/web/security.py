"""Who may call, how much a call may bring, and what browsers may do with a reply."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import HTTPException, status
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "BODY_LIMIT",
    "REFUSAL",
    "TASK_LIMIT",
    "BasicAuthentication",
    "BodyLimits",
    "Password",
    "SameOrigin",
    "SecurityHeaders",
    "content_policy",
    "wants_page",
]

TASK_LIMIT = 100_000
"""Most tasks in one call of ``/predict``: Label Studio sends all tasks of a project at once."""

BODY_LIMIT = 128 * 2**20
"""Most bytes of one body."""

_SMALLNESS = 512
"""A body is small below this part of the largest one: as many as there are connections, they make up one of those."""

_LONGEST_HEADER = 4096
"""Of a header that names user and password, far longer than any: it is decoded before anybody is known."""
_OPEN_PATHS = frozenset({"/", "/health"})
_OPEN_FILES = "/static/"
REFUSAL = (
    "User or password is wrong. Set them in the backend's entry in Label Studio,"
    " and run `clinical connect` so that webhooks carry them too."
)
_REFUSAL_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>User or password is wrong</title><link rel="stylesheet" href="/static/style.css">
<link rel="icon" href="/static/icon.svg"></head><body><main class="frame"><h1>User or password is wrong</h1>
<p class="lead" id="refusal">The backend asks for another user or password: BASIC_AUTH_USER and BASIC_AUTH_PASS of its
settings. Load the page again to enter them.</p></main></body></html>
"""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def content_policy(styles: str = "'self'") -> str:
    """Return what a page may load: nothing but what is of this server.

    Parameters
    ----------
    styles
        Source of its styles, as a Content-Security-Policy has it.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            f"style-src {styles}",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


_HEADERS = {
    "Content-Security-Policy": content_policy(),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Password:
    """What an ``Authorization`` header must bring.

    Parameters
    ----------
    credentials
        User and password; ``None`` accepts everything.
    names
        Further users with the same password.
    """

    def __init__(self, credentials: tuple[str, str] | None, names: Iterable[str] = ()) -> None:
        # Browsers send UTF-8, Label Studio's HTTP client Latin-1.
        pairs = [] if credentials is None else [(user, credentials[1]) for user in (credentials[0], *names)]
        self._accepted = [
            (":".join(pair).encode(encoding, "replace"), pair[0]) for pair in pairs for encoding in ("utf-8", "latin-1")
        ]

    def accepts(self, header: str) -> bool:
        """Tell whether a header, or an empty one, is right."""
        return self.user_of(header) is not None

    def user_of(self, header: str) -> str | None:
        """Return the user that a header names with the right password; ``None`` for any other header.

        Where none is asked for, every header is right, and the name is empty.
        """
        if not self._accepted:
            return ""
        given = _credentials(header)
        # All are compared, so that the time tells of none.
        right = [user for accepted, user in self._accepted if hmac.compare_digest(given, accepted)]
        return right[0] if right else None


class BasicAuthentication:
    """Middleware that lets a request pass if it brings the right user and password, and notes the user in its state.

    It comes before anything of the body is read. The check of life is open to all, and so are the files that give
    pages their looks.

    Parameters
    ----------
    app
        What is guarded.
    credentials
        User and password; ``None`` lets everything pass.
    names
        Further users with the same password.
    """

    def __init__(self, app: ASGIApp, credentials: tuple[str, str] | None, names: Iterable[str] = ()) -> None:
        self._app = app
        self._password = Password(credentials, names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 401 whatever is not exactly right."""
        path = scope.get("path", "")
        guarded = scope["type"] != "lifespan" and path not in _OPEN_PATHS and not path.startswith(_OPEN_FILES)
        if guarded:
            user = self._password.user_of(Headers(scope=scope).get("authorization", ""))
            if user is None:
                await _refusal(Headers(scope=scope))(scope, receive, send)
                return
            scope.setdefault("state", {})["user"] = user
        await self._app(scope, receive, send)


def _refusal(headers: Headers) -> Response:
    challenge = {"WWW-Authenticate": "Basic"}
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(_REFUSAL_PAGE, status.HTTP_401_UNAUTHORIZED, challenge)
    return JSONResponse({"detail": REFUSAL}, status.HTTP_401_UNAUTHORIZED, challenge)


def _credentials(header: str) -> bytes:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _LONGEST_HEADER:
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


class BodyLimits:
    """Middleware that bounds the memory that request bodies take.

    What counts is what came in. How long a body may take is up to
    :class:`~clinical_backend.web.http_protocol.TimelyProtocol`.

    Parameters
    ----------
    app
        What is guarded.
    each
        Most bytes of one body, whether announced or sent in chunks; more are refused with 413.
    together
        Most bytes of all bodies that are under way; what exceeds them is refused with 429, but for small bodies, so
        that large ones keep no event from coming in.
    """

    def __init__(self, app: ASGIApp, each: int = BODY_LIMIT, together: int = 256 * 2**20) -> None:
        self._app = app
        self._each = each
        self._together = together
        self._small = each // _SMALLNESS
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in, and what is announced, until the call is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            size = len(message.get("body", b""))
            came += size
            self._held += size
            if problem := self._problem(came, self._held):
                raise problem
            return message

        announced = Headers(scope=scope).get("content-length", "")
        coming = int(announced) if announced.isdecimal() else 0
        try:
            if problem := self._problem(coming, self._held + coming):
                await JSONResponse({"detail": problem.detail}, problem.status_code, problem.headers)(
                    scope, receive, send
                )
            else:
                await self._app(scope, counted, send)
        finally:
            self._held -= came

    def _problem(self, size: int, held: int) -> HTTPException | None:
        if size > self._each:
            return HTTPException(
                status.HTTP_413_CONTENT_TOO_LARGE,
                f"The request has more than {self._each // 2**20} MiB. Send fewer tasks at a time.",
            )
        if size > self._small and held > self._together:
            return HTTPException(
                status.HTTP_429_TOO_MANY_REQUESTS,
                "Too many large requests are under way. Try again in a moment.",
                {"Retry-After": "1"},
            )
        return None


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
