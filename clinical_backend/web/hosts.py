"""By which names this server is reached: a request that names another host is refused.

A page of the web can let its own name resolve to this machine (DNS rebinding). Its browser then takes the backend for
that page's site, but still names the host in every request.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import status
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import Headers

from clinical_backend.logs import SeldomLogger
from clinical_backend.settings import SettingsError
from clinical_backend.system.connectivity import is_loopback
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from clinical_backend.settings import Settings

__all__ = ["REFUSAL", "KnownHosts", "bracketed", "known_hosts", "knows", "name_of"]

seldom = SeldomLogger(__name__)

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{0,5})?", re.ASCII | re.IGNORECASE)
_OPEN_PATH = "/health"
"""Orchestrators ask by whatever address they have; the answer is the same for everybody."""

_OPEN_FILES = "/static/"
REFUSAL = (
    "This backend is not known by the host that the request names. If it is the right one, name it in ALLOWED_HOSTS"
    " in the backend's settings, or set BACKEND_URL to the address by which Label Studio reaches the backend."
)
_REFUSAL_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unknown host</title><link rel="stylesheet" href="/static/style.css">
<link rel="icon" href="/static/icon.svg"></head><body><main class="frame"><h1>Unknown host</h1>
<p class="lead" id="refusal">{REFUSAL}</p></main></body></html>
"""


def name_of(host: str) -> str | None:
    """Return the name or address in a ``Host`` header, in one spelling; ``None`` where it is none.

    The port is left out: a page that came from another name cannot gain by it, and behind a published port, a tunnel
    or a proxy it is not the one that the server listens on.
    """
    parts = _HOST.fullmatch(host.strip())
    if parts is None:
        return None
    name = parts["name"].lower().removesuffix(".").strip("[]")
    try:
        address = ip_address(name)
    except ValueError:
        return None if ":" in name else name or None
    # A socket for both versions of IP sees IPv4 addresses so.
    return str(getattr(address, "ipv4_mapped", None) or address)


def known_hosts(settings: Settings) -> frozenset[str]:
    """Return the names of this server that the settings tell; those of loopback come on top.

    Raises
    ------
    SettingsError
        When one of them is no name of a host.
    """
    names = {_configured(name, "ALLOWED_HOSTS") for name in settings.allowed_hosts}
    try:
        names.add(_configured(urlsplit(settings.public_url).netloc, "BACKEND_URL"))
    except ValueError:
        names.add(_configured("", "BACKEND_URL"))
    bound = name_of(bracketed(settings.host))
    return frozenset(names | ({bound} if bound is not None else set()))


def knows(names: Collection[str], host: str, reached: str) -> bool:
    """Tell whether a ``Host`` header names this server: known ``names``, loopback, or the address that was reached."""
    name = name_of(host)
    return name is not None and (name == name_of(bracketed(reached)) or name in names or is_loopback(name))


def bracketed(host: str) -> str:
    """Return a host as :func:`name_of` reads it, with brackets around a bare address of IPv6."""
    return f"[{host}]" if host.count(":") > 1 and "[" not in host else host


def _configured(host: str, setting: str) -> str:
    name = name_of(bracketed(host))
    if name is None:
        raise SettingsError(
            f"{setting} names {printable(host)!r}, which is no host.",
            "Write BACKEND_URL as http://HOST:PORT, and ALLOWED_HOSTS as names or addresses: ai.example.org,10.0.0.5.",
        )
    return name


class KnownHosts:
    """Middleware that refuses requests whose host is none of this server's with 421.

    Known are the names of the settings, loopback, and the very address that the connection was made to: what a
    browser finds there was not chosen by a name server. A request that names no host (HTTP/1.0) comes from no
    browser. Nothing else of the address in a request is believed: no ``X-Forwarded-Host``, no ``Forwarded``.

    Parameters
    ----------
    app
        What is guarded.
    names
        From :func:`known_hosts`.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what names this server."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == _OPEN_PATH or path.startswith(_OPEN_FILES):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reached, _ = scope.get("server") or ("", None)
        foreign = next((host for host in headers.getlist("host") if not knows(self._names, host, reached)), None)
        if foreign is None:
            await self._app(scope, receive, send)
            return
        seldom.warning("A request for the host %s was refused. %s", printable(foreign), REFUSAL)
        await _refusal(headers)(scope, receive, send)


def _refusal(headers: Headers) -> Response:
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(_REFUSAL_PAGE, status.HTTP_421_MISDIRECTED_REQUEST)
    return JSONResponse({"detail": REFUSAL}, status.HTTP_421_MISDIRECTED_REQUEST)
