"""One request to a DICOMweb archive, bounded in bytes and seconds, that goes nowhere else."""

from __future__ import annotations

import io
import logging
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import httpcore2
import httpx2
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter

from clinical_backend.errors import ArchiveError
from clinical_backend.images.connections import TimedBackend, finished_by
from clinical_backend.system.connectivity import explain, full_proxy_of
from clinical_backend.text import printable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from clinical_backend.archive.access import ArchiveAccess

__all__ = ["NOT_A_ROOT", "Answer", "Bounds", "Exchange", "library_session"]

NOT_A_ROOT = (
    "Give the root of its DICOMweb services, which studies follows; Orthanc's is http://host:8042/dicom-web/,"
    " and needs its DICOMweb plugin."
)
_ATTEMPTS = 3
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
"""Waits of 0.5 and 2 seconds, or as the archive asks for within ten: what is busy or restarts passes so; chosen."""
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # what may pass, by the meaning of the status
_STEP_SECONDS = 30.0  # for a connection, and for each piece of an answer; an archive may fetch from tape: chosen

# Addresses hold identifiers and filters, which may be a patient's; the libraries log them, and what the archive warns.
for _name in ("dicomweb_client", "retrying", "pydicom", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may take.

    Attributes
    ----------
    size
        Bytes of its body.
    seconds
        Of all attempts together.
    """

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer.

    Attributes
    ----------
    media_type
        With its parameters, as the archive gave it.
    body
        All of it, read from its start.
    """

    media_type: str
    body: io.BytesIO


class _TryAgainError(Exception):
    """The attempt failed in a way that may pass."""

    def __init__(self, failure: ArchiveError, wait: float = 0.0) -> None:
        super().__init__(failure)
        self.failure = failure
        self.wait = wait


class Exchange:
    """Asks an archive, from several threads if need be; no redirect is followed, and nothing is unpacked.

    Parameters
    ----------
    access
        How it is reached.
    parallel
        Requests at a time.
    sleep
        Waits the given seconds between attempts.

    Raises
    ------
    ArchiveError
        When a certificate cannot be used.
    """

    def __init__(self, access: ArchiveAccess, *, parallel: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._access = access
        self._slots = threading.BoundedSemaphore(parallel)
        self._sleep = sleep
        self.root = access.root
        limits = httpx2.Limits(max_connections=parallel, max_keepalive_connections=parallel)
        self._http = httpx2.Client(
            transport=_TimedTransport(access.tls(), limits, full_proxy_of(self.root)),
            auth=access.authentication(),
            timeout=httpx2.Timeout(_STEP_SECONDS),
            headers={"User-Agent": "clinical-backend", "Accept-Encoding": "identity"},
            trust_env=False,  # or a ~/.netrc would sign in
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, url: str, accept: str, bounds: Bounds) -> Answer:
        """Return a good answer.

        Parameters
        ----------
        url
            Below the root.
        accept
            Media types that are asked for.
        bounds
            What it may take.

        Raises
        ------
        ArchiveError
            When there is none within the bounds. The message names the host, and neither path nor query.
        """
        return self._ask("GET", url, {"Accept": accept}, None, bounds)

    def post(self, url: str, content: bytes, media_type: str, accept: str, bounds: Bounds) -> Answer:
        """Send something that does no harm when it comes twice, and return the good answer.

        Parameters
        ----------
        url, accept, bounds
            As of :meth:`get`.
        content, media_type
            What is sent.

        Raises
        ------
        ArchiveError
            As :meth:`get`.
        """
        return self._ask("POST", url, {"Accept": accept, "Content-Type": media_type}, content, bounds)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, bounds: Bounds) -> Answer:
        address = httpx2.URL(url)
        if (address.scheme, address.host, address.port) != (self.root.scheme, self.root.host, self.root.port):
            raise ArchiveError("An address outside the archive was to be asked.", "Report this as a fault.")
        with self._slots:
            deadline = time.monotonic() + bounds.seconds
            for attempt in range(_ATTEMPTS):
                try:
                    with finished_by(deadline):
                        request = self._http.build_request(method, address, headers=headers, content=content)
                        return self._once(request, bounds, deadline)
                except _TryAgainError as error:
                    wait = max(error.wait, _FIRST_WAIT_SECONDS * 4**attempt)
                    if attempt == _ATTEMPTS - 1 or time.monotonic() + wait > deadline:
                        raise error.failure from None
                    self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, request: httpx2.Request, bounds: Bounds, deadline: float) -> Answer:
        try:
            response = self._http.send(request, stream=True, follow_redirects=False)
            try:
                self._check(response)
                return Answer(response.headers.get("content-type", ""), self._body(response, bounds, deadline))
            finally:
                response.close()
        except httpx2.TransportError as error:
            if time.monotonic() >= deadline:
                raise self._too_slow(bounds) from None
            reason, cure = explain(error, self.root, proxied=True)
            if "authority" in reason:
                cure = f"{cure} Or name the archive's own authority by --ca-file."
            elif self.root.scheme == "https" and self._access.certificate is None:
                cure = f"{cure} If it asks for a certificate, give --client-certificate."
            raise _TryAgainError(
                ArchiveError(f"The archive at {self._host} cannot be reached: {reason}.", cure)
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise ArchiveError(
                f"The answer of the archive at {self._host} cannot be read ({type(error).__name__}).", NOT_A_ROOT
            ) from None

    def _body(self, response: httpx2.Response, bounds: Bounds, deadline: float) -> io.BytesIO:
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > bounds.size:
            raise self._too_large(bounds)
        body = io.BytesIO()
        for piece in response.iter_raw():
            if body.tell() + len(piece) > bounds.size:
                raise self._too_large(bounds)
            body.write(piece)
            if time.monotonic() > deadline:
                raise self._too_slow(bounds)
        body.seek(0)
        return body

    def _check(self, response: httpx2.Response) -> None:
        """Refuse an answer by its head."""
        status, archive = response.status_code, f"The archive at {self._host}"
        if status in _TRY_AGAIN:
            raise _TryAgainError(
                ArchiveError(
                    f"{archive} answers with status {status}.", "See whether it is well, and what its log says."
                ),
                _retry_after(response),
            )
        if response.is_redirect:
            place = _origin(response)
            raise ArchiveError(
                f"{archive} redirects to {place}, where nothing is asked.",
                "If that is the archive, give its root there as the address.",
            )
        if status == HTTPStatus.UNAUTHORIZED:
            raise ArchiveError(f"{archive} does not let this user in (status {status}).", self._sign_in())
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise ArchiveError("The proxy asks for a login.", "Put one into HTTPS_PROXY, or add the host to NO_PROXY.")
        if status == HTTPStatus.FORBIDDEN:
            raise ArchiveError(
                f"{archive} does not show this (status {status}).",
                f"Have its administrator let this user search (QIDO-RS) and retrieve (WADO-RS). {self._sign_in()}",
            )
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise ArchiveError(
                f"{archive} does not have what is asked for (status {status}).",
                f"It may be deleted there. Where nothing at all is found, this is no DICOMweb root. {NOT_A_ROOT}",
            )
        if not response.is_success:
            raise ArchiveError(
                f"{archive} refuses the request (status {status}).",
                f"It may not know one of the filters, or be no DICOMweb root; its log says why. {NOT_A_ROOT}",
            )
        if "html" in response.headers.get("content-type", "").lower():
            raise ArchiveError(f"{archive} answers with a web page: this is not a DICOMweb root.", NOT_A_ROOT)
        if response.headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
            raise ArchiveError(
                f"{archive} compresses its answers though it is asked not to.",
                "Switch that off there, or in the proxy before it: how large they unpack cannot be known.",
            )

    def _sign_in(self) -> str:
        if self._access.token:
            return "The token may be wrong or have expired: write a new one into the file of --token-file."
        if self._access.user:
            return "Correct --user, or the password in the file of --password-file."
        return "Give --user and --password-file, --token-file, or --client-certificate, as the archive asks for."

    @property
    def _host(self) -> str:
        return self.root.host

    def _too_large(self, bounds: Bounds) -> ArchiveError:
        size = f"{bounds.size / 2**20:.0f} MiB"
        return ArchiveError(f"The archive at {self._host} sends more than {size} at once.", "Narrow what is asked for.")

    def _too_slow(self, bounds: Bounds) -> ArchiveError:
        return ArchiveError(
            f"The archive at {self._host} takes longer than {bounds.seconds:.0f} s over one answer.",
            "See how busy it is, and the network; what was imported stays.",
        )


class _TimedTransport(httpx2.HTTPTransport):
    """Heeds :func:`~clinical_backend.images.connections.finished_by`, for which httpx2 has no parameter."""

    def __init__(self, tls: ssl.SSLContext, limits: httpx2.Limits, proxy: str | None) -> None:
        super().__init__(verify=tls, limits=limits)
        self._pool.close()
        common: dict[str, Any] = {
            "ssl_context": tls,
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "network_backend": TimedBackend(),
        }
        if proxy is None:
            self._pool = httpcore2.ConnectionPool(**common)
            return
        try:
            way = httpx2.Proxy(proxy)
        except (ValueError, httpx2.InvalidURL):
            way = None
        if way is None or way.url.scheme not in {"http", "https"}:
            raise ArchiveError(
                "The proxy of the environment is none that is spoken to here.",
                "Name one of HTTP, or add the archive's host to NO_PROXY.",
            )
        self._pool = httpcore2.HTTPProxy(str(way.url), proxy_auth=way.raw_auth, proxy_headers=way.headers.raw, **common)


_READABLE = {"+": "%20", "%2A": "*", "%3F": "?", "%2C": ",", "%2F": "/", "%3A": ":"}
"""The library writes forms of HTML. In a query, a space is not a plus, and the others may stand (RFC 3986, 3.4): for
Orthanc 1.10 they have to."""


class _Adapter(BaseAdapter):
    """Carries what the library asks through an exchange."""

    def __init__(self, exchange: Exchange, bounds: Bounds) -> None:
        super().__init__()
        self._exchange = exchange
        self._bounds = bounds

    def send(self, request: PreparedRequest, *_: object, **__: object) -> Response:
        """Return the answer to a GET; the library's own time-out and headers, such as Host, count for nothing."""
        assert request.method == "GET"
        path, mark, query = str(request.url).partition("?")
        for written, meant in _READABLE.items():
            query = query.replace(written, meant)
        url = f"{path}{mark}{query}"
        answer = self._exchange.get(url, str(request.headers["Accept"]), self._bounds)
        response = Response()
        response.status_code = HTTPStatus.OK
        response.headers["Content-Type"] = answer.media_type
        response.raw = answer.body
        response.request = request
        response.url = url
        return response

    def close(self) -> None:
        """Do nothing: the exchange is another's to close."""


def library_session(exchange: Exchange, bounds: Bounds) -> Session:
    """Return a session of requests, for the library, of which each request passes an exchange.

    Parameters
    ----------
    exchange
        What asks.
    bounds
        Of each answer.
    """
    session = Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(exchange, bounds))
    return session


def _origin(response: httpx2.Response) -> str:
    """Return where a redirect leads, without its path."""
    try:
        url = response.url.join(response.headers.get("location", ""))
    except (httpx2.InvalidURL, ValueError):
        return "an address that is none"
    return printable(f"{url.scheme}://{url.netloc.decode()}") if url.host else "an address that is none"


def _retry_after(response: httpx2.Response) -> float:
    try:
        seconds = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds <= _LONGEST_WAIT_SECONDS else 0.0
