"""Whether the server of this machine answers, as whoever watches its container asks."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from clinical_backend.errors import NotWellError

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["require_server"]

_ANSWER_SECONDS: Final = 10.0  # a third of what the HEALTHCHECK of the image allows the whole command


def require_server(settings: Settings) -> None:
    """Make sure that the server of these settings answers; no proxy of the environment is asked.

    Raises
    ------
    NotWellError
        When it does not.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared
    connection = HTTPConnection(host, settings.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise NotWellError(
            f"The server does not answer on {host}, port {settings.port} ({type(error).__name__}).",
            "Its log says why; it starts with `clinical serve`.",
        ) from None
    finally:
        connection.close()
    if status != 200:
        raise NotWellError(f"The server answers {status}.", "Its log says why.")
