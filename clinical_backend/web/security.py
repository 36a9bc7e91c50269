"""Who may call, and how much a call may bring."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

from fastapi import HTTPException, status
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BODY_LIMIT", "REFUSAL", "TASK_LIMIT", "BasicAuthentication", "BodyLimits", "Password"]

TASK_LIMIT = 100_000
"""Most tasks in one call of ``/predict``: Label Studio sends all tasks of a project at once."""

BODY_LIMIT = 128 * 2**20
"""Most bytes of one body."""

_SMALLNESS = 512
"""A body is small below this part of the largest one: as many as there are connections, they make up one of those."""

_LONGEST_HEADER = 4096
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
<p class="lead">They are those of BASIC_AUTH_USER and BASIC_AUTH_PASS in the backend's settings. Load the page again
to enter them.</p></main></body></html>
"""


class Password:
    """What an ``Authorization`` header must bring.

    Parameters
    ----------
    credentials
        User and password; ``None`` accepts everything.
    """

    def __init__(self, credentials: tuple[str, str] | None) -> None:
        # Browsers send UTF-8, Label Studio's HTTP client Latin-1.
        pair = ":".join(credentials or ())
        self._accepted = [pair.encode(encoding, "replace") for encoding in ("utf-8", "latin-1")] if credentials else []

    def accepts(self, header: str) -> bool:
        """Tell whether a header, or an empty one, is right."""
        if not self._accepted:
            return True
        given = _credentials(header)
        return any(hmac.compare_digest(given, accepted) for accepted in self._accepted)


class BasicAuthentication:
    """Middleware that lets a request pass if it brings the right user and password.

    It comes before anything of the body is read. The check of life is open to all, and so are the files that give
    pages their looks.

    Parameters
    ----------
    app
        What is guarded.
    credentials
        User and password; ``None`` lets everything pass.
    """

    def __init__(self, app: ASGIApp, credentials: tuple[str, str] | None) -> None:
        self._app = app
        self._password = Password(credentials)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 401 whatever is not exactly right."""
        path = scope.get("path", "")
        guarded = scope["type"] != "lifespan" and path not in _OPEN_PATHS and not path.startswith(_OPEN_FILES)
        if guarded and not self._password.accepts(Headers(scope=scope).get("authorization", "")):
            await _refusal(Headers(scope=scope))(scope, receive, send)
        else:
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

    What counts is what came in; how long a body may take, :class:`~clinical_backend.web.protocol.TimelyProtocol` sees
    to.

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
