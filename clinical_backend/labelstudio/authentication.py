"""Authentication at Label Studio with either kind of token."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

import httpx2

from clinical_backend.errors import LabelStudioRefusedError, LabelStudioUnauthorizedError, LabelStudioUnavailableError
from clinical_backend.labelstudio.refusals import not_label_studio
from clinical_backend.labelstudio.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["TokenAuthentication", "TokenKind", "basic_authorization", "kind_of_token"]

TokenKind = Literal["legacy", "personal"]

_CURE = (
    "Copy a token from Account & Settings in Label Studio and set LABEL_STUDIO_API_KEY to it. "
    "New installations accept personal access tokens only."
)
_NO_PERSONAL_TOKENS = " Label Studio before 1.17 has no personal access tokens either: it takes the legacy one."
_RENEW_BEFORE_SECONDS = 30.0  # so that few requests meet its end on their way; one that does is sent again
_DEFAULT_LIFETIME_SECONDS = 240.0
"""Of a token that does not say: a minute less than the five of Label Studio's access tokens."""


def kind_of_token(api_key: str) -> TokenKind:
    """Tell a personal access token (a JSON Web Token of three parts) from a legacy token."""
    return "personal" if api_key.count(".") == 2 and api_key.startswith("ey") else "legacy"


def basic_authorization(user: str, password: str) -> str:
    """Return the value of an ``Authorization`` header for HTTP basic authentication (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


class TokenAuthentication(httpx2.Auth):
    """Adds a Label Studio token to the requests that go to Label Studio, and to no other.

    A legacy token is sent as it is. A personal access token buys access tokens, which live for a few
    minutes: one is kept, shared by all threads, and renewed shortly before it expires or on a 401.

    Parameters
    ----------
    url
        Root of Label Studio, with its sub-path if it has one.
    api_key
        A legacy token or a personal access token.
    clock
        Monotonic time in seconds.

    Raises
    ------
    LabelStudioUnauthorizedError
        When the key is no token at all, and later when Label Studio refuses a personal access token.
    """

    def __init__(self, url: httpx2.URL, api_key: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        api_key = api_key.strip()
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise LabelStudioUnauthorizedError("The Label Studio API key is not a token.", _CURE)
        self.kind = kind_of_token(api_key)
        self._api_key = api_key
        self._origin = origin_of(url)
        self._refresh_url = url.copy_with(path=url.path.rstrip("/") + "/api/token/refresh/", query=None)
        self._clock = clock
        self._lock = threading.Lock()
        self._access_token = ""
        self._renew_at = float("-inf")

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request with the token, once more if a personal one had expired."""
        if origin_of(request.url) != self._origin:
            yield request
            return
        if self.kind == "legacy":
            request.headers["Authorization"] = f"Token {self._api_key}"
            yield request
            return
        token = yield from self._valid_access_token(refused=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            token = yield from self._valid_access_token(refused=token)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _valid_access_token(self, refused: str | None) -> Generator[httpx2.Request, httpx2.Response, str]:
        """Return the kept access token, or a new one where it is old or was ``refused``."""
        with self._lock:
            if self._access_token == refused or self._clock() >= self._renew_at:
                response = yield httpx2.Request("POST", self._refresh_url, json={"refresh": self._api_key})
                response.read()
                self._access_token = _access_token_of(response)
                self._renew_at = self._clock() + _lifetime(self._access_token) - _RENEW_BEFORE_SECONDS
            return self._access_token


def _access_token_of(response: httpx2.Response) -> str:
    if (wrong := not_label_studio(response)) is not None:
        cure = wrong[1] + (_NO_PERSONAL_TOKENS if response.status_code == HTTPStatus.NOT_FOUND else "")
        raise LabelStudioRefusedError(
            f"What answers for an access token {wrong[0]}.", cure, status=response.status_code
        )
    if response.status_code >= 500:
        raise LabelStudioUnavailableError(
            f"Label Studio answers {response.status_code} when asked for an access token.",
            "It is tried again later; look at Label Studio's own log if it stays so.",
        )
    try:
        token = response.json()["access"] if response.is_success else None
    except (ValueError, KeyError, TypeError):
        token = None
    if not isinstance(token, str):
        raise LabelStudioUnauthorizedError(
            f"Label Studio refuses the personal access token (status {response.status_code}).", _CURE
        )
    return token


def _lifetime(token: str) -> float:
    """Read from a JSON Web Token for how many seconds it is valid, whatever this machine's clock says."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"]) - float(claims["iat"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return _DEFAULT_LIFETIME_SECONDS
