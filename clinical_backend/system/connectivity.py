"""Why a server cannot be reached, by the cause, and the certificate authorities that are trusted."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import urllib.request
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from clinical_backend.errors import ClinicalError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CertificateFileError", "explain", "full_proxy_of", "is_loopback", "proxy_of", "trusted_authorities"]

_AUTHORITIES = (
    "Add its authority to those of this machine, or name a file of all that are to be trusted in SSL_CERT_FILE"
    " (docs/deploy.md)."
)
_EXPIRED, _NOT_YET, _OTHER_NAMES = 10, 9, {62, 64}  # X509_V_ERR of OpenSSL
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_SAID: dict[type[BaseException], tuple[str, str]] = {
    ConnectionRefusedError: (
        "nothing listens there (connection refused)",
        "Start it, or correct host and port. Inside a container, localhost is the container itself.",
    ),
    httpx2.ConnectTimeout: (
        "nothing answers there (time-out)",
        "See whether it runs, and whether a firewall is in between.",
    ),
    httpx2.TimeoutException: (
        "it takes too long to answer (time-out)",
        "See how busy it is; what failed is tried again.",
    ),
}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH}


class CertificateFileError(ClinicalError):
    """The file or folder of certificate authorities cannot be used."""


def trusted_authorities() -> ssl.SSLContext:
    """Return what TLS servers are checked against: SSL_CERT_FILE or SSL_CERT_DIR, else the system's authorities.

    Raises
    ------
    CertificateFileError
        When these name nothing that can be read as certificates.
    """
    setting = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "SSL_CERT_FILE")
    place = os.environ.get(setting, "")
    if setting == "SSL_CERT_DIR" and place and not os.path.isdir(place):  # noqa: PTH112 - as ssl takes it
        raise CertificateFileError(f"SSL_CERT_DIR names {place}, which is no folder.", "Correct it, or leave it out.")
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # of which ssl.SSLError is one
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate in PEM format"
        raise CertificateFileError(
            f"The certificate authorities of {setting}, {place}, cannot be read: {reason}.",
            "Name a file of certificates that begin with -----BEGIN CERTIFICATE-----, or leave it out.",
        ) from None


def full_proxy_of(url: httpx2.URL) -> str | None:
    """Return the URL of the proxy that the environment names for an address, with its login: show it to nobody."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def proxy_of(url: httpx2.URL) -> str | None:
    """Return host and port of the proxy that the environment names for an address, without its login."""
    proxy = full_proxy_of(url)
    return None if proxy is None else urlsplit(proxy).netloc.rpartition("@")[2] or proxy


def explain(error: Exception, url: httpx2.URL, *, proxied: bool) -> tuple[str, str]:
    """Return why a request failed that got no answer: the end of "… cannot be reached: ", and what to do.

    Parameters
    ----------
    error
        As httpx2 raised it.
    url
        What was asked.
    proxied
        Whether the proxy of the environment is used.
    """
    proxy = proxy_of(url) if proxied else None
    causes = list(_causes(error))
    refused = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return _certificate(refused, url)
    if proxy is not None and isinstance(error, (httpx2.ProxyError, httpx2.ConnectError, httpx2.ConnectTimeout)):
        said = str(error) if isinstance(error, httpx2.ProxyError) else _connection(causes, url)[0]
        cure = f"Correct {url.scheme.upper()}_PROXY, or add {url.host} to NO_PROXY where no proxy is needed."
        return f"the proxy {proxy} does not lead there ({said})", cure
    return _connection(causes, url)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _certificate(error: ssl.SSLCertVerificationError, url: httpx2.URL) -> tuple[str, str]:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired", "Have it renewed there, and see that this machine's clock is right."
    if code == _NOT_YET:
        return "its certificate is not valid yet", "See that the clocks of both machines are right."
    if code in _OTHER_NAMES:
        return f"its certificate is not for {url.host}", "Use a name that the certificate has, or have it made anew."
    if code in _UNKNOWN_AUTHORITY:
        return "its certificate is of no authority that is trusted here", _AUTHORITIES
    return f"its certificate is refused ({error.verify_message})", _AUTHORITIES


def _connection(causes: list[BaseException], url: httpx2.URL) -> tuple[str, str]:
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _tls(cause)
        if isinstance(cause, socket.gaierror):
            return _name(cause, url)
        if isinstance(cause, OSError) and cause.errno in _NO_WAY:
            return "no network leads there", "See to the network, and to the address."
        found = next((said for kind, said in _SAID.items() if isinstance(cause, kind)), None)
        if found is not None:
            return found
    if url.scheme == "http" and isinstance(causes[0], (httpx2.RemoteProtocolError, httpx2.ReadError)):
        cure = "If it speaks TLS at this port, write https:// in its address; else see whether it was restarted."
        return "it ends the connection without an answer in HTTP", cure
    return f"the connection fails ({type(causes[0]).__name__})", "See whether it runs, and what its log says."


def _name(error: socket.gaierror, url: httpx2.URL) -> tuple[str, str]:
    if error.errno == socket.EAI_AGAIN:
        return f"the name server does not answer for {url.host}", "See to the name server of this machine."
    return f"the name {url.host} is not known here", "Correct it, or make this machine, or container, know it."


def _tls(error: ssl.SSLError) -> tuple[str, str]:
    reason = error.reason or ""
    if any(name in reason for name in _NO_TLS):
        cure = "Write http:// instead of https:// in its address, or the port at which it speaks TLS."
        return "it does not speak TLS at this port", cure
    cure = "It may offer but old versions of TLS, or ask for a certificate of its client: see its settings."
    return f"TLS fails ({reason.lower().replace('_', ' ') or 'it ends the connection'})", cure


def is_loopback(host: str) -> bool:
    """Tell whether a host, as :func:`name_of` returns it, is this machine and no other."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
