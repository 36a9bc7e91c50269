"""Connections that go to checked addresses only, and end in time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from clinical_backend.system.connectivity import trusted_authorities

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator

    from clinical_backend.images.addresses import AddressGuard

__all__ = ["GuardedTransport", "TimedBackend", "finished_by"]

_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)  # httpx's own
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def finished_by(deadline: float) -> Iterator[None]:
    """Let all that this thread sends and receives through guarded connections time out at a moment.

    Parameters
    ----------
    deadline
        By the clock ``time.monotonic``. A time-out for each piece alone never ends a reply that drips.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


class GuardedTransport(httpx2.HTTPTransport):
    """Carries requests to addresses that a guard permits.

    The address is checked when a connection is made, and it is the checked address that is connected to: a name
    that resolves to another one the next time gains nothing. A proxy of the environment is not used, since what
    it would connect to cannot be checked.

    Parameters
    ----------
    guard
        Decides about addresses.
    """

    def __init__(self, guard: AddressGuard) -> None:
        ssl_context = trusted_authorities()
        super().__init__(verify=ssl_context, limits=_LIMITS)
        self._pool.close()
        # httpx2 has no parameter for it; the tests of refused addresses hold this to be in effect.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=_GuardedBackend(guard),
        )


class TimedBackend(httpcore2.NetworkBackend):
    """Connects as the system does, and heeds :func:`finished_by`."""

    def __init__(self) -> None:
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Return a connection to a host, each of whose steps ends in time."""
        return _Stream(self._sockets.connect_tcp(host, port, _remaining(timeout), local_address, socket_options))


class _GuardedBackend(httpcore2.NetworkBackend):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._sockets = TimedBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = self._guard.permitted(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(type(error).__name__) from error
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in addresses:
            try:
                return self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _remaining(timeout)))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        return self._stream.get_extra_info(info)


def _remaining(timeout: float | None) -> float | None:
    """Return how long the next step may take.

    Raises
    ------
    httpcore2.ReadTimeout
        When the deadline is over.
    """
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the deadline is over")
    return left if timeout is None else min(timeout, left)
