"""What an answer means that is not what Label Studio was asked for: each by its cause, with the cure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from clinical_backend.system.connectivity import proxy_of
from clinical_backend.text import printable

if TYPE_CHECKING:
    import httpx2

__all__ = ["cure_of", "not_label_studio"]

_SUB_PATH = "Check LABEL_STUDIO_URL; it needs Label Studio's sub-path, if it has one."
_CURES = {
    403: "Use the token of a user who may edit this project.",
    404: "Check the id, and that this token's user is in the project's organisation.",
    405: "Use Label Studio 1.20 or later; a proxy before it must let GET, POST, PATCH and DELETE through.",
    409: "Look at the request and at the state of the project.",
    413: "Let the proxy before Label Studio take larger requests (nginx: client_max_body_size).",
}


def cure_of(status: int) -> str:
    """Return what to do about a refusal of Label Studio's own."""
    return _CURES.get(status, "Correct what it names, or look into Label Studio's log.")


def not_label_studio(response: httpx2.Response) -> tuple[str, str] | None:
    """Return what is wrong with an answer that Label Studio's API never gives, and the cure; ``None`` if it may.

    The problem is the end of "What answers at … for … ".
    """
    if response.has_redirect_location:
        return _redirect(response)
    return _login_before(response) or (_page(response) if _is_page(response) else None)


def _login_before(response: httpx2.Response) -> tuple[str, str] | None:
    """Return which login is asked for by what stands on the way."""
    url, status = response.request.url, response.status_code
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        cure = f"Put it into {url.scheme.upper()}_PROXY, as http://user:password@host:port."
        return f"is the proxy {proxy_of(url)}, which wants a login", cure
    asked = response.headers.get("www-authenticate", "").partition(" ")[0].lower()
    if status == HTTPStatus.UNAUTHORIZED and asked in {"basic", "digest", "negotiate", "ntlm"}:
        cure = "Let what stands before Label Studio pass this backend's requests on, with their Authorization header."
        return f"asks for a password ({asked.capitalize()}), which Label Studio does not", cure
    return None


def _page(response: httpx2.Response) -> tuple[str, str] | None:
    proxy = proxy_of(response.request.url)
    through = f" If the proxy {proxy} answers, add {response.request.url.host} to NO_PROXY." if proxy else ""
    if response.status_code == HTTPStatus.FORBIDDEN:
        cure = f"Look whether a proxy or firewall before Label Studio refuses this machine.{through}"
        return "refuses with a web page (status 403), which Label Studio's API does not", cure
    if response.is_success or response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        cure = f"{_SUB_PATH} Nor may a sign-in page stand before it.{through}"
        return f"is a web page (status {response.status_code}), not Label Studio's API", cure
    return None


def _redirect(response: httpx2.Response) -> tuple[str, str]:
    asked = response.request.url
    to = asked.join(response.headers["location"])
    where = printable(f"{to.scheme}://{to.netloc.decode('ascii', 'replace').rpartition('@')[2]}{to.path}", 120)
    if to.host == asked.host and (asked.scheme, to.scheme) == ("http", "https"):
        return f"redirects to {where}", "Write https:// in LABEL_STUDIO_URL."
    if to.host == asked.host and to.path.endswith(asked.path):
        return (
            f"redirects to {where}",
            f"Set LABEL_STUDIO_URL to {where.removesuffix(asked.path)} with Label Studio's sub-path.",
        )
    cure = (
        "Let this backend's requests, which bear a token, reach the API without signing in; and check LABEL_STUDIO_URL."
    )
    return f"redirects to {where}, perhaps to sign in", cure


def _is_page(response: httpx2.Response) -> bool:
    start = response.content[:200].lstrip().lower()
    return response.headers.get("content-type", "").startswith("text/html") or start.startswith(
        (b"<!doctype", b"<html")
    )
