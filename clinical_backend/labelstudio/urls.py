"""Addresses of backends, as people and Label Studio write them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2

__all__ = ["origin_of", "same_url", "webhook_url"]

_PORTS = {"http": 80, "https": 443}


def webhook_url(backend_url: str) -> str:
    """Return where Label Studio notifies a backend."""
    return backend_url.rstrip("/") + "/webhook"


def origin_of(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port, a scheme's own port named."""
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def same_url(one: str, other: str) -> bool:
    """Tell whether two addresses lead to the same place, as far as can be told without asking a name server.

    Slashes at the end, capitals in the host, a scheme's own port and the names of loopback make no difference.
    """
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", url.strip().rstrip("/"), None, ""
    loopback = host in {"localhost", "127.0.0.1", "::1"}
    path = parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, "localhost" if loopback else host, port or _PORTS.get(parts.scheme), path
