"""HTTP on the wire, with a limit for every wait for a caller: uvicorn has one for idle connections alone."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["TimelyProtocol"]

_LATE = "The request did not come in whole within {seconds:g} seconds. Send it again, or in smaller parts."


class TimelyProtocol(H11Protocol):
    """Ends connections whose other end keeps the server waiting, however it drips.

    Where too many connections are open, the one that has kept the server waiting longest makes room: a caller that
    sends its request at once gets through among any number that do not.

    Attributes
    ----------
    head_seconds
        For a request's first line and headers, from the first byte; and, on a new connection, from the beginning.
    body_seconds
        For its body. Label Studio sends at most some megabytes, and gives up after 100 s itself.
    reading_seconds
        For taking in what the server has sent before there is room for more.
    most
        Open connections: half of the 1,024 files that a process may usually have open.
    """

    head_seconds: ClassVar[float] = 10.0
    body_seconds: ClassVar[float] = 60.0
    reading_seconds: ClassVar[float] = 60.0
    most: ClassVar[int] = 512

    _waiting: asyncio.TimerHandle | None = None
    _waiting_for: str | None = None
    _waiting_since = 0.0
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, and make room for it."""
        super().connection_made(transport)
        self._wait("head", self.head_seconds, self._end)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what came in, and see what is still to come."""
        super().handle_events()
        if self.transport.is_closing():
            self._wait_no_more()
        elif self.conn.their_state is h11.SEND_BODY:
            self._wait("body", self.body_seconds, self._refuse)
        elif self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self.timeout_keep_alive_task is None:  # uvicorn limits the wait for the first byte of a further request
            self._wait("head", self.head_seconds, self._end)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody read."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            self._wait_no_more()
            self._waiting_since = self.loop.time()

    def pause_writing(self) -> None:
        """Give the other end some time to take in what was sent."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(self.reading_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that it did."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    def _wait(self, what: str, seconds: float, then: Callable[[], None]) -> None:
        if self._waiting_for != what:  # not anew with each byte
            self._wait_no_more()
            self._waiting_for = what
            self._waiting_since = self.loop.time()
            self._waiting = self.loop.call_later(seconds, then)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self._waiting_for = None

    def _make_room(self) -> None:
        """End the connection that has kept the server waiting longest, for a request or its rest."""
        others = [each for each in self.connections if isinstance(each, TimelyProtocol) and each is not self]
        keeping = [each for each in others if each.conn.their_state in {h11.IDLE, h11.SEND_BODY}]
        if keeping:
            min(keeping, key=lambda each: each._waiting_since)._end()  # noqa: SLF001 - its own kind

    def _refuse(self) -> None:
        """Say that a body took too long, unless the request was answered without it."""
        if self.conn.our_state is h11.SEND_RESPONSE and not self.transport.is_closing():
            text = json.dumps({"detail": _LATE.format(seconds=self.body_seconds)}).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(text))),
                ("Connection", "close"),
            ]
            reply = h11.Response(
                status_code=HTTPStatus.REQUEST_TIMEOUT, headers=headers, reason=HTTPStatus.REQUEST_TIMEOUT.phrase
            )
            for event in (reply, h11.Data(data=text), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._end()

    def _end(self) -> None:
        """Close the connection; whatever still works on its request is told that the caller is gone."""
        self._wait_no_more()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
