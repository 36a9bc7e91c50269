"""One GET over HTTP, bounded in size and time, with the token kept to where it belongs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2

from clinical_backend.errors import ImageError
from clinical_backend.images.connections import finished_by
from clinical_backend.images.look import Look
from clinical_backend.system.connectivity import explain, proxy_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transfer"]

_MAX_REDIRECTS = 5  # as RFC 1945 advises; a signed address takes one
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})  # what may pass, by the meaning of the status
_JUDGED_AFTER = 10.0
"""Seconds of a reply after which its speed tells whether the rest can come in time; a start may stutter."""
_HEADERS = {"Accept": "image/*, application/dicom, */*;q=0.1", "Accept-Encoding": "identity"}

_ETAG, _DATE = "etag ", "date "
_LONGEST_MARK = 300  # characters; hashes and dates are shorter, and what is longer need not be kept


class _TryAgainError(Exception):
    """The attempt failed in a way that may pass."""

    def __init__(self, failure: ImageError) -> None:
        super().__init__(failure)
        self.failure = failure


class Transfer:
    """Fetches the content of an address; each hop of a redirect chooses its client anew.

    Parameters
    ----------
    choose_client
        Returns the client for an address: the one with the token for Label Studio alone.
    size_limit
        Most bytes of a reply.
    time_out
        Longest wait for a connection, and for each piece of a reply, in seconds.
    time_limit
        Longest time of all attempts and redirects together, in seconds, so that a reply that drips does not hold
        a thread for ever.
    attempts
        How often a failed connection or a server error is tried in all.
    backoff
        Pause before the second attempt in seconds, doubled before each later one.
    through_proxy
        Tells whether an address is asked through the proxy of the environment.
    """

    def __init__(
        self,
        choose_client: Callable[[httpx2.URL], httpx2.Client],
        *,
        size_limit: int,
        time_out: float,
        time_limit: float,
        attempts: int,
        backoff: float,
        through_proxy: Callable[[httpx2.URL], bool] = lambda _: False,
    ) -> None:
        self._choose_client = choose_client
        self._through_proxy = through_proxy
        self._size_limit = size_limit
        self._time_out = httpx2.Timeout(time_out)
        self._time_limit = time_limit
        self._attempts = attempts
        self._backoff = backoff

    def get(self, address: str, mark: str | None = None, deadline: float | None = None) -> Look:
        """Return the body that an address replies with.

        Parameters
        ----------
        address
            Where to ask.
        mark
            What an earlier reply had: with the same one the body is not read.
        deadline
            By ``time.monotonic``, where it is to come sooner than the limit of one image.

        Raises
        ------
        ImageError
            When there is no good reply. The message names the host and never the path, which may hold a
            patient's name, nor the query, which may hold a signature.
        """
        url = _parse(address)
        limit = time.monotonic() + self._time_limit
        deadline = limit if deadline is None else min(limit, deadline)
        for attempt in range(1, self._attempts + 1):
            try:
                with finished_by(deadline):
                    return self._follow(url, deadline, mark)
            except _TryAgainError as error:
                if attempt == self._attempts or time.monotonic() > deadline:
                    raise error.failure from None
                time.sleep(self._backoff * 2 ** (attempt - 1))
        raise AssertionError("at least one attempt is made")

    def _follow(self, url: httpx2.URL, deadline: float, mark: str | None) -> Look:
        for _ in range(_MAX_REDIRECTS + 1):
            reply = self._hop(url, deadline, mark)
            if isinstance(reply, Look):
                return reply
            url = reply
        raise ImageError(f"{url.host} redirects more than {_MAX_REDIRECTS} times.", "Check the address of the image.")

    def _hop(self, url: httpx2.URL, deadline: float, mark: str | None) -> Look | httpx2.URL:
        """Return the body of a reply, or where it redirects to."""
        client = self._choose_client(url)
        headers = _HEADERS | _condition(mark)
        request = client.build_request("GET", url, headers=headers, timeout=self._time_out)
        try:
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                if response.has_redirect_location:
                    return _parse(str(url.join(response.headers["location"])))
                if mark is not None and response.status_code == httpx2.codes.NOT_MODIFIED:
                    return Look(None, mark)
                _check_status(response)
                now = _mark(response)
                if mark is not None and now == mark:
                    return Look(None, mark)
                return Look(self._body(response, deadline), now)
            finally:
                response.close()
        except httpx2.TransportError as error:
            # Only Label Studio's own addresses are asked through a proxy of the environment.
            through = self._through_proxy(url)
            reason, cure = explain(error, url, proxied=through)
            if not through and (proxy := proxy_of(url)) is not None:
                cure = f"{cure} Images of other hosts than Label Studio are not fetched through the proxy {proxy}."
            failure = ImageError(f"{url.host} cannot be reached: {reason}.", f"{cure} It is tried again later.")
            raise _TryAgainError(failure) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # Unicode: a host's name
            raise ImageError(
                f"The reply of {url.host} cannot be read ({type(error).__name__}).",
                "Check the address of the image.",
            ) from None

    def _body(self, response: httpx2.Response, deadline: float) -> bytes:
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._size_limit:
            raise self._too_large(response.url)
        length = int(announced) if announced.isdecimal() else 0
        body = bytearray()
        started = time.monotonic()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._size_limit:
                raise self._too_large(response.url)
            now = time.monotonic()
            at_this_speed = (
                started + (now - started) * length / max(1, len(body)) if now - started > _JUDGED_AFTER else now
            )
            if max(now, at_this_speed) > deadline:
                raise ImageError(
                    f"{response.url.host} sends the image too slowly (it would take over {self._time_limit:.0f} s).",
                    "Check the network, or provide a smaller version of the image.",
                )
        return bytes(body)

    def _too_large(self, url: httpx2.URL) -> ImageError:
        return ImageError(
            f"{url.host} sends more than {self._size_limit / 2**20:.0f} MiB for one image.",
            "Provide a smaller version of the image.",
        )


def _mark(response: httpx2.Response) -> str | None:
    """Return what tells that a reply's body is the same as before, where the host says."""
    etag, date = response.headers.get("etag"), response.headers.get("last-modified")
    if etag and len(etag) <= _LONGEST_MARK:
        return f"{_ETAG}{etag}"
    if date and len(date) <= _LONGEST_MARK:
        return f"{_DATE}{date} {response.headers.get('content-length', '')}"
    return None


def _condition(mark: str | None) -> dict[str, str]:
    """Return the header that asks for a body only if it is another one."""
    if mark is not None and mark.startswith(_ETAG):
        return {"If-None-Match": mark.removeprefix(_ETAG)}
    return {}  # by date alone a host would pass over what was replaced by an older file


def _parse(address: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address)
    except (httpx2.InvalidURL, ValueError):
        url = httpx2.URL()
    if url.scheme not in {"http", "https"} or not url.host or not 0 < (url.port or 80) < 2**16:
        raise ImageError(
            "The address of the image is not a valid http:// or https:// URL.",
            "Correct the task's data and import it again.",
        )
    return url


def _check_status(response: httpx2.Response) -> None:
    status, host = response.status_code, response.url.host
    if response.is_success:
        if response.headers.get("content-type", "").startswith("text/html"):
            raise ImageError(
                f"{host} answers with a web page in place of the image, perhaps a sign-in page.",
                "Give an address that shows the image to this machine without signing in.",
            )
        return
    if status in _RETRIED_STATUS:
        raise _TryAgainError(ImageError(f"{host} answers with status {status}.", "The image is tried again later."))
    if status in {401, 403}:
        raise ImageError(
            f"{host} refuses to show the image (status {status}).",
            "If this host is Label Studio, check LABEL_STUDIO_API_KEY, that its user may see the project, "
            "and that LABEL_STUDIO_URL names the host as tasks do: the key is sent nowhere else. Any other "
            "host has to show the image without signing in.",
        )
    if status in {404, 410}:
        raise ImageError(
            f"{host} does not have the image (status {status}).",
            "Check that the file is there; files of local or cloud storage need that storage in the "
            "project's settings.",
        )
    raise ImageError(f"{host} answers with status {status}.", "Open the image in Label Studio to see why.")
