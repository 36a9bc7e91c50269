"""Who may call a server that is no ASGI application, as the SDK's: by the rules of ``clinical serve``."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from clinical_backend.logs import SeldomLogger
from clinical_backend.system.connectivity import is_loopback
from clinical_backend.text import printable
from clinical_backend.web import hosts, security

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from clinical_backend.settings import Settings

__all__ = ["GuardedApplication"]

seldom = SeldomLogger(__name__)

_CLOSED = (
    "Other machines are not served without a password. Set BASIC_AUTH_USER and BASIC_AUTH_PASS; OPEN_ACCESS=true serves"
    " everybody who reaches the port."
)
_SOCKETS = ("werkzeug.socket", "gunicorn.socket")


class GuardedApplication:
    """Lets a call pass if it names this server, brings the password, and, where there is none, is from this machine.

    The last is for servers that choose by themselves where to listen. The check of life is open to all.

    Parameters
    ----------
    application
        What is guarded.
    settings
        With names and password.
    """

    def __init__(self, application: WSGIApplication, settings: Settings) -> None:
        self._application = application
        self._names = hosts.known_hosts(settings)
        self._password = security.Password(settings.basic_auth)
        self._is_local = settings.basic_auth is None and not settings.open_access

    def __call__(self, environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Refuse, or pass on."""
        path = environment.get("PATH_INFO", "")
        if path == "/health":
            return self._application(environment, start_response)
        host, caller = environment.get("HTTP_HOST", ""), environment.get("REMOTE_ADDR", "")
        if host and not hosts.knows(self._names, host, _reached(environment)):
            seldom.warning("A request for the host %s was refused. %s", printable(host), hosts.REFUSAL)
            return _refuse(start_response, HTTPStatus.MISDIRECTED_REQUEST, hosts.REFUSAL)
        if self._is_local and caller and not is_loopback(hosts.name_of(hosts.bracketed(caller)) or ""):
            seldom.warning("A request from another machine was refused. %s", _CLOSED)
            return _refuse(start_response, HTTPStatus.FORBIDDEN, _CLOSED)
        if path != "/" and not self._password.accepts(environment.get("HTTP_AUTHORIZATION", "")):
            return _refuse(
                start_response, HTTPStatus.UNAUTHORIZED, security.REFUSAL, ("WWW-Authenticate", 'Basic realm="backend"')
            )
        return self._application(environment, start_response)


def _reached(environment: WSGIEnvironment) -> str:
    """Return the address that the connection was made to, as far as the server tells it."""
    socket = next((environment[name] for name in _SOCKETS if environment.get(name) is not None), None)
    address = socket.getsockname() if socket is not None else ""
    return str(address[0]) if isinstance(address, tuple) else ""


def _refuse(
    start_response: StartResponse, status: HTTPStatus, detail: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = json.dumps({"detail": detail}).encode()
    described = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]
    start_response(f"{status.value} {status.phrase}", described)
    return [body]
