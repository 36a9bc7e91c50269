"""Requests to Label Studio: authenticated, retried where that is safe, and with errors that say the cure."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import httpx2

from clinical_backend.errors import (
    InvalidArgumentError,
    LabelStudioFaultError,
    LabelStudioRefusedError,
    LabelStudioUnauthorizedError,
    LabelStudioUnavailableError,
)
from clinical_backend.labelstudio.authentication import TokenAuthentication
from clinical_backend.labelstudio.refusals import cure_of, not_label_studio
from clinical_backend.system.connectivity import explain, trusted_authorities
from clinical_backend.system.pulse import note_progress
from clinical_backend.text import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from clinical_backend.labelstudio.authentication import TokenKind

__all__ = ["Session"]

_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 10.0
"""Waits of 0.25, 1 and 4 seconds, or as Label Studio asks for within ten: a lock or a restart passes so. What takes
longer is tried again by the next round; chosen, not measured."""
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
_SAFE_METHODS = frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})

_CLOCK_RESOLUTION = 1.5
"""Seconds of difference that the whole seconds of a ``Date`` header and the way of an answer explain."""

_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)  # httpx's own
# Label Studio's own server sends head and body of an answer apart, so that on a connection that is kept alive
# each answer waits 40 ms for a delayed acknowledgement (RFC 1122, 4.2.3.2). A new one takes less than 1 ms.
_PLAIN_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=0)


class Session:
    """A connection to one Label Studio.

    Parameters
    ----------
    url
        Root of Label Studio, with its sub-path if it has one.
    api_key
        A legacy token or a personal access token.
    time_out
        Seconds that Label Studio may take for one answer.
    transport
        What carries the requests; another one is for tests.
    sleep
        Waits the given seconds between attempts.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        time_out: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        root = _root(url)
        self.url = str(root)
        self._api_key = api_key.strip()
        self._authentication = TokenAuthentication(root, api_key)
        self._sleep = sleep
        self.clock_offset = 0.0
        """Seconds that Label Studio's clock is ahead of this one, by its last answer."""
        self.http = httpx2.Client(
            base_url=root,
            auth=self._authentication,
            timeout=httpx2.Timeout(time_out, connect=min(time_out, 10.0)),
            transport=transport,
            verify=trusted_authorities(),
            limits=_PLAIN_LIMITS if root.scheme == "http" else _LIMITS,
            headers={"User-Agent": "clinical-backend"},
        )

    @property
    def token_kind(self) -> TokenKind:
        """Which kind of token this session has."""
        return self._authentication.kind

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,  # noqa: ANN401
        files: Any = None,  # noqa: ANN401
        repeatable: bool | None = None,
        time_out: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Send one request and return the decoded JSON of the answer; ``None`` for an empty one.

        Parameters
        ----------
        method, path
            HTTP method, and the path below the root of Label Studio.
        params, json, files
            Query parameters and body.
        repeatable
            Whether sending it twice does no harm. By default, everything but POST. A request that never
            reached Label Studio is repeated in any case.
        time_out
            Seconds that this one answer may take.

        Raises
        ------
        LabelStudioUnavailableError
            When Label Studio does not answer, or with a server error, in spite of the repetitions.
        LabelStudioUnauthorizedError
            When it refuses the token.
        LabelStudioRefusedError
            When it refuses the request.
        """
        repeatable = method in _SAFE_METHODS if repeatable is None else repeatable
        timeout = self.http.timeout if time_out is None else httpx2.Timeout(time_out, connect=10.0)
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            wait = min(_FIRST_WAIT_SECONDS * 4**attempt, _LONGEST_WAIT_SECONDS)
            try:
                response = self.http.request(
                    method, path.lstrip("/"), params=params, json=json, files=files, timeout=timeout
                )
            except httpx2.TransportError as error:
                unsent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
                if last or not (repeatable or unsent):
                    raise self._unreachable(error) from error
            else:
                note_progress()
                self.clock_offset = _clock_offset(response)
                if last or not repeatable or response.status_code not in _TRY_AGAIN:
                    return self._decode(response, path)
                wait = max(wait, _retry_after(response))
            self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _decode(self, response: httpx2.Response, path: str) -> Any:  # noqa: ANN401
        status = response.status_code
        if (wrong := not_label_studio(response)) is not None:
            problem, cure = wrong
            raise LabelStudioRefusedError(f"What answers at {self.url} for {path} {problem}.", cure, status=status)
        if response.is_success:
            if not response.content:
                return None
            try:
                return read_json(response.content)
            except ValueError:
                raise LabelStudioRefusedError(
                    f"What answers at {self.url} for {path} is not Label Studio's API.",
                    "Check LABEL_STUDIO_URL; it needs Label Studio's sub-path, if it has one.",
                    status=status,
                ) from None
        if status == HTTPStatus.UNAUTHORIZED:
            raise LabelStudioUnauthorizedError(
                f"Label Studio refuses the {self.token_kind} token.",
                "Copy a new token from Account & Settings and set LABEL_STUDIO_API_KEY. A legacy token works"
                " only where the organisation allows legacy tokens; a personal access token always does.",
            )
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            error = self._unavailable(f"status {status}")
            raise LabelStudioFaultError(error.problem, error.cure)
        if status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise self._unavailable(f"status {status}")
        reason = self._reason(response)
        raise LabelStudioRefusedError(
            f"Label Studio refuses {response.request.method} {path} with status {status}: {reason}",
            cure_of(status),
            status=status,
        )

    def _unreachable(self, error: httpx2.TransportError) -> LabelStudioUnavailableError:
        reason, cure = explain(error, httpx2.URL(self.url), proxied=True)
        return LabelStudioUnavailableError(
            f"Label Studio at {self.url} cannot be reached: {reason}.",
            f"{cure} LABEL_STUDIO_URL is its address as seen from this machine.",
        )

    def _unavailable(self, reason: str) -> LabelStudioUnavailableError:
        return LabelStudioUnavailableError(
            f"Label Studio at {self.url} does not answer as it should ({reason}).",
            "Check that it runs and that LABEL_STUDIO_URL is its address as seen from this machine.",
        )

    def _reason(self, response: httpx2.Response) -> str:
        """Return the short reason that a refusal gives, without markup and without the token."""
        try:
            body = read_json(response.content)
        except ValueError:
            body = None
        if isinstance(body, dict):
            found = body.get("validation_errors") or body.get("detail") or body.get("error") or ""
        else:
            found = body or HTTPStatus(response.status_code).phrase
        text = re.sub(r"<[^>]*>", "", found if isinstance(found, str) else str(found))
        text = " ".join(text.split()).replace(self._api_key, "[token]")
        text = text[:300] or HTTPStatus(response.status_code).phrase
        return text if text.endswith((".", "!", "?")) else f"{text}."


def _root(url: str) -> httpx2.URL:
    try:
        root = httpx2.URL(url.strip())
    except httpx2.InvalidURL:
        root = httpx2.URL("")
    if root.scheme not in {"http", "https"} or not root.host or root.userinfo:
        raise InvalidArgumentError(
            "url",
            "it is not the address of a Label Studio.",
            "Set LABEL_STUDIO_URL to an address such as http://localhost:8080, without user or password.",
        )
    return root.copy_with(path=root.path.rstrip("/"), query=None, fragment=None)


def _clock_offset(response: httpx2.Response) -> float:
    """Return by how much the server's clock is ahead; 0 where both agree as far as whole seconds tell."""
    try:
        seconds = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except ValueError:
        return 0.0
    ahead = seconds + 0.5 - time.time()
    return 0.0 if abs(ahead) <= _CLOCK_RESOLUTION else ahead


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(float(response.headers.get("Retry-After", "0")), _LONGEST_WAIT_SECONDS)
    except ValueError:
        return 0.0
