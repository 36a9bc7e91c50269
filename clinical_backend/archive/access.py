"""How a DICOMweb archive is reached: its address, who asks, and whom both sides trust."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2

from clinical_backend.errors import ArchiveError
from clinical_backend.system.connectivity import trusted_authorities

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

__all__ = ["ArchiveAccess", "access_from"]

_LONGEST = 16_384  # bytes of a secret; a file named by mistake may be anything
_TOKEN = re.compile("[!-~]*")  # what a header may hold
_EXAMPLE = "http://localhost:8042/dicom-web"


@dataclass(frozen=True, slots=True)
class ArchiveAccess:
    """The address of an archive and what shows who asks.

    Attributes
    ----------
    url
        Root of its DICOMweb services: ``studies`` follows it.
    user, password
        For basic authentication; empty for none.
    token
        A bearer token; empty for none.
    certificate, key
        Files in PEM format by which this side shows who it is; the first may hold both.
    authority
        File in PEM format of the authorities that the archive's certificate may be of, in place of this machine's.

    Raises
    ------
    ArchiveError
        When the address is none, or what is given contradicts itself.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is asked."""
        url = self.root
        if self.token and (self.user or self.password):
            raise ArchiveError("Both a user and a token are given.", "Give one of them: which is meant cannot be told.")
        if self.password and not self.user:
            raise ArchiveError("A password is given, and no user.", "Give --user, or set DICOMWEB_USER.")
        if not (self.user + self.password).isprintable() or not _TOKEN.fullmatch(self.token) or ":" in self.user:
            raise ArchiveError("The user, password or token has a character that none may have.", "Copy it once more.")
        if self.key and not self.certificate:
            raise ArchiveError("The key of a certificate is given, and no certificate.", "Give --client-certificate.")
        if url.scheme == "http" and (self.certificate or self.authority):
            raise ArchiveError(
                "Certificates are given, and an address that begins with http://.", "Give one with https://."
            )

    @property
    def root(self) -> httpx2.URL:
        """The address without a slash at its end.

        Raises
        ------
        ArchiveError
            When it is none.
        """
        try:
            url = httpx2.URL(self.url.strip())
            port = url.port
        except (httpx2.InvalidURL, ValueError):
            url, port = httpx2.URL(""), None
        if (
            url.scheme not in {"http", "https"}
            or not url.host
            or url.query
            or url.fragment
            or not 0 < (80 if port is None else port) < 2**16
        ):
            raise ArchiveError(
                "The address of the archive is not that of a DICOMweb root.", f"Give one such as {_EXAMPLE}."
            )
        if url.userinfo:
            raise ArchiveError(
                "The address of the archive holds a user or a password.", "Give them by --user and --password-file."
            )
        return url.copy_with(raw_path=url.raw_path.rstrip(b"/"))  # without decoding it

    def authentication(self) -> httpx2.Auth | None:
        """Return what signs a request to the archive."""
        if self.token:
            return _Bearer(self.token)
        return httpx2.BasicAuth(self.user, self.password) if self.user else None

    def tls(self) -> ssl.SSLContext:
        """Return whom this side trusts, and by what it shows itself.

        Raises
        ------
        ArchiveError
            When a file cannot be used.
        CertificateFileError
            As :func:`~clinical_backend.system.connectivity.trusted_authorities`.
        """
        if self.authority is None:
            context = trusted_authorities()
        else:
            try:
                context = ssl.create_default_context(cafile=self.authority)
            except OSError as error:  # of which ssl.SSLError is one
                raise ArchiveError(
                    f"The certificate authorities of {self.authority} cannot be read ({_reason(error)}).",
                    "Name a file of certificates in PEM format by --ca-file.",
                ) from None
        if self.certificate is not None:
            try:
                # Without a password to give, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            except (OSError, ValueError) as error:
                raise ArchiveError(
                    f"The client certificate {self.certificate}, or its key, cannot be used ({_reason(error)}).",
                    "Give both in PEM format by --client-certificate and --client-key; the key without a password.",
                ) from None
        return context


class _Bearer(httpx2.Auth):
    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


def access_from(
    url: str,
    *,
    user: str = "",
    password_file: Path | None = None,
    token_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    authority: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> ArchiveAccess:
    """Return the access that options and environment give; a secret stands in a file or the environment alone.

    Parameters
    ----------
    url, user, certificate, key, authority
        As of :class:`ArchiveAccess`.
    password_file, token_file
        Files with one line, the secret.
    environment
        Its DICOMWEB_USER, DICOMWEB_PASSWORD and DICOMWEB_TOKEN fill what no option gives, unless the options give
        another way to sign in.

    Raises
    ------
    ArchiveError
        As :class:`ArchiveAccess`, and when a file cannot be read or holds no secret.
    """
    password = _secret(password_file, "--password-file") if password_file else ""
    token = _secret(token_file, "--token-file") if token_file else ""
    if not token:
        user = user or environment.get("DICOMWEB_USER", "")
        password = password or (environment.get("DICOMWEB_PASSWORD", "") if user else "")
    if not user:
        token = token or environment.get("DICOMWEB_TOKEN", "").strip()
    return ArchiveAccess(url, user, password, token, certificate, key, authority)


def _secret(file: Path, option: str) -> str:
    try:
        with file.open("rb") as content:
            secret = content.read(_LONGEST + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise ArchiveError(
            f"The file {file} of {option} cannot be read ({_reason(error)}).", "Name one that you may read."
        ) from None
    except UnicodeDecodeError:
        secret = ""
    if not secret.strip() or len(secret) > _LONGEST or "\n" in secret:
        raise ArchiveError(
            f"The file {file} of {option} does not hold one line with a secret.", "Write the secret into it, no more."
        )
    return secret.strip() if option == "--token-file" else secret


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "it is not in PEM format, or not of this certificate"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
