"""Real HTTP servers on loopback that misbehave in a chosen way."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handle = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Calls a function for each request, and notes the paths and tokens that it was asked with."""

    daemon_threads = True

    def __init__(self, address: str, handle: Handle) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.requests: list[tuple[str, str | None]] = []
        self.stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.server.requests.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
                with contextlib.suppress(OSError):  # the client may have had enough
                    handle(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__((address, 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextlib.contextmanager
def serving(handle: Handle, address: str = "127.0.0.1") -> Iterator[Server]:
    """Run a server on a free port."""
    server = Server(address, handle)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, body: bytes = b"pixels", status: int = 200, **headers: str) -> None:
    """Answer at once."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
